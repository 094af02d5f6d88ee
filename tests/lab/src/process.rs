//! Programs that the lab runs: to their end, or in the background until a guard is dropped.

use std::fs::File;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::sys::{self, Receiver};
use crate::wait::wait_until;

/// How long a program may take to end after it was asked to.
const GRACE: Duration = Duration::from_secs(10);

/// A program that ended, and what it said.
#[derive(Debug)]
pub struct Finished {
    /// The command, for messages.
    pub command: String,
    /// How it ended.
    pub status: ExitStatus,
    /// Standard output, without white space at its end.
    pub stdout: String,
    /// Standard error, the same.
    pub stderr: String,
}

impl Finished {
    /// Runs a command to its end.
    pub fn of(command: &mut Command) -> Result<Self> {
        let words = words(command);
        let output = command
            .output()
            .with_context(|| format!("cannot start `{words}`"))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        Ok(Self {
            command: words,
            status: output.status,
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        })
    }

    /// The exit status; 128 and the signal's number for a program that was killed, as shells have it.
    pub fn code(&self) -> i32 {
        code(self.status)
    }

    /// Standard output of a program that succeeded; an error that shows everything otherwise.
    pub fn success(self) -> Result<String> {
        ensure!(
            self.status.success(),
            "`{}`: {}\nstdout: {}\nstderr: {}",
            self.command,
            self.status,
            self.stdout,
            self.stderr
        );
        Ok(self.stdout)
    }

    /// Standard output and standard error of a program that failed; an error if it succeeded.
    pub fn failure(self) -> Result<String> {
        ensure!(
            !self.status.success(),
            "`{}` succeeded, saying: {}",
            self.command,
            self.stdout
        );
        Ok(format!("{}\n{}", self.stdout, self.stderr))
    }
}

/// A program that runs until this is dropped, in a process group of its own.
#[derive(Debug)]
pub struct Background {
    command: String,
    child: Child,
    /// Standard output and standard error, mixed as they came.
    log: File,
}

impl Background {
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        let words = words(command);
        let log = log_file()?;
        command
            .stdout(log.try_clone()?)
            .stderr(log.try_clone()?)
            .process_group(0);
        let child = command
            .spawn()
            .with_context(|| format!("cannot start `{words}`"))?;
        Ok(Self {
            command: words,
            child,
            log,
        })
    }

    /// Its process id, in the usual pid namespace.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has said until now.
    pub fn output(&self) -> String {
        let length = self
            .log
            .metadata()
            .ok()
            .and_then(|log| usize::try_from(log.len()).ok());
        let mut bytes = vec![0; length.unwrap_or_default()];
        // By position: the program's writes append wherever we read.
        if self.log.read_exact_at(&mut bytes, 0).is_err() {
            bytes.clear();
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits until it has said this.
    pub fn wait_for_output(&self, text: &str) -> Result<()> {
        wait_until(&format!("`{}` says `{text}`", self.command), GRACE, || {
            self.output().contains(text)
        })
        .with_context(|| format!("it said: {}", self.output()))
    }

    /// Whether it ended by itself.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends a signal to the program alone, not to what it started.
    pub fn signal(&self, signal: libc::c_int) -> Result<()> {
        sys::send_signal(Receiver::Process(self.pid()), signal)
            .with_context(|| format!("cannot signal `{}`", self.command))
    }

    /// Waits for its end and gives its exit status, as [`Finished::code`] does.
    pub fn wait(&mut self, patience: Duration) -> Result<i32> {
        wait_until(&format!("`{}` ends", self.command), patience, || {
            self.has_ended()
        })
        .with_context(|| format!("it said: {}", self.output()))?;
        match self.child.try_wait() {
            Ok(Some(status)) => Ok(code(status)),
            Ok(None) => bail!("`{}` still runs", self.command),
            Err(error) => Err(error.into()),
        }
    }

    /// Asks it to end (SIGTERM) and waits.
    pub fn stop(&mut self) -> Result<i32> {
        if !self.has_ended() {
            self.signal(libc::SIGTERM)?;
        }
        self.wait(GRACE)
    }

    /// Ends it without its knowledge (SIGKILL).
    pub fn kill(&mut self) -> Result<()> {
        if !self.has_ended() {
            self.signal(libc::SIGKILL)?;
        }
        self.wait(GRACE).map(drop)
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if !self.has_ended() && (self.signal(libc::SIGTERM).is_err() || self.wait(GRACE).is_err()) {
            // It gets no third chance; `kill` on a child that was not waited for reaches no stranger.
            drop(self.child.kill());
            drop(self.child.wait());
        }
        // What it started and left behind. The group's number is not given out again while a member lives.
        drop(sys::send_signal(Receiver::Group(self.pid()), libc::SIGKILL));
        if std::thread::panicking() {
            show(&self.command, &self.output());
        }
    }
}

#[expect(
    clippy::print_stderr,
    reason = "the output of a failing test is where its reader looks"
)]
fn show(command: &str, output: &str) {
    eprintln!("--- `{command}` said:\n{output}---");
}

fn code(status: ExitStatus) -> i32 {
    status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
}

/// A file without a name, which all writers append to.
fn log_file() -> Result<File> {
    File::options()
        .read(true)
        .append(true)
        .custom_flags(libc::O_TMPFILE)
        .open(std::env::temp_dir())
        .context("cannot create a file for a program's output")
}

fn words(command: &Command) -> String {
    let mut words = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        words.push(' ');
        words.push_str(&argument.to_string_lossy());
    }
    words
}
