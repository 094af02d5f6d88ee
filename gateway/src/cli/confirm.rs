//! `tidegate confirm`: a trial becomes permanent.

use std::path::PathBuf;
use std::process::ExitCode;

use super::daemon::socket;
use crate::control::client::Client;
use crate::control::protocol::Request;
use crate::terminal;

pub(super) fn main(control: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    Client::connect(&socket(control))?.ask(Request::Confirm)?;
    terminal::print_line("confirmed: the capture stays until tidegate is stopped")?;
    Ok(ExitCode::SUCCESS)
}
