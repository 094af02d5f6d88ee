//! What is known of a flow when it is judged.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::destination::{Continent, Country};
use crate::identity::Identity;
use crate::name::Name;

/// The program behind a flow, with everything that identifies it.
///
/// Absent values are absent because the system has none for this program, never because a look-up was skipped; `identity` says
/// of each of its levels whether it was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct App {
    /// Executable as the kernel names it, without a trailing ` (deleted)`.
    pub path: PathBuf,
    /// File name of the executable.
    pub name: String,
    /// Process id in the gateway's pid namespace.
    pub pid: u32,
    /// Owner of the socket.
    pub uid: u32,
    /// The owner's login name, where the host has one.
    pub user: Option<String>,
    /// Arguments, the program's own name first.
    pub command_line: Vec<String>,
    /// Executables of the ancestors, parent first.
    pub parents: Vec<PathBuf>,
    /// systemd unit, e.g. `ssh.service`.
    pub unit: Option<String>,
    /// Full container id (docker, podman, containerd, CRI-O).
    pub container: Option<String>,
    /// What else identifies it, as far as somebody asked.
    #[serde(default)]
    pub identity: Identity,
}

impl App {
    /// A program of which no more is known than its executable and the owner of its socket.
    pub fn new(path: impl Into<PathBuf>, uid: u32) -> Self {
        let path = path.into();
        let name = path.file_name().unwrap_or_default();
        Self {
            name: name.to_string_lossy().into_owned(),
            path,
            pid: 0,
            uid,
            user: None,
            command_line: Vec::new(),
            parents: Vec::new(),
            unit: None,
            container: None,
            identity: Identity::default(),
        }
    }
}

/// Transport protocol of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP and ICMPv6.
    Icmp,
    /// Any other, by its IP protocol number.
    Other(u8),
}

/// Who spoke first, seen from this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// A program of this host (or of a forwarded network) opened the flow.
    Out,
    /// A client elsewhere reached a service of this host.
    In,
}

/// All that is known of a flow when it is judged.
#[derive(Clone, Copy, Debug)]
pub struct FlowFacts<'a> {
    /// Who spoke first.
    pub direction: Direction,
    /// Transport protocol.
    pub protocol: Protocol,
    /// The program's end.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
    /// Every owner of the flow's socket: empty when it is not known. Several owners: the strictest verdict holds.
    pub apps: &'a [App],
    /// What is known of the other end beyond its address.
    pub peer: Peer<'a>,
    /// When and where it is judged.
    pub context: &'a Context,
}

/// What is known of the other end beyond its address: by default nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Peer<'a> {
    /// What it is called.
    pub names: Names<'a>,
    /// The country in which its address is in use.
    pub country: Fact<Country>,
    /// The continent.
    pub continent: Fact<Continent>,
    /// The number of the autonomous system that announces its address.
    pub system: Fact<u32>,
    /// The lists that its names or its address are on.
    pub lists: Lists<'a>,
    /// Lists that are not loaded, so that nobody can say whether they have it.
    pub unloaded: &'a [ListId],
}

/// Something that may be known, or known not to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Fact<T> {
    /// Nobody can say: there is no database, for instance.
    #[default]
    Unknown,
    /// It is known that there is none.
    Absent,
    /// This.
    Is(T),
}

impl Fact<&str> {
    /// The same with a text of its own.
    pub fn to_owned(self) -> Fact<Box<str>> {
        match self {
            Self::Unknown => Fact::Unknown,
            Self::Absent => Fact::Absent,
            Self::Is(text) => Fact::Is(text.into()),
        }
    }
}

/// The other end's names.
#[derive(Clone, Copy, Debug)]
pub enum Names<'a> {
    /// None is known yet, but one may still be learned, for instance from the flow's first bytes.
    Awaited,
    /// These; without any, the names are not known and will not be.
    Known(&'a [FlowName]),
}

impl Default for Names<'_> {
    fn default() -> Self {
        Self::Known(&[])
    }
}

/// One name of a flow's other end, and how it was learned.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FlowName {
    /// The name.
    pub name: Name,
    /// How it was learned.
    pub source: NameSource,
}

/// How a name was learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NameSource {
    /// An answer to a question for this name.
    Dns,
    /// The name in a TLS ClientHello, QUIC's too.
    Sni,
    /// The Host header of an HTTP request.
    Http,
}

/// A list that is configured, or that rules name: its position in [`Policy::lists`](crate::Policy::lists).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListId(pub u32);

/// The lists that a flow's other end is on.
#[derive(Clone, Copy, Debug, Default)]
pub enum Lists<'a> {
    /// No list is there to be asked.
    #[default]
    Unknown,
    /// These and no others, but for those that are not loaded.
    On(&'a [ListId]),
}

impl FlowFacts<'_> {
    /// The other end's address, an IPv4-mapped one as IPv4.
    pub fn other_end(&self) -> IpAddr {
        self.remote.ip().to_canonical()
    }

    /// The port of the service, which is at the other end of an outgoing flow and at this end of an incoming one.
    pub fn service_port(&self) -> u16 {
        match self.direction {
            Direction::Out => self.remote.port(),
            Direction::In => self.local.port(),
        }
    }

    /// Protocol and port of the service as rules write them: `tcp/443`, `icmp`, `ip/47`.
    pub fn service(&self) -> String {
        match self.protocol {
            Protocol::Tcp | Protocol::Udp => format!("{}/{}", self.protocol, self.service_port()),
            Protocol::Icmp | Protocol::Other(_) => self.protocol.to_string(),
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp => f.write_str("tcp"),
            Self::Udp => f.write_str("udp"),
            Self::Icmp => f.write_str("icmp"),
            Self::Other(number) => write!(f, "ip/{number}"),
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Out => "out",
            Self::In => "in",
        })
    }
}
