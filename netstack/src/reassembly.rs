//! Fragments become datagrams again, within bounds.
//!
//! At most 256 incomplete datagrams for 5 seconds each. Fragments that overlap condemn their datagram (RFC 5722, applied
//! to IPv4 too); an exact repetition does not. What comes out is a plain packet: the first fragment's addresses, protocol
//! and hop limit, no options or extension headers before the payload.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use rustc_hash::FxSeededState;

use crate::ip::{Fragment, Fragmentation, IpHeader, IpPacket, MoreFragments, header_len};
use crate::packet::DropReason;

/// Most incomplete datagrams.
const MAX_DATAGRAMS: usize = 256;
/// Most fragments of one datagram: 64 KiB in pieces of IPv6's smallest MTU are 54.
const MAX_FRAGMENTS: usize = 128;
/// How long a datagram may stay incomplete.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Most bytes that fit into an IP packet.
const MAX_PACKET: usize = 65_535;

/// What ties fragments together (RFC 791, RFC 8200 section 4.5; the protocol counts for IPv4 only).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct DatagramKey {
    source: IpAddr,
    destination: IpAddr,
    identification: u32,
    protocol: u8,
}

#[derive(Debug)]
enum Datagram {
    Incomplete(Pieces),
    /// Its fragments overlapped: the rest is thrown away too.
    Condemned,
}

#[derive(Debug, Default)]
struct Pieces {
    /// In the order of their offsets.
    pieces: Vec<(usize, Vec<u8>)>,
    received: usize,
    /// Known once the last fragment came.
    total: Option<usize>,
    /// Of the first fragment.
    protocol: u8,
    hop_limit: u8,
}

/// The incomplete datagrams.
#[derive(Debug)]
pub(crate) struct Reassembly {
    datagrams: HashMap<DatagramKey, Datagram, FxSeededState>,
    /// In the order of their time-outs.
    order: VecDeque<(Instant, DatagramKey)>,
}

impl Reassembly {
    pub(crate) fn new(seed: u64) -> Self {
        let state = FxSeededState::with_seed(usize::try_from(seed).unwrap_or_default());
        Self {
            datagrams: HashMap::with_hasher(state),
            order: VecDeque::new(),
        }
    }

    /// Takes a fragment in; gives the whole packet once nothing is missing.
    pub(crate) fn add(
        &mut self,
        now: Instant,
        packet: &IpPacket<'_>,
        fragment: Fragment,
    ) -> Result<Option<Box<[u8]>>, DropReason> {
        self.expire(now);
        let protocol = if packet.source.is_ipv4() {
            packet.protocol
        } else {
            0
        };
        let key = DatagramKey {
            source: packet.source,
            destination: packet.destination,
            identification: fragment.identification,
            protocol,
        };
        if !self.datagrams.contains_key(&key) {
            if self.datagrams.len() >= MAX_DATAGRAMS {
                return Err(DropReason::FragmentTableFull);
            }
            self.order.push_back((now + TIMEOUT, key));
        }
        let datagram = self
            .datagrams
            .entry(key)
            .or_insert_with(|| Datagram::Incomplete(Pieces::default()));
        let Datagram::Incomplete(pieces) = datagram else {
            return Err(DropReason::FragmentOverlap);
        };
        if let Err(reason) = pieces.add(packet, fragment) {
            if reason == DropReason::FragmentOverlap {
                *datagram = Datagram::Condemned;
            }
            return Err(reason);
        }
        if pieces.total != Some(pieces.received) {
            return Ok(None);
        }
        let whole = pieces.join(&key);
        self.forget(&key);
        whole.map(Some)
    }

    /// Gives up the datagrams whose time has passed.
    pub(crate) fn expire(&mut self, now: Instant) {
        while let Some(&(until, key)) = self.order.front()
            && until <= now
        {
            self.order.pop_front();
            self.datagrams.remove(&key);
        }
    }

    /// When the next datagram is given up.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.order.front().map(|&(until, _)| until)
    }

    fn forget(&mut self, key: &DatagramKey) {
        self.datagrams.remove(key);
        self.order.retain(|(_, other)| other != key);
    }
}

impl Pieces {
    fn add(&mut self, packet: &IpPacket<'_>, fragment: Fragment) -> Result<(), DropReason> {
        let bytes = packet.payload();
        let end = fragment.offset + bytes.len();
        if bytes.is_empty()
            || fragment.more == MoreFragments::Follow && !bytes.len().is_multiple_of(8)
        {
            return Err(DropReason::Malformed);
        }
        if header_len(packet.source) + end > MAX_PACKET || self.pieces.len() >= MAX_FRAGMENTS {
            return Err(DropReason::FragmentTableFull);
        }
        let at = self
            .pieces
            .partition_point(|(offset, _)| *offset < fragment.offset);
        let repeated = self
            .pieces
            .get(at)
            .is_some_and(|(offset, piece)| *offset == fragment.offset && piece == bytes);
        if repeated {
            return Ok(());
        }
        let before = at.checked_sub(1).and_then(|before| self.pieces.get(before));
        let overlaps_before =
            before.is_some_and(|(offset, piece)| offset + piece.len() > fragment.offset);
        let overlaps_after = self.pieces.get(at).is_some_and(|(offset, _)| *offset < end);
        let is_last = fragment.more == MoreFragments::Last;
        let furthest = self
            .pieces
            .last()
            .map_or(0, |(offset, piece)| offset + piece.len());
        let beyond_end =
            self.total.is_some_and(|total| end > total || is_last) || is_last && furthest > end;
        if overlaps_before || overlaps_after || beyond_end {
            return Err(DropReason::FragmentOverlap);
        }
        if is_last {
            self.total = Some(end);
        }
        if fragment.offset == 0 {
            (self.protocol, self.hop_limit) = (packet.protocol, packet.hop_limit);
        }
        self.received += bytes.len();
        self.pieces.insert(at, (fragment.offset, bytes.to_vec()));
        Ok(())
    }

    fn join(&self, key: &DatagramKey) -> Result<Box<[u8]>, DropReason> {
        let mut packet = vec![0; header_len(key.source)];
        let header = IpHeader {
            hop_limit: self.hop_limit,
            // Only IPv4 has this field, and its identification has 16 bits.
            identification: u16::try_from(key.identification).unwrap_or_default(),
            fragmentation: Fragmentation::Allowed,
            ..IpHeader::new(key.source, key.destination, self.protocol)
        };
        header
            .write(&mut packet, self.received)
            .ok_or(DropReason::FragmentTableFull)?;
        for (_, piece) in &self.pieces {
            packet.extend_from_slice(piece);
        }
        Ok(packet.into_boxed_slice())
    }
}
