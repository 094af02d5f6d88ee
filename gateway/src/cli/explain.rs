//! `tidegate explain`: what the configuration on disk says of one flow, and why.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use tidegate_platform::users::Users;
use tidegate_policy::{
    App, Direction, Explanation, Feed, FlowName, Identity, KnownFlow, Name, NameSource,
};

use super::arguments::ExplainArgs;
use crate::config::{Config, ConfigSource};
use crate::terminal::{self, printable_lines};

pub(super) fn main(args: ExplainArgs) -> anyhow::Result<ExitCode> {
    let json = args.json;
    let explanation = explain(args)?;
    if json {
        terminal::print_line(&serde_json::to_string_pretty(&explanation)?)?;
    } else {
        terminal::print_line(&printable_lines(&explanation.to_string()))?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn explain(args: ExplainArgs) -> anyhow::Result<Explanation> {
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
    Ok(flow.ask(policy, |facts| policy.explain(facts)))
}

fn learned(name: Name) -> FlowName {
    FlowName {
        name,
        source: NameSource::Dns,
    }
}

/// What can be known of a program that does not run.
fn app(path: PathBuf, uid: u32) -> App {
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    App {
        command_line: vec![path.to_string_lossy().into_owned()],
        name,
        path,
        pid: 0,
        uid,
        user: Users::default().name(uid).map(str::to_owned),
        parents: Vec::new(),
        unit: None,
        container: None,
        identity: Identity::default(),
    }
}
