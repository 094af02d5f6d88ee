//! Host capture: the traffic of the whole machine.

use std::process::ExitCode;

use crate::cli::RunArgs;

/// Captures until a signal comes or the trial runs out.
///
/// # Errors
/// The capture could not be started.
pub fn main(_args: RunArgs) -> anyhow::Result<ExitCode> {
    anyhow::bail!("the data plane is not part of this branch")
}
