//! What each command takes.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use tidegate_policy::{Direction, Port, Protocol, Verdict};

use crate::control::DEFAULT_SOCKET;

/// See and control every connection of every program.
#[derive(Debug, Parser)]
#[command(
    name = "tidegate",
    version,
    max_term_width = 100,
    disable_help_subcommand = true
)]
pub(super) struct Cli {
    /// Control socket [default: /run/tidegate/control.sock]
    #[arg(long, global = true, value_name = "PATH")]
    pub(super) control: Option<PathBuf>,
    #[command(subcommand)]
    pub(super) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Capture the whole host's traffic, in the foreground (needs root)
    Run(RunArgs),
    /// Make a trial (run --try) permanent
    Confirm,
    /// Run one command with its traffic captured; no root, nothing on the host changes
    Exec(ExecArgs),
    /// Report every problem of the configuration
    Check(CheckArgs),
    /// Say what would happen to a flow, and why; no daemon needed
    Explain(ExplainArgs),
    /// Show live and recent flows
    Flows(FlowsArgs),
    /// Show capture, workers, counters, coverage and health
    Status(StatusArgs),
    /// Undo whatever a dead instance left behind on the host (needs root)
    Recover,
}

/// `tidegate run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Configuration file [default: /etc/tidegate/tidegate.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Undo everything after this long, e.g. 60s, unless `tidegate confirm` comes
    #[arg(long = "try", value_name = "TIME", value_parser = duration)]
    pub trial: Option<Duration>,
    /// Control socket, of the option that all commands have; absent: the default.
    #[arg(skip)]
    pub control: Option<PathBuf>,
}

/// `tidegate exec`.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit status: the command's; 125 if tidegate failed, 126 if the command \
    cannot be run, 127 if it was not found, 128+N if signal N ended it."
)]
pub struct ExecArgs {
    /// Configuration file [default: /etc/tidegate/tidegate.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Let the command reach this host's loopback at the gateway's address
    #[arg(long)]
    pub host_loopback: bool,
    /// Let the command reach this UNIX socket; may be given several times
    #[arg(long = "socket", value_name = "PATH")]
    pub sockets: Vec<PathBuf>,
    /// Print a table of the flows on standard error when the command has ended
    #[arg(long)]
    pub summary: bool,
    /// Control socket, of the option that all commands have; absent: none is opened.
    #[arg(skip)]
    pub control: Option<PathBuf>,
    /// The command and its arguments
    #[arg(required = true, last = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// Configuration file [default: /etc/tidegate/tidegate.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// Configuration file [default: /etc/tidegate/tidegate.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Executable of the program [default: a program that is not known]
    #[arg(long, value_name = "PATH", value_parser = executable)]
    pub(super) app: Option<PathBuf>,
    /// User who runs it [default: you]
    #[arg(long, value_name = "N", requires = "app")]
    pub(super) uid: Option<u32>,
    /// Address of the other end
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    pub(super) to: IpAddr,
    /// Protocol and port of the service: tcp/443, udp/53, icmp, ip/47
    #[arg(long, value_name = "PORT", value_parser = service)]
    pub(super) port: Service,
    /// Who speaks first: this host (out) or the other end (in)
    #[arg(long, value_name = "WAY", value_enum, default_value_t)]
    pub(super) direction: DirectionArg,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct FlowsArgs {
    /// Go on with every flow that is judged or ends, until interrupted
    #[arg(long)]
    pub(super) follow: bool,
    /// Print JSON, one record a line
    #[arg(long)]
    pub(super) json: bool,
    /// Only programs that match: a pattern with a slash for the path, without for the name
    #[arg(long, value_name = "GLOB")]
    pub(super) app: Option<String>,
    /// Only flows with this verdict
    #[arg(long, value_name = "V", value_enum)]
    pub(super) verdict: Option<VerdictArg>,
}

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(super) enum DirectionArg {
    #[default]
    Out,
    In,
}

impl From<DirectionArg> for Direction {
    fn from(direction: DirectionArg) -> Self {
        match direction {
            DirectionArg::Out => Self::Out,
            DirectionArg::In => Self::In,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum VerdictArg {
    Allow,
    Block,
    Drop,
}

impl From<VerdictArg> for Verdict {
    fn from(verdict: VerdictArg) -> Self {
        match verdict {
            VerdictArg::Allow => Self::Allow,
            VerdictArg::Block => Self::Block,
            VerdictArg::Drop => Self::Drop,
        }
    }
}

/// One protocol and, where it has ports, one port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Service {
    pub(super) protocol: Protocol,
    pub(super) port: u16,
}

fn service(text: &str) -> Result<Service, String> {
    let port = Port::parse(text).map_err(|refusal| match refusal.hint {
        Some(hint) => format!("{}: {hint}", refusal.message),
        None => refusal.message,
    })?;
    let one = |protocol, port| Ok(Service { protocol, port });
    match port {
        Port::Tcp(first, last) if first == last => one(Protocol::Tcp, first),
        Port::Udp(first, last) if first == last => one(Protocol::Udp, first),
        Port::Icmp => one(Protocol::Icmp, 0),
        Port::Other(number) => one(Protocol::Other(number), 0),
        Port::TcpOrUdp(..) => Err(format!("say which protocol: tcp/{text} or udp/{text}")),
        Port::Tcp(..) | Port::Udp(..) => Err("a flow has one port, not a range".to_owned()),
    }
}

fn address(text: &str) -> Result<IpAddr, String> {
    text.parse()
        .map_err(|_| "not an IP address; names are not resolved here".to_owned())
}

fn executable(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    if path.is_absolute() && path.file_name().is_some() {
        return Ok(path);
    }
    Err("not the full path of an executable, such as /usr/bin/curl".to_owned())
}

/// A time with its unit: `500ms`, `60s`, `5m`, `1h`.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text
        .find(|letter: char| !letter.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number
        .parse()
        .map_err(|_| "write a time such as 60s or 5m".to_owned())?;
    let time = match unit {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => number.checked_mul(60).map(Duration::from_secs),
        "h" => number.checked_mul(3600).map(Duration::from_secs),
        "" => return Err(format!("the unit is missing: write {number}s or {number}m")),
        _ => return Err(format!("{unit:?} is no unit: use ms, s, m or h")),
    };
    time.filter(|time| !time.is_zero())
        .ok_or_else(|| "must be longer than nothing".to_owned())
}

/// The control socket that a command talks to.
pub(super) fn socket(control: Option<PathBuf>) -> PathBuf {
    control.unwrap_or_else(|| DEFAULT_SOCKET.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_need_a_unit_and_are_never_zero() {
        assert_eq!(duration("60s"), Ok(Duration::from_secs(60)));
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        for wrong in [
            "",
            "s",
            "60",
            "0s",
            "-1s",
            "1d",
            "1.5s",
            "99999999999999999999s",
            "18446744073709551615h",
        ] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_service_is_one_port_of_one_protocol() {
        assert_eq!(
            service("tcp/443"),
            Ok(Service {
                protocol: Protocol::Tcp,
                port: 443
            })
        );
        assert_eq!(
            service("icmp"),
            Ok(Service {
                protocol: Protocol::Icmp,
                port: 0
            })
        );
        assert_eq!(
            service("ip/47"),
            Ok(Service {
                protocol: Protocol::Other(47),
                port: 0
            })
        );
        assert_eq!(
            service("443"),
            Err("say which protocol: tcp/443 or udp/443".to_owned())
        );
        assert!(service("udp/1-2").is_err());
        assert!(service("tcp/99999").is_err());
    }
}
