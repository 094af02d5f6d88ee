//! `tidegate simulate`: what a candidate policy would have done with recorded flows.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};
use serde::Serialize;
use tidegate_platform::local_time;
use tidegate_platform::users::Users;
use tidegate_policy::{
    App, Context as When, Explanation, Feed, FlowName, KnownFlow, Name, NameSource, Policy,
    Protocol, Verdict,
};

use super::files::SimulateArgs;
use crate::config::{Config, ConfigSource};
use crate::record::{AppRecord, FlowRecord};
use crate::report::counted;
use crate::terminal::{self, printable};

/// What a line holds at most, in bytes.
const LONGEST_LINE: u64 = 1 << 20;

pub(super) fn main(args: SimulateArgs) -> anyhow::Result<ExitCode> {
    let json = args.json;
    let summary = simulate(args, &mut |change| {
        if json {
            terminal::print_line(&serde_json::to_string(change)?)?;
        } else {
            terminal::print_line(&printable(&change.line()))?;
        }
        Ok(())
    })?;
    if json {
        terminal::print_line(&serde_json::to_string(&summary)?)?;
    } else {
        terminal::print_line(&summary.line())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A flow that the candidate judges otherwise.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Change {
    flow: u64,
    app: Option<String>,
    to: String,
    names: Vec<String>,
    was: Judged,
    would_be: Judged,
}

/// A verdict, and the rule that gave it; none for the default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Judged {
    verdict: Verdict,
    rule: Option<String>,
}

/// How many flows there were, and what would become of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Summary {
    /// Records that were read.
    flows: usize,
    /// Records without a verdict, which say nothing.
    without_verdict: usize,
    /// Flows that were allowed and would not be.
    would_be_refused: usize,
    /// Flows that were refused and would be allowed.
    would_be_allowed: usize,
    /// Flows that were refused and would be, in the other way.
    would_be_refused_otherwise: usize,
}

impl Change {
    fn line(&self) -> String {
        let app = self.app.as_deref().unwrap_or("unknown program");
        let names = match &self.names[..] {
            [] => String::new(),
            names => format!(" ({})", names.join(", ")),
        };
        format!(
            "flow {}: {app} to {}{names}: {} -> {}",
            self.flow,
            self.to,
            self.was.text(),
            self.would_be.text()
        )
    }
}

impl Judged {
    fn text(&self) -> String {
        match &self.rule {
            Some(rule) => format!("{} by \"{rule}\"", self.verdict),
            None => format!("{} by default", self.verdict),
        }
    }
}

impl Summary {
    fn line(&self) -> String {
        let changed =
            self.would_be_refused + self.would_be_allowed + self.would_be_refused_otherwise;
        let without = match self.without_verdict {
            0 => String::new(),
            count => format!("; {count} without a verdict say nothing"),
        };
        format!(
            "{changed} of {} would change: {} refused, {} allowed, {} refused in the other way{without}",
            counted(self.flows, "flow"),
            self.would_be_refused,
            self.would_be_allowed,
            self.would_be_refused_otherwise
        )
    }
}

/// Asks the candidate about each recorded flow.
pub(super) fn simulate(
    args: SimulateArgs,
    on_change: &mut dyn FnMut(&Change) -> anyhow::Result<()>,
) -> anyhow::Result<Summary> {
    let config = Config::load_for(&ConfigSource::new(Some(args.rules)), &Feed::ALL)?;
    let mut users = Users::default();
    let mut summary = Summary::default();
    each_record(&args.flows, &mut |record| {
        summary.flows += 1;
        let Some(verdict) = record.verdict else {
            summary.without_verdict += 1;
            return Ok(());
        };
        let explanation = judge(&config.policy, &record, &mut users);
        let would_be = Judged {
            verdict: explanation.verdict,
            rule: explanation
                .rule
                .map(|rule| rule.name.unwrap_or_else(|| rule.origin.to_string())),
        };
        match (verdict, would_be.verdict) {
            (was, would) if was == would => return Ok(()),
            (Verdict::Allow, _) => summary.would_be_refused += 1,
            (_, Verdict::Allow) => summary.would_be_allowed += 1,
            _ => summary.would_be_refused_otherwise += 1,
        }
        on_change(&Change {
            flow: record.id,
            app: record.app.map(|app| app.path.display().to_string()),
            to: match record.protocol {
                Protocol::Tcp | Protocol::Udp => format!("{}/{}", record.protocol, record.remote),
                Protocol::Icmp | Protocol::Other(_) => {
                    format!("{} {}", record.protocol, record.remote.ip())
                }
            },
            names: record.names.into_iter().map(|name| name.name).collect(),
            was: Judged {
                verdict,
                rule: record.rule,
            },
            would_be,
        })
    })?;
    Ok(summary)
}

/// The records of a file, a line each, as `tidegate flows --json` writes them.
fn each_record(
    path: &Path,
    take: &mut dyn FnMut(FlowRecord) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let cannot = || format!("cannot read {}", path.display());
    let mut reader = BufReader::new(File::open(path).with_context(cannot)?);
    let mut line = Vec::new();
    for number in 1_usize.. {
        line.clear();
        let read = (&mut reader)
            .take(LONGEST_LINE + 1)
            .read_until(b'\n', &mut line);
        if read.with_context(cannot)? == 0 {
            break;
        }
        if u64::try_from(line.len()).is_ok_and(|length| length > LONGEST_LINE) {
            bail!(
                "{}:{number}: the line is too long for a flow",
                path.display()
            );
        }
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let record = serde_json::from_slice(&line).with_context(|| {
            format!(
                "{}:{number}: no flow as `tidegate flows --json` writes it",
                path.display()
            )
        })?;
        take(record)?;
    }
    Ok(())
}

/// By the clock of when it began. The network of that time is not recorded, nor the profile that was chosen.
fn judge(policy: &Policy, record: &FlowRecord, users: &mut Users) -> Explanation {
    let owners = record.app.iter().chain(&record.other_owners);
    let learned = |name: &crate::record::FlowName| {
        Some(FlowName {
            name: Name::parse(&name.name).ok()?,
            source: NameSource::Dns,
        })
    };
    let flow = KnownFlow {
        local: record.local,
        remote: record.remote,
        apps: owners.map(|app| known(app, users)).collect(),
        names: Some(record.names.iter().filter_map(learned).collect()),
        context: When {
            clock: Some(local_time::at(record.started.moment())),
            ..When::default()
        },
        ..KnownFlow::new(record.direction, record.remote.ip(), (record.protocol, 0))
    };
    let explanation = flow.ask(policy, |facts| policy.explain(facts));
    let answers = policy
        .answers()
        .filter(|_| explanation.verdict == Verdict::Ask);
    let answer = answers.map(|answers| flow.ask(answers, |facts| answers.explain(facts)));
    let answer = answer.filter(|answer| answer.rule.is_some());
    answer.unwrap_or(explanation)
}

/// What a record says of a program. Its ancestors are not recorded.
fn known(app: &AppRecord, users: &mut Users) -> App {
    App {
        user: users.name(app.uid).map(str::to_owned),
        ..App::from(app)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_folder::TestFolder;

    /// A record as `tidegate flows --json` writes it.
    fn record(id: u64, app: &str, remote: &str, verdict: &str) -> String {
        format!(
            r#"{{"id":{id},"started":"2026-11-21T09:05:03.250Z","ended":null,"protocol":"tcp","direction":"out","local":"10.0.0.2:40000","remote":"{remote}","app":{app},"unattributed":null,"names":[{{"name":"www.example.com","source":"dns"}}],"verdict":{verdict},"rule":null,"egress":"direct","bytes_up":1,"bytes_down":2,"state":"closed","reason":null}}"#
        ) + "\n"
    }

    const CURL: &str = r#"{"path":"/usr/bin/curl","name":"curl","pid":7,"uid":0,"command_line":["curl"],"unit":null,"container":null}"#;
    const RULES: &str = r#"
[[rule]]
name = "no web for curl"
app = "/usr/bin/curl"
to = ".example.com"
port = "tcp/80"
action = "block"

[[rule]]
name = "silence"
to = "192.0.2.9"
action = "drop"
"#;

    fn run(flows: &str) -> anyhow::Result<(Vec<String>, Summary)> {
        run_by(&TestFolder::new(), RULES, flows)
    }

    fn run_by(
        folder: &TestFolder,
        rules: &str,
        flows: &str,
    ) -> anyhow::Result<(Vec<String>, Summary)> {
        let args = SimulateArgs {
            rules: folder.write("candidate.toml", rules),
            flows: folder.write("flows.json", flows),
            json: false,
        };
        let mut lines = Vec::new();
        let summary = simulate(args, &mut |change| {
            lines.push(change.line());
            Ok(())
        });
        summary
            .map(|summary| (lines, summary))
            .map_err(|error| anyhow::anyhow!(folder.anonymous(&format!("{error:#}"))))
    }

    #[test]
    fn what_would_change_is_said_and_counted() {
        let flows = [
            record(1, CURL, "192.0.2.1:80", "\"allow\""),
            record(2, CURL, "192.0.2.1:443", "\"allow\""),
            record(3, "null", "192.0.2.1:80", "\"block\""),
            record(4, "null", "192.0.2.9:80", "\"block\""),
            record(5, CURL, "[2001:db8::1]:80", "null"),
        ];
        let (lines, summary) = run(&flows.concat()).unwrap();
        insta::assert_snapshot!(lines.join("\n") + "\n" + &summary.line(), @r#"
        flow 1: /usr/bin/curl to tcp/192.0.2.1:80 (www.example.com): allow by default -> block by "no web for curl"
        flow 3: unknown program to tcp/192.0.2.1:80 (www.example.com): block by default -> allow by default
        flow 4: unknown program to tcp/192.0.2.9:80 (www.example.com): block by default -> drop by "silence"
        3 of 5 flows would change: 1 refused, 1 allowed, 1 refused in the other way; 1 without a verdict say nothing
        "#);
    }

    #[test]
    fn flows_are_judged_by_the_clock_of_their_beginning_and_by_the_answers() {
        let folder = TestFolder::new();
        folder.write(
            "rules.d/50-answers.toml",
            "[[rule]]\nname = \"said before\"\nto = \"192.0.2.1\"\naction = \"allow\"\n",
        );
        let rules = r#"
[policy]
default = "ask"

[[rule]]
name = "for a while"
port = "tcp/80"
action = "block"
expires = 2026-11-21T09:10:00Z
"#;
        let early = record(1, CURL, "192.0.2.1:80", "\"allow\"");
        let late = early.replace("09:05:03", "09:15:03");
        let other = record(3, CURL, "192.0.2.2:443", "\"allow\"");
        let flows = [early, late, other].concat();
        let (lines, summary) = run_by(&folder, rules, &flows).unwrap();
        insta::assert_snapshot!(lines.join("\n") + "\n" + &summary.line(), @r#"
        flow 1: /usr/bin/curl to tcp/192.0.2.1:80 (www.example.com): allow by default -> block by "for a while"
        flow 3: /usr/bin/curl to tcp/192.0.2.2:443 (www.example.com): allow by default -> ask by default
        2 of 3 flows would change: 2 refused, 0 allowed, 0 refused in the other way
        "#);
    }

    #[test]
    fn a_line_that_is_no_flow_is_named() {
        let text = record(1, CURL, "192.0.2.1:80", "\"allow\"") + "\n{\"id\": 2}\n";
        let error = run(&text).unwrap_err().to_string();
        assert!(error.starts_with("DIR/flows.json:3: no flow"), "{error}");
        let long = " ".repeat(2 << 20);
        let error = run(&long).unwrap_err().to_string();
        assert_eq!(error, "DIR/flows.json:1: the line is too long for a flow");
    }
}
