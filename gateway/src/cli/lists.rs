//! `tidegate lists`: lists as they are, fetched now, or offered by others.

use std::path::PathBuf;
use std::process::ExitCode;

use tidegate_policy::list::catalogue::{self, CatalogueEntry};

use super::arguments::{ListsAction, ListsArgs};
use crate::config::{Config, ConfigSource};
use crate::control::DEFAULT_SOCKET;
use crate::control::client::{Client, ClientError};
use crate::control::protocol::{Reply, Request};
use crate::library::{Library, LibraryState};
use crate::record::Timestamp;
use crate::report::list_line;
use crate::state_folder::state_folder;
use crate::terminal::{self, printable_lines};

pub(super) fn main(args: ListsArgs, control: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    if let Some(ListsAction::Catalogue) = args.action {
        terminal::print_text(&catalogue_text(&catalogue::entries()))?;
        return Ok(ExitCode::SUCCESS);
    }
    let update = match args.action {
        Some(ListsAction::Update { name }) => Some(name),
        Some(ListsAction::Catalogue) | None => None,
    };
    let socket = control.clone().unwrap_or_else(|| DEFAULT_SOCKET.into());
    // Someone who names a socket or a file means it.
    let runs = control.is_some() || (args.config.is_none() && socket.exists());
    let state = if runs {
        let mut client = Client::connect(&socket)?;
        ask(&mut client, update.as_ref())?
    } else {
        here(args.config, update.as_ref())?
    };
    let is_wrong = |name: &str| {
        let lists = state.lists.iter();
        lists
            .filter(|list| list.name == name)
            .any(|list| list.problem.is_some())
    };
    let failed = match &update {
        Some(Some(name)) => is_wrong(name),
        Some(None) => state.lists.iter().any(|list| list.problem.is_some()),
        None => false,
    };
    if args.json {
        terminal::print_line(&serde_json::to_string_pretty(&state)?)?;
    } else {
        terminal::print_text(&text(&state, Timestamp::now()))?;
    }
    Ok(if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// Of the gateway that runs.
fn ask(client: &mut Client, update: Option<&Option<String>>) -> anyhow::Result<LibraryState> {
    let request = match update {
        Some(name) => Request::UpdateLists(name.clone()),
        None => Request::Status,
    };
    let reply = client.ask(request)?;
    if let Reply::Status(status) = reply {
        return Ok(status.library);
    }
    let Reply::Library(state) = reply else {
        return Err(ClientError::strange(&reply).into());
    };
    Ok(*state)
}

/// Where none runs: of the files that the next one will find.
fn here(config: Option<PathBuf>, update: Option<&Option<String>>) -> anyhow::Result<LibraryState> {
    let config = Config::load(&ConfigSource::new(config))?;
    let library = Library::new(state_folder());
    library.refresh(config.policy.list_definitions(), &config.geo);
    match update {
        Some(name) => Ok(library.update_here(name.as_deref())?),
        None => Ok(library.state()),
    }
}

pub(super) fn text(state: &LibraryState, now: Timestamp) -> String {
    let mut lines = Vec::new();
    for list in &state.lists {
        lines.push(list_line(list, now));
        lines.push(format!("  from {}", list.source));
        lines.extend(
            list.report
                .iter()
                .flat_map(|report| report.lines())
                .map(|line| format!("  {}", line.trim())),
        );
        lines.extend(list.problem.iter().map(|problem| format!("  {problem}")));
    }
    if lines.is_empty() {
        lines.push("no list is configured: see `tidegate lists catalogue`".to_owned());
    }
    lines.push(String::new());
    printable_lines(&lines.join("\n")).into_owned()
}

fn catalogue_text(entries: &[CatalogueEntry]) -> String {
    let lines = entries.iter().map(|entry| {
        let CatalogueEntry {
            name,
            about,
            url,
            home,
            licence,
            categories,
            ..
        } = entry;
        let categories = categories.join(", ");
        format!("{name} ({categories}): {about}\n  {url}\n  by {home}, licence: {licence}\n")
    });
    lines.collect()
}
