//! What each command takes.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use tidegate_policy::source::parse_fact;
use tidegate_policy::{
    Continent, Country, Direction, Fact, Level, Mac, Name, Port, Protocol, Refusal, WallTime,
};

use super::answering::AuditArgs;
#[cfg(capture)]
use super::answering::{AnswerArgs, AskArgs};
#[cfg(capture)]
use super::capture::{ExecArgs, RunArgs};
#[cfg(capture)]
use super::daemon::{FlowsArgs, StatusArgs};
use super::files::{ExportArgs, FmtArgs, ImportArgs, SimulateArgs};
#[cfg(capture)]
use super::profile::ProfileArgs;
#[cfg(capture)]
use super::quick::{QuickArgs, UndoArgs};

/// See and control every connection of every program.
#[derive(Debug, Parser)]
#[command(
    name = "tidegate",
    version,
    max_term_width = 100,
    disable_help_subcommand = true
)]
pub(super) struct Cli {
    /// Control socket [default: /run/tidegate/control.sock; none for exec]
    #[cfg(capture)]
    #[arg(long, global = true, value_name = "PATH")]
    pub(super) control: Option<PathBuf>,
    #[command(subcommand)]
    pub(super) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Capture the whole host's traffic, in the foreground (needs root)
    #[cfg(capture)]
    Run(RunArgs),
    /// Make a trial (run --try) permanent
    #[cfg(capture)]
    Confirm,
    /// Run one command with its traffic captured; no root, nothing on the host changes
    #[cfg(capture)]
    Exec(ExecArgs),
    /// Report every problem of the configuration
    Check(CheckArgs),
    /// Refuse a program's flows from now on: block APP [to WHERE] [port PORT] [for TIME]
    #[cfg(capture)]
    Block(QuickArgs),
    /// Let a program's flows pass from now on: allow APP [to WHERE] [port PORT] [for TIME]
    #[cfg(capture)]
    Allow(QuickArgs),
    /// Take the newest rules of block and allow away again
    #[cfg(capture)]
    Undo(UndoArgs),
    /// Say what would happen to a flow, and why; no daemon needed
    Explain(ExplainArgs),
    /// Say what other rules would have done with recorded flows; no daemon needed
    Simulate(SimulateArgs),
    /// Put rule files into their one layout
    Fmt(FmtArgs),
    /// Take over the rules of another program; they are in force once confirmed
    Import(ImportArgs),
    /// Write the rules of a file for another program, where it can mean the same
    Export(ExportArgs),
    /// Show live and recent flows
    #[cfg(capture)]
    Flows(FlowsArgs),
    /// Show capture, workers, counters, coverage and health
    #[cfg(capture)]
    Status(StatusArgs),
    /// Answer the questions of rules that ask, at a terminal; or list them
    #[cfg(capture)]
    Ask(AskArgs),
    /// Answer one question
    #[cfg(capture)]
    Answer(AnswerArgs),
    /// Show or verify the record of changes
    Audit(AuditArgs),
    /// Show the profiles, or choose one
    #[cfg(capture)]
    Profile(ProfileArgs),
    /// Show lists, fetch them now, or show those that others publish
    Lists(ListsArgs),
    /// Undo whatever a dead instance left behind on the host (needs root)
    #[cfg(capture)]
    Recover,
}

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// Configuration file [default: /etc/tidegate/tidegate.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// First put an identity that survives updates in the place of each app = "auto:PATH"
    #[arg(long)]
    pub(super) resolve: bool,
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
    /// What else identifies it: package=deb:curl, traced=true, snap=none; may be given several times
    #[arg(long, value_name = "KEY=VALUE", requires = "app", value_parser = identity)]
    pub(super) app_is: Vec<(Level, Fact<Box<str>>)>,
    /// Address of the other end
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    pub(super) to: IpAddr,
    /// Address of this end [default: not known]
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    pub(super) from: Option<IpAddr>,
    /// Protocol and port of the service: tcp/443, udp/53, icmp, ip/47
    #[arg(long, value_name = "PORT", value_parser = service)]
    pub(super) port: Service,
    /// A name of the other end; may be given several times
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub(super) name: Vec<Name>,
    /// No name is known yet, but one may still come
    #[arg(long, conflicts_with = "name")]
    pub(super) name_later: bool,
    /// Country of the other end: DE; or none, where the database has none for it [default: as the database says]
    #[arg(long, value_name = "CODE", value_parser = country)]
    pub(super) country: Option<Fact<Country>>,
    /// Continent of the other end: EU; or none [default: as the database says]
    #[arg(long, value_name = "CODE", value_parser = continent)]
    pub(super) continent: Option<Fact<Continent>>,
    /// Autonomous system of the other end: 13335; or none [default: as the database says]
    #[arg(long = "as", value_name = "NUMBER", value_parser = system)]
    pub(super) system: Option<Fact<u32>>,
    /// A list that the other end is on, or none; may be given several times [default: as the lists say]
    #[arg(long, value_name = "NAME")]
    pub(super) list: Vec<String>,
    /// When the flow is judged, e.g. 2026-12-01T22:00:00+01:00 [default: now]
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(super) at: Option<WallTime>,
    /// Interface of the uplink [default, as of the next three: not known]
    #[arg(long, value_name = "NAME")]
    pub(super) interface: Option<String>,
    /// Hardware address of the uplink's router
    #[arg(long, value_name = "MAC", value_parser = mac)]
    pub(super) gateway_mac: Option<Mac>,
    /// Name of the wireless network
    #[arg(long, value_name = "NAME")]
    pub(super) ssid: Option<String>,
    /// Whether a VPN carries what leaves
    #[arg(long, value_name = "BOOL")]
    pub(super) vpn: Option<bool>,
    /// The profile that was chosen [default: auto, each by its own conditions]
    #[arg(long, value_name = "NAME")]
    pub(super) profile: Option<String>,
    /// Who speaks first: this host (out) or the other end (in)
    #[arg(long, value_name = "WAY", value_enum, default_value_t)]
    pub(super) direction: DirectionArg,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct ListsArgs {
    /// Configuration file, where no gateway runs [default: /etc/tidegate/tidegate.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Print JSON
    #[arg(long, global = true)]
    pub(super) json: bool,
    #[command(subcommand)]
    pub(super) action: Option<ListsAction>,
}

#[derive(Debug, Subcommand)]
pub(super) enum ListsAction {
    /// Fetch a list, or all, now
    Update {
        /// The list [default: all that come from a server]
        name: Option<String>,
    },
    /// Show the lists that `use = "NAME"` knows: what they are about, where they are, under which licence
    Catalogue,
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

/// One protocol and, where it has ports, one port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Service {
    pub(super) protocol: Protocol,
    pub(super) port: u16,
}

fn service(text: &str) -> Result<Service, String> {
    let port = Port::parse(text).map_err(in_one_line)?;
    let (protocol, port) = port.one_service().map_err(in_one_line)?;
    Ok(Service { protocol, port })
}

pub(super) fn in_one_line(refusal: Refusal) -> String {
    match refusal.hint {
        Some(hint) => format!("{}: {hint}", refusal.message),
        None => refusal.message,
    }
}

fn identity(text: &str) -> Result<(Level, Fact<Box<str>>), String> {
    parse_fact(text).map_err(in_one_line)
}

fn name(text: &str) -> Result<Name, String> {
    Name::parse(text).map_err(in_one_line)
}

/// `none`, or what `parse` reads.
fn fact<T>(
    text: &str,
    parse: impl FnOnce(&str) -> Option<T>,
    what: &str,
) -> Result<Fact<T>, String> {
    if text == "none" {
        return Ok(Fact::Absent);
    }
    let value = parse(text).ok_or_else(|| format!("not {what}, and not `none`"))?;
    Ok(Fact::Is(value))
}

fn country(text: &str) -> Result<Fact<Country>, String> {
    fact(text, Country::parse, "a country's two letters (ISO 3166-1)")
}

fn continent(text: &str) -> Result<Fact<Continent>, String> {
    fact(text, Continent::parse, "one of AF, AN, AS, EU, NA, OC, SA")
}

fn system(text: &str) -> Result<Fact<u32>, String> {
    fact(
        text,
        |text| text.parse().ok(),
        "the number of an autonomous system",
    )
}

fn time(text: &str) -> Result<WallTime, String> {
    WallTime::parse(text).map_err(in_one_line)
}

fn mac(text: &str) -> Result<Mac, String> {
    Mac::parse(text).map_err(in_one_line)
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

#[cfg(test)]
mod tests {
    use super::*;

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
            Err(
                "a flow has one protocol: write one service: tcp/443, udp/53, icmp, ip/47"
                    .to_owned()
            )
        );
        assert!(service("udp/1-2").is_err());
        assert!(service("tcp/99999").is_err());
    }
}
