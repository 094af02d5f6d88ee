//! What a question is about: who, which way, to what.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tidegate_policy::{App, Direction, FlowFacts, Name, Names, Protocol};

/// Bytes of a command line that a question shows.
const SHOWN: usize = 512;

/// Who wants to speak.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Asker {
    /// All processes of a user that run one executable, within one container where they are in one.
    Program {
        /// The executable.
        path: PathBuf,
        /// Owner of the socket.
        uid: u32,
        /// The container's id.
        container: Option<String>,
    },
    /// Another host, or a container, for which this host forwards; its program is not known.
    Host(IpAddr),
    /// Nobody knows.
    Unknown,
}

/// Where to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    /// One service at one other end.
    One {
        /// The other end's address where it has no known name.
        end: End,
        /// Protocol and port as rules write them: `tcp/443`, `icmp`, `ip/47`.
        service: String,
    },
    /// More places than there are questions for.
    Many,
}

/// The other end, by the strongest thing known of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum End {
    /// Its name.
    Name(String),
    /// Its address.
    Address(IpAddr),
}

/// What all flows have in common that wait on one question.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topic {
    /// Who wants to speak.
    pub asker: Asker,
    /// Whether a client elsewhere opened the flow.
    pub is_incoming: bool,
    /// Where to; of an incoming flow, where from and to which service here.
    pub place: Place,
}

/// What is shown of the flow that raised a question.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// Process id.
    pub pid: Option<u32>,
    /// The owner's login name.
    pub user: Option<String>,
    /// Command line, cut where it is long.
    pub command_line: String,
    /// The executable of the process that started it.
    pub parent: Option<PathBuf>,
    /// systemd unit.
    pub unit: Option<String>,
    /// The rule that asks; absent: the default.
    pub rule: Option<String>,
}

impl Topic {
    /// Of a flow of one owner of its socket; `source` is where a forwarded flow comes from.
    pub fn of(facts: &FlowFacts<'_>, app: Option<&App>, source: Option<IpAddr>) -> Self {
        let asker = match (app, source) {
            (Some(app), _) => Asker::Program {
                path: app.path.clone(),
                uid: app.uid,
                container: app.container.clone(),
            },
            (None, Some(source)) => Asker::Host(source),
            (None, None) => Asker::Unknown,
        };
        let name = match facts.peer.names {
            Names::Known([name, ..]) => Some(name.name.to_string()),
            Names::Known([]) | Names::Awaited => None,
        };
        Self {
            asker,
            is_incoming: facts.direction == Direction::In,
            place: Place::One {
                end: name.map_or(End::Address(facts.other_end()), End::Name),
                service: facts.service(),
            },
        }
    }

    /// The same program and way, to whatever place.
    pub(super) fn to_many(&self) -> Self {
        Self {
            place: Place::Many,
            ..self.clone()
        }
    }

    /// What it takes in memory, about.
    pub(super) fn bytes(&self) -> usize {
        let asker = match &self.asker {
            Asker::Program {
                path, container, ..
            } => path.as_os_str().len() + container.as_ref().map_or(0, String::len),
            Asker::Host(_) | Asker::Unknown => 0,
        };
        let place = match &self.place {
            Place::One { end, service } => service.len() + end.to_string().len(),
            Place::Many => 0,
        };
        size_of::<Self>() + asker + place
    }
}

impl About {
    /// Of a flow of this program, about which `rule` asks.
    pub fn of(app: Option<&App>, rule: Option<String>) -> Self {
        let Some(app) = app else {
            return Self {
                rule,
                ..Self::default()
            };
        };
        let line = app.command_line.join(" ");
        let shown = line.chars().scan(0, |length, letter| {
            *length += letter.len_utf8();
            (*length <= SHOWN).then_some(letter)
        });
        Self {
            pid: Some(app.pid),
            user: app.user.clone(),
            command_line: shown.collect(),
            parent: app.parents.first().cloned(),
            unit: app.unit.clone(),
            rule,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        let texts = [&self.user, &self.unit, &self.rule];
        let texts = texts.into_iter().flatten().map(String::len);
        let parent = self
            .parent
            .as_ref()
            .map_or(0, |path| path.as_os_str().len());
        size_of::<Self>() + self.command_line.len() + parent + texts.sum::<usize>()
    }
}

impl End {
    /// Its name, where one is known.
    pub(super) fn name(&self) -> Option<Name> {
        match self {
            Self::Name(name) => Name::parse(name).ok(),
            Self::Address(_) => None,
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(address) => address.fmt(f),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One { end, service } => write!(f, "{end} {service}"),
            Self::Many => f.write_str("many places"),
        }
    }
}

impl fmt::Display for Asker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Program { path, .. } => path.display().fmt(f),
            Self::Host(address) => write!(f, "a program of {address}"),
            Self::Unknown => f.write_str("a program that is not known"),
        }
    }
}

/// Whether this is a protocol that has no ports, so that a service says all.
pub(super) fn has_ports(service: &str) -> bool {
    [Protocol::Tcp, Protocol::Udp]
        .iter()
        .any(|protocol| service.starts_with(&format!("{protocol}/")))
}
