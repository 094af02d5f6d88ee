//! What the commands that capture take.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use tidegate_policy::Allowed;

use super::arguments::in_one_line;
use crate::config;

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
    cannot be run, 127 if it was not found, 128+N if signal N ended it; with --deny-all, 123 if \
    something was refused."
)]
pub struct ExecArgs {
    /// Configuration file [default: /etc/tidegate/tidegate.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Refuse everything that --allow does not name; no configuration file is read
    #[arg(long, conflicts_with = "config")]
    pub deny_all: bool,
    /// Let this pass: 10.0.0.0/8, tcp/443 or 10.0.0.0/8:tcp/443; may be given several times
    #[arg(long = "allow", value_name = "WHAT", requires = "deny_all", value_parser = allowed)]
    pub allowed: Vec<Allowed>,
    /// Write every flow into this file as it ends, a line of JSON each
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// Write every packet into this file, for tcpdump and Wireshark
    #[arg(long, value_name = "FILE")]
    pub pcap: Option<PathBuf>,
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

fn allowed(text: &str) -> Result<Allowed, String> {
    config::allowed(text).map_err(in_one_line)
}

/// A time with its unit: `500ms`, `60s`, `5m`, `1h`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
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

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::arguments::{Cli, Command};

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split_whitespace())
    }

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
    fn the_help_of_exec_tells_the_exit_status() {
        let help = parse("tidegate exec --help").unwrap_err().to_string();
        insta::assert_snapshot!(help, @"
            Run one command with its traffic captured; no root, nothing on the host changes

            Usage: tidegate exec [OPTIONS] -- <COMMAND>...

            Arguments:
              <COMMAND>...  The command and its arguments

            Options:
                  --config <FILE>   Configuration file [default: /etc/tidegate/tidegate.toml, if it is there]
                  --control <PATH>  Control socket [default: /run/tidegate/control.sock; none for exec]
                  --deny-all        Refuse everything that --allow does not name; no configuration file is read
                  --allow <WHAT>    Let this pass: 10.0.0.0/8, tcp/443 or 10.0.0.0/8:tcp/443; may be given
                                    several times
                  --record <FILE>   Write every flow into this file as it ends, a line of JSON each
                  --pcap <FILE>     Write every packet into this file, for tcpdump and Wireshark
                  --host-loopback   Let the command reach this host's loopback at the gateway's address
                  --socket <PATH>   Let the command reach this UNIX socket; may be given several times
                  --summary         Print a table of the flows on standard error when the command has ended
              -h, --help            Print help

            Exit status: the command's; 125 if tidegate failed, 126 if the command cannot be run, 127 if it was
            not found, 128+N if signal N ended it; with --deny-all, 123 if something was refused.
            ");
    }

    #[test]
    fn exec_leaves_the_commands_own_options_alone() {
        let line = "tidegate exec --summary --socket /run/a --socket /run/b -- curl --summary -v";
        let Some(Command::Exec(args)) = parse(line).unwrap().command else {
            panic!()
        };
        assert!(args.summary && !args.host_loopback);
        assert_eq!(args.sockets.len(), 2);
        assert_eq!(args.command, ["curl", "--summary", "-v"]);
        assert!(parse("tidegate exec --allow lan -- true").is_err());
        assert!(parse("tidegate exec --deny-all --config x -- true").is_err());
        assert!(parse("tidegate exec").is_err());
        assert!(parse("tidegate exec --").is_err());
    }
}
