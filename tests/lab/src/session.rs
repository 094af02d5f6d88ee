//! A shell inside `tidegate exec`, and the gateway's view of what is done there.
//!
//! Flows can be asked for only while the gateway runs, and it ends with its command. So the command is a shell that waits
//! for scripts; each runs in a process of its own and leaves its output and its exit status in files.

use std::cell::Cell;
use std::fs;
use std::io::{PipeWriter, Write, pipe};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::daemon::Daemon;
use crate::exec::Exec;
use crate::namespace::User;
use crate::network::Lab;
use crate::process::{Background, Finished};
use crate::wait::wait_until;

/// How long the gateway may take to start, or a script to say something.
const START: Duration = Duration::from_secs(10);
/// How long a script may take that nobody gave another limit.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs scripts inside one `tidegate exec`; ended when dropped. See [`Exec::session`].
#[derive(Debug)]
pub struct Session<'l> {
    gateway: Daemon<'l>,
    shell: PipeWriter,
    folder: PathBuf,
    jobs: Cell<u32>,
}

/// A script that was started in a [`Session`].
#[derive(Debug)]
pub struct Job {
    script: String,
    /// Path of its files, without their endings.
    files: PathBuf,
}

impl Lab {
    /// A session as an ordinary user with this configuration.
    pub fn session(&self, config: &str) -> Result<Session<'_>> {
        self.session_as(User::ALICE, config)
    }

    /// The same as this user.
    pub fn session_as(&self, user: User, config: &str) -> Result<Session<'_>> {
        self.exec().user(user).session(config)
    }
}

impl<'l> Exec<'l> {
    /// Starts a shell through the gateway, with this configuration besides the options given until now.
    pub fn session(&self, config: &str) -> Result<Session<'l>> {
        let folder = own_folder(self.lab, self.user)?;
        let (control, file) = (folder.join("control"), folder.join("tidegate.toml"));
        fs::write(&file, config).with_context(|| format!("cannot write {}", file.display()))?;
        let exec = self
            .clone()
            .option("--control")
            .option(&control.display().to_string())
            .option("--config")
            .option(&file.display().to_string());
        let (input, shell) = pipe().context("cannot make a pipe")?;
        let mut command = exec.command(&["/bin/bash"])?;
        let mut process = Background::start(command.stdin(input))?;
        // The command holds the other end of the pipe too: without it a gateway that ends is seen.
        drop(command);
        let mut ended = false;
        let waited = wait_until("the gateway's socket is there", START, || {
            ended = process.has_ended();
            ended || control.exists()
        });
        ensure!(
            !ended && waited.is_ok(),
            "Tidegate did not start, saying: {}",
            process.output()
        );
        let session = Session {
            gateway: Daemon::started(self.lab, process, file, control)?,
            shell,
            folder,
            jobs: Cell::new(0),
        };
        session.bash("true")?.success()?;
        Ok(session)
    }
}

impl<'l> Session<'l> {
    /// The gateway: its flows, its status, its configuration.
    pub fn gateway(&self) -> &Daemon<'l> {
        &self.gateway
    }

    /// The gateway's process, to signal, to wait for, to read the log of.
    pub fn process(&mut self) -> &mut Background {
        self.gateway.process()
    }

    /// Runs a bash script inside to its end. A pipe fails with its first failing part.
    pub fn bash(&self, script: &str) -> Result<Finished> {
        self.start(script)?.finish(PATIENCE)
    }

    /// Runs a program of the system's Python inside to its end.
    pub fn python(&self, program: &str) -> Result<Finished> {
        self.start_python(program)?.finish(PATIENCE)
    }

    /// Runs a program inside by this interpreter, e.g. a copy of one, and gives its output if it succeeds.
    pub fn program(&self, interpreter: &str, program: &str) -> Result<String> {
        self.run(interpreter, program)?.finish(PATIENCE)?.success()
    }

    /// Starts a bash script inside.
    pub fn start(&self, script: &str) -> Result<Job> {
        self.run("/bin/bash -o pipefail", script)
    }

    /// Starts a program of the system's Python inside.
    pub fn start_python(&self, program: &str) -> Result<Job> {
        self.run("/usr/bin/python3 -u", program)
    }

    fn run(&self, interpreter: &str, script: &str) -> Result<Job> {
        let number = self.jobs.replace(self.jobs.get() + 1);
        let files = self.folder.join(number.to_string());
        let path = files.display();
        fs::write(&files, script).with_context(|| format!("cannot write {path}"))?;
        let line = format!(
            "(cd /; {interpreter} {path} </dev/null >{path}.out 2>{path}.err; \
             echo $? >{path}.new; mv {path}.new {path}.end) &\n"
        );
        (&self.shell)
            .write_all(line.as_bytes())
            .context("the shell inside has ended")?;
        Ok(Job {
            script: script.to_owned(),
            files,
        })
    }
}

impl Job {
    /// Waits until it has said this on standard output.
    pub fn wait_for_output(&self, text: &str) -> Result<()> {
        wait_until(&format!("the script says `{text}`"), START, || {
            self.output().contains(text)
        })
        .with_context(|| format!("it said: {}\n{}", self.output(), self.errors()))
    }

    /// What it has said on standard output until now.
    pub fn output(&self) -> String {
        read(&self.file("out")).unwrap_or_default()
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        self.file("end").exists()
    }

    /// Waits for its end and gives what it said.
    pub fn finish(self, patience: Duration) -> Result<Finished> {
        wait_until(&format!("`{}` ends", self.script), patience, || {
            self.has_ended()
        })
        .with_context(|| format!("it said: {}", self.errors()))?;
        let code: i32 = read(&self.file("end"))?
            .parse()
            .context("an exit status that is no number")?;
        Ok(Finished {
            // The shell inside gave the status as a number: 128 and more for a signal.
            status: std::os::unix::process::ExitStatusExt::from_raw(code << 8),
            stdout: read(&self.file("out"))?,
            stderr: self.errors(),
            command: self.script,
        })
    }

    /// What it has said on standard error until now.
    pub fn errors(&self) -> String {
        read(&self.file("err")).unwrap_or_default()
    }

    fn file(&self, ending: &str) -> PathBuf {
        self.files.with_extension(ending)
    }
}

fn read(path: &Path) -> Result<String> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(String::from_utf8_lossy(&bytes).trim_end().to_owned())
}

/// A directory of the lab that this user may write to, as the gateway does for its socket.
fn own_folder(lab: &Lab, user: User) -> Result<PathBuf> {
    static MADE: AtomicU32 = AtomicU32::new(0);
    let number = MADE.fetch_add(1, Ordering::Relaxed);
    let folder = lab.folder().join(format!("session-{number}"));
    fs::create_dir(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    chown(&folder, Some(user.0), Some(user.0))
        .with_context(|| format!("cannot give {} away", folder.display()))?;
    Ok(folder)
}
