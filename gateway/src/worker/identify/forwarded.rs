//! Flows that this host forwards for containers and for other hosts.
//!
//! They come out of a device of their own, so none is ever taken for a program's of this host, whatever its addresses. On the
//! way there the host's address translation may have given them one of the host's: what they were before is asked of the
//! kernel, two system calls for each new flow. Their programs are looked for by the look-up thread, in the network
//! namespaces of this host.

use std::io;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;

use tidegate_netstack::{FlowId, FlowKey, Protocol};
use tidegate_platform::apps::{OtherNetworks, Processes, Unattributed};
use tidegate_platform::conntrack::{Conntrack, Inside};
use tidegate_policy::Direction;

use super::Known;
use crate::worker::entry::policy_protocol;
use crate::worker::inbox::{Handle, Message};
use crate::worker::speaker::Speaker;

/// Searches that wait for the look-up thread. Flows beyond them are judged without a program.
const MOST_SEARCHES: usize = 4_096;

/// Finds the programs behind forwarded flows.
#[derive(Debug)]
pub struct ForwardedFlows {
    conntrack: Conntrack,
    /// The local ports that clients get, most likely, elsewhere too.
    clients: Option<RangeInclusive<u16>>,
    searches: SyncSender<Search>,
}

/// A flow on the inner side of the host's address translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::worker) struct Inner {
    /// The container's or neighbour's own address.
    pub(in crate::worker) source: SocketAddr,
    /// Whom it speaks to, as it knows it.
    pub(in crate::worker) destination: SocketAddr,
    /// Who spoke first, if the kernel has seen it.
    pub(in crate::worker) direction: Option<Direction>,
}

/// A search for the look-up thread.
struct Search {
    flow: FlowId,
    protocol: Protocol,
    direction: Direction,
    inner: Inner,
    reply_to: Handle,
}

impl Inner {
    /// Whether the host has changed the addresses of such a flow on its way to us.
    pub(in crate::worker) fn is_translated(&self, key: &FlowKey) -> bool {
        (self.source, self.destination) != (key.local.0, key.remote.0)
    }

    /// Whether it speaks under another address or port than its own, and spoke first. The kernel forgets such a connection
    /// as soon as its packets leave by another device than the first one, so none of them can be sent on.
    pub(in crate::worker) fn is_masqueraded(&self, key: &FlowKey) -> bool {
        self.direction == Some(Direction::Out) && self.source != key.local.0
    }

    /// A connection that the kernel has not seen begin, or that the other end has begun, goes on as it is.
    pub(super) fn way_of_segment(&self, key: &FlowKey) -> Option<Direction> {
        let way = self.direction.unwrap_or(Direction::Out);
        (!self.is_masqueraded(key)).then_some(way)
    }
}

impl ForwardedFlows {
    /// Asks `conntrack` for addresses; a thread of its own searches `processes`.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(
        conntrack: Conntrack,
        processes: Arc<Processes>,
        clients: Option<RangeInclusive<u16>>,
    ) -> io::Result<Self> {
        let (searches, inbox) = sync_channel(MOST_SEARCHES);
        thread::Builder::new()
            .name("look-up-fwd".to_owned())
            .spawn(move || serve(&inbox, &mut OtherNetworks::new(processes)))?;
        Ok(Self {
            conntrack,
            clients,
            searches,
        })
    }

    pub(super) fn inner(&mut self, key: &FlowKey) -> Inner {
        match self.inside(key) {
            Some(inside) => Inner {
                source: inside.source,
                // An echo has no port there.
                destination: SocketAddr::new(
                    inside.destination.ip(),
                    match key.protocol {
                        Protocol::Icmp => 0,
                        Protocol::Tcp | Protocol::Udp | Protocol::Other(_) => {
                            inside.destination.port()
                        }
                    },
                ),
                direction: Some(inside.direction),
            },
            None => Inner {
                source: key.local.0,
                destination: key.remote.0,
                direction: None,
            },
        }
    }

    fn inside(&mut self, key: &FlowKey) -> Option<Inside> {
        let protocol = policy_protocol(key.protocol);
        self.conntrack
            .inside(protocol, key.local.0, key.remote.0)
            .unwrap_or_else(|error| {
                tracing::debug!(%error, "the addresses of a forwarded flow could not be asked for");
                None
            })
    }

    pub(super) fn find(
        &self,
        flow: FlowId,
        protocol: Protocol,
        direction: Direction,
        inner: &Inner,
        handle: &Handle,
    ) -> Known {
        let search = Search {
            flow,
            protocol,
            direction,
            inner: *inner,
            reply_to: handle.clone(),
        };
        match self.searches.try_send(search) {
            Ok(()) => Known::Later,
            Err(TrySendError::Full(_)) => Known::Now(Err(Unattributed::TooMany)),
            Err(TrySendError::Disconnected(_)) => Known::Now(Err(Unattributed::Failed)),
        }
    }

    /// Whose the flow's addresses are now: another container may have got them of the address translation.
    pub(super) fn speaker(&mut self, key: &FlowKey) -> Option<Speaker> {
        self.inside(key).map(|inside| Speaker::Inner(inside.source))
    }

    /// Where the kernel has not seen who spoke first, the port has to tell.
    pub(super) fn is_answer(&self, key: &FlowKey, inner: Option<&Inner>) -> bool {
        match inner.and_then(|inner| inner.direction) {
            Some(direction) => direction == Direction::In,
            None => {
                let port = key.local.0.port();
                let clients = self.clients.as_ref();
                clients.is_some_and(|clients| !clients.contains(&port))
            }
        }
    }
}

fn serve(inbox: &Receiver<Search>, networks: &mut OtherNetworks) {
    while let Ok(search) = inbox.recv() {
        let owners = networks.owners(
            policy_protocol(search.protocol),
            search.direction,
            search.inner.source,
            search.inner.destination,
        );
        search.reply_to.tell(Message::Owners(search.flow, owners));
    }
}
