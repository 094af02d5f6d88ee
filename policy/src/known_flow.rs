//! The facts of a flow that does not run: written down in a test, said on a command line, or recorded.

use std::net::{IpAddr, SocketAddr};

use crate::context::Context;
use crate::destination::{Continent, Country};
use crate::facts::{
    App, Direction, Fact, FlowFacts, FlowName, ListId, Lists, Names, Peer, Protocol,
};
use crate::policy::Policy;

/// [`FlowFacts`] that own what they hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownFlow {
    /// Who spoke first.
    pub direction: Direction,
    /// Transport protocol.
    pub protocol: Protocol,
    /// The program's end.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
    /// Every owner of the flow's socket.
    pub apps: Vec<App>,
    /// The other end's names; absent: awaited.
    pub names: Option<Vec<FlowName>>,
    /// The country of the other end.
    pub country: Fact<Country>,
    /// Its continent.
    pub continent: Fact<Continent>,
    /// Its autonomous system.
    pub system: Fact<u32>,
    /// The names of the lists that it is on; absent: no list is loaded.
    pub lists: Option<Vec<String>>,
    /// When and where it is judged.
    pub context: Context,
}

impl KnownFlow {
    /// A flow between this host and `other`, of which no more is known; the service's port is at the end that is spoken
    /// to.
    pub fn new(direction: Direction, other: IpAddr, (protocol, service): (Protocol, u16)) -> Self {
        let here = match other {
            IpAddr::V4(_) => IpAddr::from([0; 4]),
            IpAddr::V6(_) => IpAddr::from([0; 16]),
        };
        let (own_port, other_port) = match direction {
            Direction::Out => (0, service),
            Direction::In => (service, 0),
        };
        Self {
            direction,
            protocol,
            local: SocketAddr::new(here, own_port),
            remote: SocketAddr::new(other, other_port),
            apps: Vec::new(),
            names: Some(Vec::new()),
            country: Fact::Unknown,
            continent: Fact::Unknown,
            system: Fact::Unknown,
            lists: None,
            context: Context::default(),
        }
    }

    /// The same flow from this address; none if the other end's is of the other family.
    pub fn from_address(self, near: IpAddr) -> Option<Self> {
        let near = near.to_canonical();
        let is_one_family = near.is_ipv4() == self.remote.ip().to_canonical().is_ipv4();
        is_one_family.then(|| Self {
            local: SocketAddr::new(near, self.local.port()),
            ..self
        })
    }

    /// What `ask` makes of the facts, in which lists are called as `policy` calls them.
    pub fn ask<T>(&self, policy: &Policy, ask: impl FnOnce(&FlowFacts<'_>) -> T) -> T {
        let on = self.lists.as_deref().unwrap_or_default();
        let lists: Vec<ListId> = (0..)
            .zip(policy.lists())
            .filter(|(_, list)| on.iter().any(|name| **name == ***list))
            .map(|(id, _)| ListId(id))
            .collect();
        ask(&FlowFacts {
            direction: self.direction,
            protocol: self.protocol,
            local: self.local,
            remote: self.remote,
            apps: &self.apps,
            peer: Peer {
                names: self.names.as_deref().map_or(Names::Awaited, Names::Known),
                country: self.country,
                continent: self.continent,
                system: self.system,
                lists: match self.lists {
                    Some(_) => Lists::On(&lists),
                    None => Lists::Unknown,
                },
                unloaded: &[],
            },
            context: &self.context,
        })
    }
}
