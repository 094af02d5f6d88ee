//! A shell, or a command, on the host of a private network; the network is removed when it ends.
#![expect(
    clippy::print_stderr,
    reason = "a command line tool talks to its terminal"
)]

use std::process::{ExitCode, Stdio};

use anyhow::Result;
use tidegate_lab::{Lab, address, service};

fn main() -> Result<ExitCode> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let _echo = service::UdpEcho::start(&lab.server, &[address::SERVER_V4, address::SERVER_V6], 7)?;
    let _names = service::Dns::start(
        &lab.server,
        &[
            ("www.lab.test", address::SERVER_V4),
            ("www.lab.test", address::SERVER_V6),
        ],
    )?;
    explain(&lab);
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (program, arguments) = words
        .split_first()
        .map_or(("/bin/bash", &[][..]), |(first, rest)| (first, rest));
    let mut command = lab.host.command(program);
    if let Some(gateway) = std::env::var_os("TIDEGATE") {
        command.env("TIDEGATE", gateway);
    }
    let status = command.args(arguments).stdin(Stdio::inherit()).status()?;
    Ok(status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .map_or(ExitCode::FAILURE, ExitCode::from))
}

fn explain(lab: &Lab) {
    eprintln!(
        "The host of a private network. Its server, {} and {}:",
        address::SERVER_V4,
        address::SERVER_V6
    );
    eprintln!("  curl http://www.lab.test/bytes/1000    HTTP; also /whoami, /drip, and PUT");
    eprintln!("  socat - UDP:{}:7             echo", address::SERVER_V4);
    eprintln!(
        "Nowhere: {} (silence), {} (unreachable).",
        address::BLACK_HOLE_V4,
        address::UNREACHABLE_V4
    );
    eprintln!(
        "Tidegate, as built: $TIDEGATE. Files: {}",
        lab.folder().display()
    );
    for (name, machine) in [("router", &lab.router), ("server", &lab.server)] {
        eprintln!(
            "A shell on the {name}: nsenter --net={} --mount={}",
            machine.net_path(),
            machine.mount_path()
        );
    }
}
