//! `tidegate profile`: which profiles there are, and which one is to be active.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::daemon::socket;
use crate::control::client::{Client, ClientError};
use crate::control::protocol::{Reply, Request};
use crate::control::status::Profiles;
use crate::terminal::{self, printable_lines};

#[derive(Debug, Args)]
pub(super) struct ProfileArgs {
    #[command(subcommand)]
    pub(super) action: ProfileAction,
}

#[derive(Debug, Subcommand)]
pub(super) enum ProfileAction {
    /// Show all profiles and which are active
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Make one profile active, until another is chosen; `auto`: each by its own conditions
    Use {
        /// Name of the profile, or auto
        #[arg(value_name = "NAME")]
        name: String,
    },
}

pub(super) fn main(args: ProfileArgs, control: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    let (request, json) = match args.action {
        ProfileAction::List { json } => (Request::Profiles, json),
        ProfileAction::Use { name } => (Request::UseProfile { name }, false),
    };
    let reply = Client::connect(&socket(control))?.ask(request)?;
    let Reply::Profiles(profiles) = reply else {
        return Err(ClientError::strange(&reply).into());
    };
    if json {
        terminal::print_line(&serde_json::to_string_pretty(&profiles)?)?;
    } else {
        terminal::print_line(&printable_lines(&text(&profiles)))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn text(profiles: &Profiles) -> String {
    let mut lines: Vec<String> = profiles
        .all
        .iter()
        .map(|profile| {
            let is_active = if profile.active { "active" } else { "-" };
            format!("{:<20} {is_active}", profile.name)
        })
        .collect();
    lines.push(match &profiles.chosen {
        Some(name) => format!("chosen: {name}; `tidegate profile use auto` lets conditions decide"),
        None => "chosen: auto, each by its own conditions".to_owned(),
    });
    lines.join("\n")
}
