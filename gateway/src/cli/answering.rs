//! What the commands about questions and the change record take.

use std::path::PathBuf;

#[cfg(capture)]
use clap::ValueEnum;
use clap::{Args, Subcommand};
#[cfg(capture)]
use tidegate_policy::Verdict;

#[cfg(capture)]
use crate::ask::{Lifetime, Reach};

#[cfg(capture)]
#[derive(Debug, Args)]
pub(super) struct AskArgs {
    /// Only print the questions that are open
    #[arg(long)]
    pub(super) list: bool,
    /// Print them as JSON, one a line
    #[arg(long, requires = "list")]
    pub(super) json: bool,
    /// Go on with every question that is asked, until interrupted
    #[arg(long, requires = "list")]
    pub(super) follow: bool,
}

#[cfg(capture)]
#[derive(Debug, Args)]
pub(super) struct AnswerArgs {
    /// Number of the question, as `tidegate ask --list` shows it
    #[arg(value_name = "ID")]
    pub(super) question: u64,
    /// Whether its flows may pass
    #[arg(value_enum, value_name = "ANSWER")]
    pub(super) verdict: AnswerArg,
    /// For which flows of this program it is: exact (this other end and port), host, domain, domain:NAME, port, anywhere
    #[arg(long, value_name = "SCOPE", default_value = "exact")]
    pub(super) scope: Reach,
    /// How long it holds: once (the flows that wait), process, 10m, 8h, 7d, a date (2026-12-01), forever
    #[arg(long = "for", value_name = "TIME", default_value = "once")]
    pub(super) lifetime: Lifetime,
}

#[cfg(capture)]
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum AnswerArg {
    Allow,
    Block,
}

#[cfg(capture)]
impl From<AnswerArg> for Verdict {
    fn from(answer: AnswerArg) -> Self {
        match answer {
            AnswerArg::Allow => Self::Allow,
            AnswerArg::Block => Self::Block,
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct AuditArgs {
    #[command(subcommand)]
    pub(super) command: AuditCommand,
    /// Folder of the record [default: $STATE_DIRECTORY; root's /var/lib/tidegate, a user's ~/.local/state/tidegate]
    #[arg(long, global = true, value_name = "FOLDER")]
    pub(super) state: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Subcommand)]
pub(super) enum AuditCommand {
    /// Print every change: who, when, before, after
    Show {
        /// Print JSON, one record a line
        #[arg(long)]
        json: bool,
    },
    /// Find lines that were changed, removed, put in or cut off
    Verify,
}
