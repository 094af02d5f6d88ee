//! Upstream UDP sockets: one for each local address, whatever it talks to.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use mio::net::UdpSocket;
use slab::Slab;
use socket2::{Domain, SockRef, Socket, Type};
use tidegate_netstack::keyed::{KeyedHash, KeyedMap};
use tidegate_netstack::{FlowId, Fragmentation, LocalAddr};
use tidegate_platform::bypass::Bypass;
use tidegate_platform::{datagrams, error_queue};

use super::Shape;
use crate::worker::holders::HolderId;

/// Buffers wanted of the kernel: bursts arrive while the thread serves others.
const SOCKET_BUFFER: usize = 4 << 20;

/// One upstream socket.
pub(in crate::worker) type AssociationId = usize;

pub(super) struct Association {
    pub(super) socket: UdpSocket,
    pub(super) source: usize,
    pub(super) key: AssociationKey,
    /// Whose it counts as.
    pub(super) holder: HolderId,
    /// What the socket does with a datagram that is too large; unknown before the first.
    pub(super) fragmentation: Option<Fragmentation>,
    /// What the socket sends with.
    pub(super) hop_limit: u8,
    /// The flow of each peer.
    pub(super) peers: KeyedMap<SocketAddr, FlowId>,
    /// Flows that send here. Two may have one peer: a resolver under its own address and under the gateway's.
    pub(super) members: usize,
    pub(super) queued: bool,
    /// The kernel has reports about what was sent.
    pub(super) has_reports: bool,
}

/// Programs see one mapping per local address; a resolver of the other family needs a socket of its own.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct AssociationKey {
    pub(super) local: LocalAddr,
    pub(super) ipv6: bool,
}

/// How a socket is used.
pub(in crate::worker) struct Usage {
    pub(in crate::worker) ipv6: bool,
    pub(in crate::worker) holder: HolderId,
    pub(in crate::worker) flows: usize,
}

/// All upstream UDP sockets of a worker.
pub(in crate::worker) struct Associations {
    /// Programs choose peers.
    pub(super) hash: KeyedHash,
    pub(super) all: Slab<Association>,
    pub(super) by_key: KeyedMap<AssociationKey, AssociationId>,
    /// How many there are of IPv4 and of IPv6.
    of_family: [usize; 2],
    pub(super) readable: Vec<AssociationId>,
    pub(super) buffer: Vec<u8>,
}

impl Associations {
    pub(in crate::worker) fn new(hash: KeyedHash) -> Self {
        Self {
            all: Slab::new(),
            by_key: KeyedMap::with_hasher(hash.clone()),
            hash,
            of_family: [0; 2],
            readable: Vec::new(),
            buffer: Vec::new(),
        }
    }

    pub(in crate::worker) fn note_readable(&mut self, id: AssociationId) {
        if let Some(association) = self.all.get_mut(id)
            && !association.queued
        {
            association.queued = true;
            self.readable.push(id);
        }
    }

    /// The same, and there are reports about what was sent.
    pub(in crate::worker) fn note_reported(&mut self, id: AssociationId) {
        if let Some(association) = self.all.get_mut(id) {
            association.has_reports = true;
        }
        self.note_readable(id);
    }

    pub(super) fn insert(&mut self, association: Association) -> AssociationId {
        let key = association.key;
        self.of_family[usize::from(key.ipv6)] += 1;
        let id = self.all.insert(association);
        self.by_key.insert(key, id);
        id
    }

    pub(super) fn remove(&mut self, id: AssociationId) -> Option<Association> {
        let association = self.all.try_remove(id)?;
        self.of_family[usize::from(association.key.ipv6)] -= 1;
        self.by_key.remove(&association.key);
        self.readable.retain(|waiting| *waiting != id);
        Some(association)
    }

    /// How many sockets there are.
    pub(in crate::worker) fn len(&self) -> usize {
        self.all.len()
    }

    /// How many of them are of this family.
    pub(in crate::worker) fn len_of(&self, ipv6: bool) -> usize {
        self.of_family[usize::from(ipv6)]
    }

    /// Who uses this socket, and for what.
    pub(in crate::worker) fn usage(&self, id: AssociationId) -> Option<Usage> {
        let association = self.all.get(id)?;
        Some(Usage {
            ipv6: association.key.ipv6,
            holder: association.holder,
            flows: association.members,
        })
    }

    /// The flows that send through this socket.
    pub(in crate::worker) fn flows_of(&self, id: AssociationId) -> BTreeSet<FlowId> {
        let association = self.all.get(id).into_iter();
        association
            .flat_map(|association| association.peers.values().copied())
            .collect()
    }

    /// Whether a socket waits to be read.
    pub(in crate::worker) fn is_ready(&self) -> bool {
        !self.readable.is_empty()
    }
}

impl Association {
    /// Sends a datagram, or those of a run, to one peer. Returns how many bytes went, and the first error of what did not.
    pub(super) fn send(
        &mut self,
        payload: &[u8],
        shape: Shape,
        target: SocketAddr,
    ) -> (usize, io::Result<()>) {
        let prepared = self
            .fragment(shape.fragmentation)
            .and_then(|()| self.set_hop_limit(shape.hop_limit));
        if let Err(error) = prepared {
            return (0, Err(error));
        }
        let whole = match shape.segment {
            None => self.send_one(payload, target),
            Some(segment) => datagrams::send_run(&self.socket, payload, segment, target),
        };
        match (whole, shape.segment) {
            (Ok(()), _) => (payload.len(), Ok(())),
            // What the kernel does not take whole (a path too narrow for it, a device that cannot sum) goes one by one.
            (Err(error), Some(segment)) if error.kind() != io::ErrorKind::WouldBlock => {
                let datagrams = payload.chunks(segment.get().into());
                one_by_one(datagrams, |datagram| self.send_one(datagram, target))
            }
            (Err(error), _) => (0, Err(error)),
        }
    }

    fn fragment(&mut self, fragmentation: Fragmentation) -> io::Result<()> {
        if self.fragmentation != Some(fragmentation) {
            datagrams::set_fragmentation(&self.socket, fragmentation)?;
            self.fragmentation = Some(fragmentation);
        }
        Ok(())
    }

    fn set_hop_limit(&mut self, hop_limit: u8) -> io::Result<()> {
        if self.hop_limit == hop_limit {
            return Ok(());
        }
        let socket = SockRef::from(&self.socket);
        match self.key.ipv6 {
            true => socket.set_unicast_hops_v6(hop_limit.into())?,
            false => socket.set_ttl_v4(hop_limit.into())?,
        }
        self.hop_limit = hop_limit;
        Ok(())
    }

    /// An empty datagram is a datagram (RFC 768).
    fn send_one(&self, datagram: &[u8], target: SocketAddr) -> io::Result<()> {
        let send = || self.socket.send_to(datagram, target);
        // The first error may be about an earlier datagram to another peer; the kernel forgets it as it tells it.
        send().or_else(|_| send()).map(drop)
    }
}

/// One that fails does not keep the next ones back. Returns how many bytes went, and the first error.
fn one_by_one<'a>(
    datagrams: impl Iterator<Item = &'a [u8]>,
    mut send: impl FnMut(&[u8]) -> io::Result<()>,
) -> (usize, io::Result<()>) {
    datagrams.fold((0, Ok(())), |(bytes, first), datagram| {
        match send(datagram) {
            Ok(()) => (bytes + datagram.len(), first),
            Err(error) => (bytes, first.and(Err(error))),
        }
    })
}

pub(super) fn bind(target: SocketAddr, bypass: &Bypass) -> io::Result<UdpSocket> {
    let any: IpAddr = match target {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = Socket::new(
        Domain::for_address(target),
        Type::DGRAM,
        Some(socket2::Protocol::UDP),
    )?;
    socket.set_nonblocking(true)?;
    if target.is_ipv6() {
        // Else it would take the port of IPv4 too.
        socket.set_only_v6(true)?;
    }
    bypass.apply(&socket)?;
    datagrams::enlarge_buffers(&socket, SOCKET_BUFFER);
    datagrams::receive_runs(&socket);
    socket.bind(&SocketAddr::new(any, 0).into())?;
    error_queue::enable(&socket)?;
    Ok(UdpSocket::from_std(socket.into()))
}

/// The address as flows are keyed by it: without flow label and scope.
pub(super) fn unscoped(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip(), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_run_the_datagrams_that_went_count_and_the_first_error_is_told() {
        let run = [1, 1, 1, 2, 2, 2, 3, 3, 3, 4];
        let mut tried = Vec::new();
        let (bytes, outcome) = one_by_one(run.chunks(3), |datagram| {
            tried.push(datagram.to_vec());
            match datagram {
                [2, ..] => Err(io::ErrorKind::HostUnreachable.into()),
                [3, ..] => Err(io::ErrorKind::PermissionDenied.into()),
                _ => Ok(()),
            }
        });
        assert_eq!(tried.concat(), run);
        assert_eq!(bytes, 4);
        assert_eq!(outcome.unwrap_err().kind(), io::ErrorKind::HostUnreachable);
    }
}
