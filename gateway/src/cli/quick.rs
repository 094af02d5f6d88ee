//! `tidegate block`, `allow` and `undo`: rules by a word.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use clap::Args;
use tidegate_policy::Verdict;

use super::capture::duration;
use super::daemon::socket;
use crate::control::client::{Client, ClientError};
use crate::control::protocol::{Reply, Request};
use crate::quick::request::QuickRule;
use crate::record::Timestamp;
use crate::terminal::{self, printable};

/// `tidegate block` and `tidegate allow`.
#[derive(Debug, Args)]
#[command(after_help = "\
    APP is a program's name, the path of its executable, or `any`; WHERE and PORT are what a rule takes in `to` and `port`.\n\n  \
    tidegate block firefox\n  \
    tidegate block any to 198.51.100.0/24\n  \
    tidegate allow /usr/bin/curl to 203.0.113.9 port tcp/443 for 1h\n\n\
    In effect at once, for flows that live too, and after a restart. Written into quick.toml beside the main configuration \
    file, ahead of all other rules.")]
pub(super) struct QuickArgs {
    /// A program's name, the path of its executable, or `any`
    app: String,
    /// to WHERE, port PORT, for TIME, in any order
    #[arg(value_name = "WORDS")]
    words: Vec<String>,
}

/// `tidegate undo`.
#[derive(Debug, Args)]
pub(super) struct UndoArgs {
    /// How many, the newest first
    #[arg(default_value = "1", value_parser = count)]
    count: usize,
}

/// What is said behind the program.
#[derive(Debug, Default, PartialEq, Eq)]
struct Details {
    to: Option<String>,
    port: Option<String>,
    lasting: Option<Duration>,
}

fn count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("a number from 1 on".to_owned()),
        Ok(count) => Ok(count),
    }
}

impl Details {
    fn read(words: &[String]) -> anyhow::Result<Self> {
        let mut details = Self::default();
        for pair in words.chunks(2) {
            let [word, value] = pair else {
                anyhow::bail!(
                    "what follows {:?} is missing: write to WHERE, port PORT or for TIME",
                    pair.first().map_or("", String::as_str)
                );
            };
            let is_new = match word.as_str() {
                "to" => details.to.replace(value.clone()).is_none(),
                "port" => details.port.replace(value.clone()).is_none(),
                "for" => {
                    let lasting = duration(value).map_err(anyhow::Error::msg)?;
                    details.lasting.replace(lasting).is_none()
                }
                _ => anyhow::bail!(
                    "{word:?} is not understood: write to WHERE, port PORT or for TIME"
                ),
            };
            anyhow::ensure!(is_new, "{word:?} is said twice: make one rule for each");
        }
        Ok(details)
    }
}

pub(super) fn main(
    args: QuickArgs,
    action: Verdict,
    control: Option<PathBuf>,
) -> anyhow::Result<ExitCode> {
    let Details { to, port, lasting } = Details::read(&args.words)?;
    let until = lasting
        .map(|lasting| {
            let until = SystemTime::now().checked_add(lasting);
            until
                .map(Timestamp::from)
                .context("such a long time is for ever: leave `for` out")
        })
        .transpose()?;
    let rule = QuickRule {
        action,
        app: args.app,
        to,
        port,
        until,
    };
    for name in change(Request::Quick(rule), control)? {
        terminal::print_line(&format!("in force: {}", printable(&name)))?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn undo(args: &UndoArgs, control: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    for name in change(Request::Undo { count: args.count }, control)? {
        terminal::print_line(&format!("no longer: {}", printable(&name)))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The names of the rules that were changed.
fn change(request: Request, control: Option<PathBuf>) -> anyhow::Result<Vec<String>> {
    let reply = Client::connect(&socket(control))?.ask(request)?;
    let Reply::RulesChanged { rules, .. } = reply else {
        return Err(ClientError::strange(&reply).into());
    };
    Ok(rules)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Details, String> {
        let words: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
        Details::read(&words).map_err(|error| error.to_string())
    }

    #[test]
    fn words_stand_in_any_order() {
        assert_eq!(read(""), Ok(Details::default()));
        let all = Details {
            to: Some("192.0.2.1".to_owned()),
            port: Some("443".to_owned()),
            lasting: Some(Duration::from_secs(3600)),
        };
        assert_eq!(read("for 1h to 192.0.2.1 port 443"), Ok(all));
    }

    #[test]
    fn what_is_not_understood_is_said() {
        for (line, expected) in [
            ("to", "missing"),
            ("at 192.0.2.1", "not understood"),
            ("to a to b", "twice"),
            ("for ever", "time"),
        ] {
            let error = read(line).unwrap_err();
            assert!(error.contains(expected), "{line}: {error}");
        }
    }
}
