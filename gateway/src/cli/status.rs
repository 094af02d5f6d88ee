//! `tidegate status`: how the gateway is.

use std::path::PathBuf;
use std::process::ExitCode;

use super::daemon::{StatusArgs, socket};
use crate::control::client::{Client, ClientError};
use crate::control::protocol::{Reply, Request};
use crate::report;
use crate::terminal;

pub(super) fn main(args: StatusArgs, control: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    let reply = Client::connect(&socket(control))?.ask(Request::Status)?;
    let Reply::Status(status) = reply else {
        return Err(ClientError::strange(&reply).into());
    };
    if args.json {
        terminal::print_line(&serde_json::to_string_pretty(&status)?)?;
    } else {
        terminal::print_text(&report::status_text(&status))?;
    }
    Ok(ExitCode::SUCCESS)
}
