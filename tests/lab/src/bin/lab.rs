//! `lab [--delay MILLISECONDS] [--loss PERCENT] [COMMAND ARG...]`: a shell, or a command, on the host of a private network;
//! the network is removed when it ends. Delay and loss are those of the server's link, each way.
#![expect(
    clippy::print_stderr,
    reason = "a command line tool talks to its terminal"
)]

use std::process::{ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tidegate_lab::{Impairment, Lab, Share, address, service};

fn main() -> Result<ExitCode> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (impairment, words) = impairment(&words)?;
    let lab = match impairment {
        Some(impairment) => Lab::impaired(impairment)?,
        None => Lab::new()?,
    };
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

/// The server's link, if it is to be a bad one, and the words behind the options.
fn impairment(mut words: &[String]) -> Result<(Option<Impairment>, &[String])> {
    let mut impairment = None;
    while let [option, rest @ ..] = words
        && option.starts_with("--")
    {
        let [number, rest @ ..] = rest else {
            bail!("{option} needs a number");
        };
        let number = number
            .parse()
            .with_context(|| format!("{option}: `{number}` is no number"))?;
        let bad = impairment.get_or_insert_with(Impairment::default);
        match option.as_str() {
            "--delay" => bad.delay = Duration::from_millis(number),
            "--loss" => bad.loss = Share::percent(number),
            _ => bail!(
                "unknown option {option}: lab [--delay MILLISECONDS] [--loss PERCENT] [COMMAND ARG...]"
            ),
        }
        words = rest;
    }
    Ok((impairment, words))
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
