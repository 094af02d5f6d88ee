//! `cargo xtask lab`: a shell on the host of a private network, for experiments by hand.

use std::process::ExitCode;

use crate::packages;
use crate::shell::{CommandExt, Outcome, exit_code};
use crate::workspace::{Profile, build_gateway, cargo};

pub(crate) fn lab(command: &[String]) -> Outcome<ExitCode> {
    packages::install_needed()?;
    let gateway = build_gateway(Profile::Dev)?;
    let status = cargo()
        .args([
            "run",
            "--quiet",
            "--package",
            "tidegate-lab",
            "--bin",
            "lab",
            "--",
        ])
        .args(command)
        .env("TIDEGATE", gateway)
        .status_shown()?;
    Ok(exit_code(status))
}
