//! `tidegate recover`: what a dead instance left behind on the host is undone.

use std::path::PathBuf;
use std::process::ExitCode;

use super::arguments::socket;
use crate::recover::{Recovery, journal_of, recover};
use crate::report::counted;
use crate::terminal;

pub(super) fn main(control: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    match recover(&journal_of(&socket(control)))? {
        Recovery::Nothing => terminal::print_line("there is nothing to undo")?,
        Recovery::Undone(changes) => {
            let changes = counted(changes, "change");
            terminal::print_line(&format!("undone: {changes} of an instance that died"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
