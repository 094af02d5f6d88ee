//! `tidegate audit`: the change record, shown and verified. No daemon needed.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;

use super::answering::{AuditArgs, AuditCommand};
use crate::audit;
use crate::report::counted;
use crate::state_folder::state_folder;
use crate::terminal::{self, printable, printable_lines};

pub(super) fn main(args: AuditArgs) -> anyhow::Result<ExitCode> {
    let folder = args
        .state
        .or_else(state_folder)
        .context("no state folder is known: name it with --state")?;
    match args.command {
        AuditCommand::Show { json } => show(folder, json),
        AuditCommand::Verify => verify(folder),
    }
}

fn show(folder: PathBuf, json: bool) -> anyhow::Result<ExitCode> {
    for (_, record) in audit::read(&folder)? {
        if json {
            terminal::print_line(&serde_json::to_string(&record)?)?;
        } else {
            terminal::print_line(&printable_lines(&record.to_string()))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn verify(folder: PathBuf) -> anyhow::Result<ExitCode> {
    let found = audit::verify(&folder)?;
    for fault in &found.faults {
        terminal::print_line(&printable(&fault.to_string()))?;
    }
    if !found.faults.is_empty() {
        terminal::complain(&format!(
            "the change record in {} is not as it was written",
            folder.display()
        ));
        return Ok(ExitCode::FAILURE);
    }
    terminal::print_line(&format!(
        "{}, the last is {}",
        counted(usize::try_from(found.lines).unwrap_or(usize::MAX), "record"),
        found.last
    ))?;
    Ok(ExitCode::SUCCESS)
}
