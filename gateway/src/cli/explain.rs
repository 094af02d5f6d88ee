//! `tidegate explain`: what the configuration on disk says of one flow, and why.

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use serde::Serialize;
use tidegate_platform::local_time;
use tidegate_platform::users::Users;
use tidegate_policy::{
    App, Clock, Context, Direction, Explanation, Fact, Feed, FlowFacts, FlowName, Identity,
    KnownFlow, Lists, Name, NameSource, Network, Peer, Profile, ProfileChoice, Uplink, Verdict,
};

use super::arguments::ExplainArgs;
use crate::config::{Config, ConfigSource};
use crate::knowledge::{Knowledge, ListBuffer};
use crate::library::{Aside, Library};
use crate::state_folder::state_folder;
use crate::terminal::{self, printable_lines};

pub(super) fn main(args: ExplainArgs) -> anyhow::Result<ExitCode> {
    let json = args.json;
    // A candidate's lists are not the daemon's: what it keeps is only read.
    let aside = Aside::of(state_folder().as_deref());
    let nothing = Library::default();
    let library = match &aside {
        Ok(aside) => aside.library(),
        Err(error) => {
            tracing::warn!(%error, "lists are not looked up: there is no folder for temporary files");
            &nothing
        }
    };
    let explanation = explain(args, library)?;
    if json {
        terminal::print_line(&serde_json::to_string_pretty(&explanation)?)?;
    } else {
        terminal::print_line(&printable_lines(&explanation.to_string()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Why a flow gets its verdict; where that is to ask, what was answered before.
#[derive(Debug, Serialize)]
pub(super) struct Explained {
    #[serde(flatten)]
    explanation: Explanation,
    /// The answer that is a rule on disk; those in the memory of a daemon are not known here.
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<Explanation>,
}

impl fmt::Display for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.explanation.fmt(f)?;
        match &self.answer {
            Some(answer) => write!(f, "\nanswered before:\n{answer}"),
            None if self.explanation.verdict == Verdict::Ask => {
                f.write_str("\nno rule of the answers matches: the user is asked")
            }
            None => Ok(()),
        }
    }
}

/// What is not said of the flow is looked up in the lists and databases that the configuration names.
pub(super) fn explain(args: ExplainArgs, library: &Library) -> anyhow::Result<Explained> {
    let context = context(&args);
    // What is known of the flow is said on the command line, so rules may ask for any of it.
    let config = Config::load_for(&ConfigSource::new(args.config), &Feed::ALL)?;
    let uid = args
        .uid
        .unwrap_or_else(|| rustix::process::getuid().as_raw());
    let identity: Identity = args.app_is.into_iter().collect();
    let app = args.app.map(|path| App {
        identity,
        ..app(path, uid)
    });
    let service = (args.port.protocol, args.port.port);
    let names: Vec<FlowName> = args.name.into_iter().map(learned).collect();
    let flow = KnownFlow {
        apps: app.into_iter().collect(),
        names: (!args.name_later).then_some(names),
        country: args.country.unwrap_or_default(),
        continent: args.continent.unwrap_or_default(),
        system: args.system.unwrap_or_default(),
        context,
        lists: (!args.list.is_empty()).then_some(args.list),
        ..KnownFlow::new(Direction::from(args.direction), args.to, service)
    };
    let flow = match args.from {
        Some(from) => flow
            .from_address(from)
            .context("--from and --to are addresses of different families: write two of one")?,
        None => flow,
    };
    let policy = &config.policy;
    library.refresh(policy.list_definitions(), &config.geo);
    let knowledge = Knowledge::new(policy, library);
    let mut buffer = ListBuffer::default();
    let looked_up = knowledge.about(
        args.to,
        flow.names.as_deref().unwrap_or_default(),
        &mut buffer,
    );
    let explanation = flow.ask(policy, |said| {
        policy.explain(&with_looked_up(said, looked_up))
    });
    let answers = policy
        .answers()
        .filter(|_| explanation.verdict == Verdict::Ask);
    let answer = answers.map(|answers| {
        flow.ask(answers, |said| {
            answers.explain(&with_looked_up(said, looked_up))
        })
    });
    Ok(Explained {
        explanation,
        answer: answer.filter(|answer| answer.rule.is_some()),
    })
}

/// What is said of the other end, and of the rest what was looked up.
fn with_looked_up<'a>(said: &FlowFacts<'a>, looked_up: Peer<'a>) -> FlowFacts<'a> {
    let peer = Peer {
        country: known(said.peer.country, looked_up.country),
        continent: known(said.peer.continent, looked_up.continent),
        system: known(said.peer.system, looked_up.system),
        names: said.peer.names,
        ..match said.peer.lists {
            Lists::On(_) => said.peer,
            Lists::Unknown => looked_up,
        }
    };
    FlowFacts { peer, ..*said }
}

/// The time that is said, or the present; of the network what is said.
fn context(args: &ExplainArgs) -> Context {
    let said = |text: &Option<String>| {
        let text = text.as_deref();
        text.map_or(Fact::Unknown, |text| Fact::Is(text.into()))
    };
    let uplink = Uplink {
        interface: said(&args.interface),
        gateway: args.gateway_mac.map_or(Fact::Unknown, Fact::Is),
        ssid: said(&args.ssid),
    };
    Context {
        clock: Some(args.at.map_or_else(local_time::now, Clock::from)),
        network: Some(Network {
            uplinks: vec![uplink],
            vpn: args.vpn.map_or(Fact::Unknown, Fact::Is),
        }),
        profile: match args.profile.as_deref() {
            None | Some(Profile::BY_CONTEXT) => ProfileChoice::ByContext,
            Some(name) => ProfileChoice::Named(name.into()),
        },
    }
}

fn learned(name: Name) -> FlowName {
    FlowName {
        name,
        source: NameSource::Dns,
    }
}

/// What can be known of a program that does not run.
fn app(path: PathBuf, uid: u32) -> App {
    App {
        command_line: vec![path.to_string_lossy().into_owned()],
        user: Users::default().name(uid).map(str::to_owned),
        ..App::new(path, uid)
    }
}

/// What was said, or else what was looked up.
fn known<T>(said: Fact<T>, looked_up: Fact<T>) -> Fact<T> {
    match said {
        Fact::Unknown => looked_up,
        Fact::Absent | Fact::Is(_) => said,
    }
}
