//! What the commands that ask a running daemon take.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use tidegate_policy::Verdict;

use crate::control::DEFAULT_SOCKET;

#[derive(Debug, Args)]
pub(super) struct FlowsArgs {
    /// Go on with every flow that is let through or ends, until interrupted
    #[arg(long)]
    pub(super) follow: bool,
    /// Print JSON, one record a line
    #[arg(long)]
    pub(super) json: bool,
    /// Only programs that match: a pattern with a slash for the path, without for the name
    #[arg(long, value_name = "GLOB")]
    pub(super) app: Option<String>,
    /// Only flows with this verdict
    #[arg(long, value_name = "V", value_enum)]
    pub(super) verdict: Option<VerdictArg>,
}

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum VerdictArg {
    Allow,
    Ask,
    Block,
    Drop,
}

impl From<VerdictArg> for Verdict {
    fn from(verdict: VerdictArg) -> Self {
        match verdict {
            VerdictArg::Allow => Self::Allow,
            VerdictArg::Ask => Self::Ask,
            VerdictArg::Block => Self::Block,
            VerdictArg::Drop => Self::Drop,
        }
    }
}

/// The control socket that a command talks to.
pub(super) fn socket(control: Option<PathBuf>) -> PathBuf {
    control.unwrap_or_else(|| DEFAULT_SOCKET.into())
}
