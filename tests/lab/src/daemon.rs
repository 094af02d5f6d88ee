//! `tidegate run` on a lab's host, and what it says of itself.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::namespace::User;
use crate::network::Lab;
use crate::process::{Background, Finished};
use crate::wait::wait_until;

/// How long the daemon may take to capture, or to show a flow.
const PATIENCE: Duration = Duration::from_secs(10);
/// Where a gateway looks for its state folder.
pub(crate) const STATE: &str = "STATE_DIRECTORY";
/// The copy in a lab's folder, where there is one.
const PROGRAM: &str = "tidegate";
const CONTROL: &str = "/run/tidegate/control.sock";

/// A running daemon; stopped when dropped, like any [`Background`].
#[derive(Debug)]
pub struct Daemon<'l> {
    lab: &'l Lab,
    program: PathBuf,
    config: PathBuf,
    control: PathBuf,
    process: Background,
}

impl<'l> Daemon<'l> {
    /// A gateway that was started in another way; `config` is the file that it reads.
    pub(crate) fn started(
        lab: &'l Lab,
        process: Background,
        config: PathBuf,
        control: PathBuf,
    ) -> Result<Self> {
        Ok(Self {
            lab,
            program: program(lab)?,
            config,
            control,
            process,
        })
    }
}

impl Lab {
    /// Starts `tidegate run` on the host with this configuration, and waits until it captures.
    pub fn tidegate(&self, config: &str) -> Result<Daemon<'_>> {
        let mut daemon = self.tidegate_starting(config, &[])?;
        daemon.wait_until_capturing()?;
        Ok(daemon)
    }

    /// The same with more options, and without waiting: for starts that are meant to fail.
    pub fn tidegate_starting(&self, config: &str, options: &[&str]) -> Result<Daemon<'_>> {
        let command = self.host.command(program(self)?);
        self.started_as(command, config, options)
    }

    /// The same by another program, which gets ours and its arguments as its last ones.
    pub(crate) fn tidegate_by(
        &self,
        mut by: Command,
        config: &str,
        options: &[&str],
    ) -> Result<Daemon<'_>> {
        by.arg(program(self)?);
        self.started_as(by, config, options)
    }

    /// Lets what this lab starts from here on be the release build: for tests that are about speed.
    pub fn use_release(&self) -> Result<()> {
        let build = release()?;
        let shared = self.folder().join(PROGRAM);
        fs::copy(&build, &shared).with_context(|| format!("cannot copy {}", build.display()))?;
        Ok(())
    }

    fn started_as(
        &self,
        mut command: Command,
        config: &str,
        options: &[&str],
    ) -> Result<Daemon<'_>> {
        let program = program(self)?;
        let config = self.file("tidegate.toml", config)?;
        self.set_surroundings(&mut command, User::ROOT)?;
        command
            .env(STATE, self.state_of(User::ROOT)?)
            .args(["run", "--control", CONTROL, "--config"])
            .arg(&config)
            .args(options);
        Ok(Daemon {
            lab: self,
            process: Background::start(&mut command)?,
            program,
            config,
            control: CONTROL.into(),
        })
    }

    /// Runs a command of `tidegate` that ends by itself on the host, e.g. `&["recover"]`.
    pub fn tidegate_command(&self, words: &[&str]) -> Result<Finished> {
        Finished::of(self.host.command(program(self)?).args(words))
    }
}

impl Daemon<'_> {
    pub(crate) fn lab(&self) -> &Lab {
        self.lab
    }

    /// Waits until `status` answers that packets are captured.
    pub fn wait_until_capturing(&mut self) -> Result<()> {
        let mut ended = false;
        let waited = wait_until("Tidegate captures", PATIENCE, || {
            ended = self.process.has_ended();
            ended || self.is_capturing()
        });
        ensure!(
            !ended,
            "Tidegate ended at its start, saying: {}",
            self.process.output()
        );
        waited.with_context(|| format!("Tidegate said: {}", self.process.output()))
    }

    /// Runs one of Tidegate's commands against this daemon, e.g. `&["flows", "--json"]`.
    pub fn ask(&self, words: &[&str]) -> Result<Finished> {
        self.ask_as(User::ROOT, words)
    }

    /// The same as this user.
    pub fn ask_as(&self, user: User, words: &[&str]) -> Result<Finished> {
        Finished::of(
            self.lab
                .host
                .command_as(user, &self.program)
                .args(words)
                .arg("--control")
                .arg(&self.control),
        )
    }

    /// One of Tidegate's commands against this daemon, as root's, for a test that needs its terminal.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = self.lab.host.command(&self.program);
        command.args(words).arg("--control").arg(&self.control);
        command
    }

    /// What `status --json` says.
    pub fn status(&self) -> Result<Value> {
        Ok(serde_json::from_str(
            &self.ask(&["status", "--json"])?.success()?,
        )?)
    }

    /// Live and recent flows, as `flows --json` shows them.
    pub fn flows(&self) -> Result<Vec<Value>> {
        let text = self.ask(&["flows", "--json"])?.success()?;
        let mut flows = Vec::new();
        for value in serde_json::Deserializer::from_str(&text).into_iter() {
            let value: Value = value?;
            match value.as_array() {
                Some(several) => flows.extend_from_slice(several),
                None => flows.push(value),
            }
        }
        Ok(flows)
    }

    /// The one flow to this remote address and port; an error unless there is exactly one, within a while.
    pub fn flow_to(&self, remote: &str) -> Result<Value> {
        let mut found = Vec::new();
        let waited = wait_until(&format!("there is a flow to {remote}"), PATIENCE, || {
            found = self.flows().unwrap_or_default();
            found.retain(|flow| flow["remote"] == remote);
            !found.is_empty()
        });
        waited.with_context(|| format!("flows: {:?}", self.flows()))?;
        match (found.pop(), found.len()) {
            (Some(flow), 0) => Ok(flow),
            (last, more) => bail!("{} flows to {remote}: {last:?}, {found:?}", more + 1),
        }
    }

    /// Writes another configuration, which the daemon is to notice by itself.
    pub fn rewrite_config(&self, text: &str) -> Result<()> {
        fs::write(&self.config, text)
            .with_context(|| format!("cannot write {}", self.config.display()))
    }

    /// The daemon's process, to signal, to wait for, to read the log of.
    pub fn process(&mut self) -> &mut Background {
        &mut self.process
    }

    /// Only the process: for those that keep it beside the lab.
    pub fn into_process(self) -> Background {
        self.process
    }

    /// The control socket answers once packets are captured.
    pub(crate) fn is_capturing(&self) -> bool {
        self.status()
            .is_ok_and(|status| status["capture"]["kind"] == "host")
    }
}

/// The built program, where every machine of the lab and every user finds it.
pub(crate) fn program(lab: &Lab) -> Result<PathBuf> {
    let shared = lab.folder().join(PROGRAM);
    if !shared.exists() {
        let built = built()?;
        // A copy is 100 MB for each test, and only needed where the way to the original is closed to others.
        if lab
            .host
            .bash_as(User::ALICE, &format!("test -x '{}'", built.display()))?
            .status
            .success()
        {
            return Ok(built);
        }
        fs::copy(&built, &shared).with_context(|| format!("cannot copy {}", built.display()))?;
    }
    Ok(shared)
}

/// Named by the environment, or the newest that cargo left beside the test that runs.
fn built() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os("TIDEGATE") {
        return Ok(named.into());
    }
    let own = std::env::current_exe().context("cannot find my own executable")?;
    let beside = own
        .ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join("tidegate"))
        .find(|path| path.is_file());
    beside
        .context("Tidegate is not built: `cargo build --package tidegate`, or name it in TIDEGATE")
}

/// Named by the environment, or where cargo puts it in the same build directory.
fn release() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os("TIDEGATE_RELEASE") {
        return Ok(named.into());
    }
    let own = std::env::current_exe().context("cannot find my own executable")?;
    let release = own
        .ancestors()
        .nth(3)
        .map(|target| target.join("release/tidegate"));
    release.filter(|path| path.is_file()).context(
        "there is no release build: `cargo build --release --package tidegate`, or name it in TIDEGATE_RELEASE",
    )
}
