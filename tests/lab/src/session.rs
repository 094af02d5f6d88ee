//! A place where programs run captured, and the gateway's view of what they do.
//!
//! Under exec capture the gateway lives as long as its command: a [`Shell`] that waits for the scripts of the test. Under
//! host capture the same shell runs on the host. So a scenario is written once and runs under both; see
//! [`Lab::captured`].

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::daemon::Daemon;
use crate::exec::Exec;
use crate::namespace::User;
use crate::network::Lab;
use crate::process::{Background, Finished};
use crate::shell::{Job, Shell};
use crate::wait::wait_until;

/// How long the gateway may take to start.
const START: Duration = Duration::from_secs(10);
/// How long a script may take that nobody gave another limit.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs scripts whose packets one gateway captures; all is ended when it is dropped.
#[derive(Debug)]
pub struct Session<'l> {
    shell: Shell,
    /// The shell's process under host capture; under exec capture it is a child of the gateway's.
    _process: Option<Background>,
    gateway: Daemon<'l>,
}

impl Lab {
    /// A session inside `tidegate exec`, as an ordinary user with this configuration.
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
        let (shell, input) = Shell::new(self.lab, self.user)?;
        let control = shell.folder().join("control");
        let file = shell.folder().join("tidegate.toml");
        fs::write(&file, config).with_context(|| format!("cannot write {}", file.display()))?;
        let exec = self
            .clone()
            .option("--control")
            .option(&control.display().to_string())
            .option("--config")
            .option(&file.display().to_string());
        let mut command = exec.command(&[Shell::PROGRAM])?;
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
            shell,
            _process: None,
            gateway: Daemon::started(self.lab, process, file, control)?,
        };
        session.bash("true")?.success()?;
        Ok(session)
    }
}

impl<'l> Session<'l> {
    /// Starts the daemon on the host, and this user's shell beside it.
    pub(crate) fn on_host(lab: &'l Lab, user: User, config: &str) -> Result<Self> {
        let gateway = lab.tidegate(config)?;
        let (shell, input) = Shell::new(lab, user)?;
        let mut command = lab.host.command_as(user, Shell::PROGRAM);
        let process = Background::start(command.stdin(input))?;
        Ok(Self {
            shell,
            _process: Some(process),
            gateway,
        })
    }

    /// The gateway: its flows, its status, its configuration.
    pub fn gateway(&self) -> &Daemon<'l> {
        &self.gateway
    }

    /// The gateway's process, to signal, to wait for, to read the log of.
    pub fn process(&mut self) -> &mut Background {
        self.gateway.process()
    }

    /// Runs a bash script to its end. A pipe fails with its first failing part.
    pub fn bash(&self, script: &str) -> Result<Finished> {
        self.start(script)?.finish(PATIENCE)
    }

    /// Runs a program of the system's Python to its end.
    pub fn python(&self, program: &str) -> Result<Finished> {
        self.start_python(program)?.finish(PATIENCE)
    }

    /// Runs a program by this interpreter, e.g. a copy of one, and gives its output if it succeeds.
    pub fn program(&self, interpreter: &str, program: &str) -> Result<String> {
        self.shell
            .run(interpreter, program)?
            .finish(PATIENCE)?
            .success()
    }

    /// Starts a bash script.
    pub fn start(&self, script: &str) -> Result<Job> {
        self.shell.run("/bin/bash -o pipefail", script)
    }

    /// Starts a program of the system's Python.
    pub fn start_python(&self, program: &str) -> Result<Job> {
        self.shell.run("/usr/bin/python3 -u", program)
    }
}
