//! What is remembered of every flow, and told to whoever asks.
//!
//! A worker opens a [`LiveFlow`] in the [`FlowLog`] when a flow begins, notes on it what becomes known, and closes it.
//! The log keeps all live flows and the most recent closed ones, and feeds followers. A [`FlowRecord`] is a flow as it
//! was at one moment, in the form that the control socket and `tidegate flows --json` carry.

mod filter;
mod identity;
mod live;
mod log;
mod timestamp;

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tidegate_policy::{App, Direction, Identity, Protocol, Verdict};
use tidegate_routing::flow::State;

pub use filter::FlowFilter;
pub(crate) use identity::Shown;
pub use live::{LiveFlow, NewFlow};
pub use log::{AtTheEnd, FlowLog, FlowLogLimits, Subscription};
pub use timestamp::{ParseTimestampError, Timestamp};

/// A flow as it was at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowRecord {
    /// Unique while the daemon lives; never used again.
    pub id: u64,
    /// When its first packet came.
    pub started: Timestamp,
    /// When it ended; null while it lives.
    pub ended: Option<Timestamp>,
    /// `tcp`, `udp`, `icmp`, or `ip/N` for IP protocol number N.
    #[serde(with = "protocol_text")]
    pub protocol: Protocol,
    /// Who spoke first.
    pub direction: Direction,
    /// The program's end.
    pub local: SocketAddr,
    /// The far end.
    pub remote: SocketAddr,
    /// The program behind it; null where `unattributed` says why, or while it is looked up.
    pub app: Option<AppRecord>,
    /// Further owners of the same socket, where it has several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other_owners: Vec<AppRecord>,
    /// Why no program is known.
    pub unattributed: Option<String>,
    /// What the remote address is called, and who said so.
    pub names: Vec<FlowName>,
    /// How its bytes travel.
    #[serde(default)]
    pub carriage: Carriage,
    /// What was decided; null before that.
    pub verdict: Option<Verdict>,
    /// The rule that decided; null for the default.
    pub rule: Option<String>,
    /// The way out; null where the flow was refused.
    pub egress: Option<String>,
    /// Payload bytes from the program to the far end.
    pub bytes_up: u64,
    /// Payload bytes from the far end to the program.
    pub bytes_down: u64,
    /// How far it has come.
    pub state: State,
    /// Why it ended or was refused.
    pub reason: Option<String>,
}

/// How a flow's bytes travel, and so what becomes of it when the gateway ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Carriage {
    /// The gateway stands at both ends: it ends with the gateway.
    #[default]
    Terminated,
    /// Packet by packet, as they are: it outlives the gateway.
    Passed,
    /// Passed, as it began before the gateway started.
    Existing,
}

/// What a record says of a program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppRecord {
    /// Executable.
    pub path: PathBuf,
    /// File name of the executable.
    pub name: String,
    /// Process id in the gateway's pid namespace.
    pub pid: u32,
    /// Owner of the socket.
    pub uid: u32,
    /// Arguments, the program's own name first.
    pub command_line: Vec<String>,
    /// systemd unit.
    pub unit: Option<String>,
    /// Container id.
    pub container: Option<String>,
    /// What else identifies it, as far as it was looked at: see `rules.md`.
    #[serde(default)]
    pub identity: Identity,
}

impl From<&App> for AppRecord {
    fn from(app: &App) -> Self {
        Self {
            path: app.path.clone(),
            name: app.name.clone(),
            pid: app.pid,
            uid: app.uid,
            command_line: app.command_line.clone(),
            unit: app.unit.clone(),
            container: app.container.clone(),
            identity: app.identity.clone(),
        }
    }
}

impl From<&AppRecord> for App {
    /// The owner's name and the ancestors are not recorded.
    fn from(record: &AppRecord) -> Self {
        Self {
            name: record.name.clone(),
            pid: record.pid,
            command_line: record.command_line.clone(),
            unit: record.unit.clone(),
            container: record.container.clone(),
            identity: record.identity.clone(),
            ..Self::new(record.path.clone(), record.uid)
        }
    }
}

/// A name of the far end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowName {
    /// The name, without a trailing dot.
    pub name: String,
    /// Where it was learned.
    pub source: NameSource,
}

/// Where a name was learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NameSource {
    /// A DNS answer that passed through this gateway.
    Dns,
}

/// A protocol as records write it.
pub(crate) mod protocol_text {
    use serde::{Deserialize, Deserializer, Serializer, de};
    use tidegate_policy::Protocol;

    pub(crate) fn serialize<S: Serializer>(
        protocol: &Protocol,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(protocol)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Protocol, D::Error> {
        let text = String::deserialize(deserializer)?;
        let number = || text.strip_prefix("ip/")?.parse().ok();
        match text.as_str() {
            "tcp" => Ok(Protocol::Tcp),
            "udp" => Ok(Protocol::Udp),
            "icmp" => Ok(Protocol::Icmp),
            _ => number()
                .map(Protocol::Other)
                .ok_or_else(|| de::Error::custom(format!("{text:?} is no protocol"))),
        }
    }
}

#[cfg(test)]
mod tests;
