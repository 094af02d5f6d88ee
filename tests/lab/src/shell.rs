//! A shell that waits for scripts, wherever it was started.
//!
//! Each script runs in a process of its own and leaves its output and its exit status in files. So many can run, one after
//! the other or at once, where the way in is one command: inside `tidegate exec`, which ends with it.

use std::cell::Cell;
use std::fs;
use std::io::{PipeReader, PipeWriter, Write, pipe};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::namespace::User;
use crate::network::Lab;
use crate::process::Finished;
use crate::wait::wait_until;

/// How long a script may take to say something.
const SOON: Duration = Duration::from_secs(10);

/// Our side of the shell.
#[derive(Debug)]
pub(crate) struct Shell {
    input: PipeWriter,
    folder: PathBuf,
    jobs: Cell<u32>,
}

/// A script that was started in a [`Session`](crate::Session).
#[derive(Debug)]
pub struct Job {
    script: String,
    /// Path of its files, without their endings.
    files: PathBuf,
}

impl Shell {
    /// What the shell's program is.
    pub(crate) const PROGRAM: &str = "/bin/bash";

    /// A shell for scripts of this user, which is there once [`PROGRAM`](Self::PROGRAM) reads from the other end.
    pub(crate) fn new(lab: &Lab, user: User) -> Result<(Self, PipeReader)> {
        let (output, input) = pipe().context("cannot make a pipe")?;
        let shell = Self {
            input,
            folder: own_folder(lab, user)?,
            jobs: Cell::new(0),
        };
        Ok((shell, output))
    }

    /// Where its files are; its user may write there.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Starts a script by this interpreter.
    pub(crate) fn run(&self, interpreter: &str, script: &str) -> Result<Job> {
        let number = self.jobs.replace(self.jobs.get() + 1);
        let files = self.folder.join(number.to_string());
        let path = files.display();
        fs::write(&files, script).with_context(|| format!("cannot write {path}"))?;
        let line = format!(
            "(cd /; {interpreter} {path} </dev/null >{path}.out 2>{path}.err; \
             echo $? >{path}.new; mv {path}.new {path}.end) &\n"
        );
        (&self.input)
            .write_all(line.as_bytes())
            .context("the shell has ended")?;
        Ok(Job {
            script: script.to_owned(),
            files,
        })
    }
}

impl Job {
    /// Waits until it has said this on standard output.
    pub fn wait_for_output(&self, text: &str) -> Result<()> {
        wait_until(&format!("the script says `{text}`"), SOON, || {
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
            // The shell gave the status as a number: 128 and more for a signal.
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

/// A directory of the lab that this user may write to.
fn own_folder(lab: &Lab, user: User) -> Result<PathBuf> {
    static MADE: AtomicU32 = AtomicU32::new(0);
    let number = MADE.fetch_add(1, Ordering::Relaxed);
    let folder = lab.folder().join(format!("session-{number}"));
    fs::create_dir(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    chown(&folder, Some(user.0), Some(user.0))
        .with_context(|| format!("cannot give {} away", folder.display()))?;
    Ok(folder)
}
