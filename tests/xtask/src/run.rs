//! `cargo xtask run`: the gateway at work, without root and without a change to this host.

use std::process::{Command, ExitCode};

use crate::demo;
use crate::shell::{CommandExt, Failure, Outcome, exit_code};
use crate::workspace::{Profile, build_gateway};

pub(crate) fn run(arguments: &[String]) -> Outcome<ExitCode> {
    let command = match arguments {
        [] => &[],
        [dashes, command @ ..] if dashes == "--" && !command.is_empty() => command,
        _ => return Err(Failure::new("run takes `-- COMMAND ARG..` or nothing")),
    };
    let gateway = build_gateway(Profile::Dev)?;
    if command.is_empty() {
        return demo::demo(&gateway);
    }
    let status = Command::new(gateway)
        .args(["exec", "--summary", "--"])
        .args(command)
        .status_shown()?;
    Ok(exit_code(status))
}
