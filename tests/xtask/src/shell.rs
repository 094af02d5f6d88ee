//! Runs other programs, says which, and stops at the first that fails.

use std::fmt;
use std::io;
use std::path::Path;
use std::process::{Command, ExitCode, ExitStatus, Stdio};

/// Why a subcommand stopped, for the user.
#[derive(Debug)]
pub(crate) struct Failure(String);

pub(crate) type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }

    /// A failed operation on a file or directory.
    pub(crate) fn at(doing: &str, path: &Path, error: &io::Error) -> Self {
        Self(format!("cannot {doing} {}: {error}", path.display()))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What the subcommands ask of a [`Command`].
pub(crate) trait CommandExt {
    /// Shows the command and runs it; a status other than 0 is a [`Failure`].
    fn succeed(&mut self) -> Outcome;
    /// Shows the command and runs it, whatever its status.
    fn status_shown(&mut self) -> Outcome<ExitStatus>;
    /// Runs the command quietly and gives its standard output; a status other than 0 is a [`Failure`].
    fn text(&mut self) -> Outcome<String>;
}

impl CommandExt for Command {
    fn succeed(&mut self) -> Outcome {
        let status = self.status_shown()?;
        if status.success() {
            Ok(())
        } else {
            Err(Failure::new(format!("`{}`: {status}", words(self))))
        }
    }

    fn status_shown(&mut self) -> Outcome<ExitStatus> {
        eprintln!("+ {}", words(self));
        self.status().map_err(|error| not_started(self, &error))
    }

    fn text(&mut self) -> Outcome<String> {
        let output = self
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .map_err(|error| not_started(self, &error))?;
        if !output.status.success() {
            return Err(Failure::new(format!(
                "`{}`: {}",
                words(self),
                output.status
            )));
        }
        String::from_utf8(output.stdout)
            .map_err(|_| Failure::new(format!("`{}` did not print UTF-8", words(self))))
    }
}

/// The status of a program that ran for us, as our own.
pub(crate) fn exit_code(status: ExitStatus) -> ExitCode {
    status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .map_or(ExitCode::FAILURE, ExitCode::from)
}

fn not_started(command: &Command, error: &io::Error) -> Failure {
    Failure::new(format!("cannot start `{}`: {error}", words(command)))
}

fn words(command: &Command) -> String {
    let mut words = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        words.push(' ');
        words.push_str(&argument.to_string_lossy());
    }
    words
}
