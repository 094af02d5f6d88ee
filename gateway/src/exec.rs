//! Exec capture: one command in a network namespace of its own.

use std::ffi::OsString;
use std::process::ExitCode;

use crate::cli::ExecArgs;

/// Runs the command and gives its exit status.
///
/// # Errors
/// The command could not be started.
pub fn main(_args: ExecArgs) -> anyhow::Result<ExitCode> {
    anyhow::bail!("the data plane is not part of this branch")
}

/// The child inside the namespaces: what `tidegate __contain` runs.
///
/// # Errors
/// The command could not be started.
pub fn contain(_arguments: impl Iterator<Item = OsString>) -> anyhow::Result<ExitCode> {
    anyhow::bail!("the data plane is not part of this branch")
}
