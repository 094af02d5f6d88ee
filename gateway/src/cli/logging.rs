//! The log: to standard error, filtered by `TIDEGATE_LOG` (`debug`, or `tidegate=trace,info`).

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

use super::arguments::Command;

/// Environment variable with the filter.
const VARIABLE: &str = "TIDEGATE_LOG";

/// The filter of commands whose output, or whose child's, is what the user wants to see.
const QUIET: &str = "warn";

pub(super) fn init(command: &Command) {
    let usual = match command {
        #[cfg(capture)]
        Command::Run(_) => "info",
        #[cfg(capture)]
        Command::Answer(_)
        | Command::Ask(_)
        | Command::Block(_)
        | Command::Allow(_)
        | Command::Undo(_)
        | Command::Confirm
        | Command::Exec(_)
        | Command::Flows(_)
        | Command::Profile(_)
        | Command::Recover
        | Command::Status(_) => QUIET,
        Command::Audit(_)
        | Command::Check(_)
        | Command::Explain(_)
        | Command::Lists(_)
        | Command::Export(_)
        | Command::Fmt(_)
        | Command::Import(_)
        | Command::Simulate(_) => QUIET,
    };
    let wanted = std::env::var(VARIABLE)
        .ok()
        .filter(|wanted| !wanted.is_empty());
    let (filter, refused) = match wanted.as_deref().map(EnvFilter::try_new) {
        None => (EnvFilter::new(usual), None),
        Some(Ok(filter)) => (filter, None),
        Some(Err(error)) => (EnvFilter::new(usual), Some(error)),
    };
    let colours = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(colours);
    let started = log.with_writer(io::stderr).try_init();
    if let Some(error) = refused {
        tracing::warn!(%error, "{VARIABLE} is not understood and has no effect");
    }
    if let Err(error) = started {
        tracing::debug!(%error, "a log was there before");
    }
}
