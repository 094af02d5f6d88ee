//! `tidegate explain`: what the configuration on disk says of one flow, and why.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use tidegate_platform::users::Users;
use tidegate_policy::{
    App, Direction, Explanation, Feed, FlowFacts, FlowName, ListId, Lists, Name, NameSource, Names,
    Peer, Policy,
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
    let app = args.app.map(|path| app(path, uid));
    let direction = Direction::from(args.direction);
    let (local, remote) = ends(direction, args.to, args.port.port);
    let names: Vec<FlowName> = args.name.into_iter().map(learned).collect();
    let lists = lists_of(&args.list, &config.policy);
    Ok(config.policy.explain(&FlowFacts {
        direction,
        protocol: args.port.protocol,
        local,
        remote,
        apps: app.as_slice(),
        peer: Peer {
            names: if args.name_later {
                Names::Awaited
            } else {
                Names::Known(&names)
            },
            country: args.country.unwrap_or_default(),
            continent: args.continent.unwrap_or_default(),
            system: args.system.unwrap_or_default(),
            lists: if args.list.is_empty() {
                Lists::Unknown
            } else {
                Lists::On(&lists)
            },
        },
    }))
}

fn learned(name: Name) -> FlowName {
    FlowName {
        name,
        source: NameSource::Dns,
    }
}

/// The lists of these names, of those that rules name.
fn lists_of(names: &[String], policy: &Policy) -> Vec<ListId> {
    let lists = (0..).zip(policy.lists());
    let named = lists.filter(|(_, list)| names.iter().any(|name| **name == ***list));
    named.map(|(id, _)| ListId(id)).collect()
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
    }
}

/// This host's end and the other one; the service's port is at the end that is spoken to.
fn ends(direction: Direction, other: IpAddr, service: u16) -> (SocketAddr, SocketAddr) {
    let here = match other {
        IpAddr::V4(_) => IpAddr::from([0; 4]),
        IpAddr::V6(_) => IpAddr::from([0; 16]),
    };
    match direction {
        Direction::Out => (SocketAddr::new(here, 0), SocketAddr::new(other, service)),
        Direction::In => (SocketAddr::new(here, service), SocketAddr::new(other, 0)),
    }
}
