//! `tidegate recover`: what a dead instance left behind on the host is undone.

use std::process::ExitCode;

use tidegate_platform::host::{HostNetwork, Journal};

use crate::report::counted;
use crate::run::{JOURNAL, recover};
use crate::terminal;

pub(super) fn main() -> anyhow::Result<ExitCode> {
    let Some(journal) = Journal::load(JOURNAL)? else {
        terminal::print_line("nothing to undo")?;
        return Ok(ExitCode::SUCCESS);
    };
    let undone = recover(&mut HostNetwork::open()?, journal)?;
    terminal::print_line(&format!("undone: {}", counted(undone, "change")))?;
    Ok(ExitCode::SUCCESS)
}
