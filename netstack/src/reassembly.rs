//! Fragments become datagrams again, within bounds.
//!
//! At most 256 incomplete datagrams for 5 seconds each; the oldest makes room for a new one. Fragments that overlap condemn their datagram (RFC 5722, applied
//! to IPv4 too); an exact repetition does not. What comes out is a plain packet: the first fragment's addresses, protocol
//! and hop limit, no options or extension headers before the payload.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::ip::{Fragment, Fragmentation, IpHeader, IpPacket, MoreFragments, header_len};
use crate::keyed::{KeyedMap, keyed_hash};
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
    datagrams: KeyedMap<DatagramKey, Datagram>,
    /// In the order of their time-outs.
    order: VecDeque<(Instant, DatagramKey)>,
    /// Given up since this was last asked.
    given_up: u64,
}

impl Reassembly {
    pub(crate) fn new(seed: u64) -> Self {
        let state = keyed_hash(seed);
        Self {
            datagrams: KeyedMap::with_hasher(state),
            order: VecDeque::new(),
            given_up: 0,
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
            if self.datagrams.len() >= MAX_DATAGRAMS
                && let Some((_, oldest)) = self.order.pop_front()
            {
                // A program's kernel sends all fragments at once: what waits for longest will hardly be completed.
                self.give_up(&oldest);
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
            self.give_up(&key);
        }
    }

    /// How many datagrams were given up, for want of time or room, since this was last asked.
    pub(crate) fn take_given_up(&mut self) -> u64 {
        std::mem::take(&mut self.given_up)
    }

    /// When the next datagram is given up.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.order.front().map(|&(until, _)| until)
    }

    /// One whose fragments overlapped was counted with them.
    fn give_up(&mut self, key: &DatagramKey) {
        if let Some(Datagram::Incomplete(_)) = self.datagrams.remove(key) {
            self.given_up += 1;
        }
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

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;
    use crate::ip::protocol;

    /// A fragment of UDP from one host to another.
    fn fragment(identification: u16, offset: usize, more: bool, bytes: &[u8]) -> Vec<u8> {
        let (source, destination) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(203, 0, 113, 9));
        let mut packet = vec![0; 20];
        let header = IpHeader {
            identification,
            fragmentation: Fragmentation::Allowed,
            ..IpHeader::new(source.into(), destination.into(), protocol::UDP)
        };
        header.write(&mut packet, bytes.len()).unwrap();
        let field = u16::try_from(offset / 8).unwrap() | if more { 0x2000 } else { 0 };
        packet[6..8].copy_from_slice(&field.to_be_bytes());
        packet[10..12].fill(0);
        let sum = crate::checksum::Sum::default().bytes(&packet).finish();
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        packet.extend_from_slice(bytes);
        packet
    }

    fn add(
        reassembly: &mut Reassembly,
        now: Instant,
        packet: &[u8],
    ) -> Result<Option<Box<[u8]>>, DropReason> {
        let packet = IpPacket::parse(packet).unwrap();
        reassembly.add(now, &packet, packet.fragment.unwrap())
    }

    proptest! {
        #[test]
        fn any_order_with_repetitions_gives_the_datagram_once(
            payload in prop::collection::vec(any::<u8>(), 9..4_000),
            size in 1usize..60,
            order in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
        ) {
            let size = (size * 8).max(payload.len() / 100 / 8 * 8 + 8);
            let count = payload.len().div_ceil(size);
            prop_assume!(count > 1);
            let piece = |n: usize| {
                let bytes = payload.chunks(size).nth(n).unwrap();
                fragment(7, n * size, n + 1 < count, bytes)
            };
            let mut reassembly = Reassembly::new(0);
            let now = Instant::now();
            let mut missing: Vec<usize> = (0..count).collect();
            for index in order {
                if missing.len() == 1 {
                    break;
                }
                let n = index.index(count);
                if missing != [n] {
                    missing.retain(|other| *other != n);
                    prop_assert_eq!(add(&mut reassembly, now, &piece(n)), Ok(None));
                }
            }
            let last = missing.pop().unwrap();
            for n in missing {
                prop_assert_eq!(add(&mut reassembly, now, &piece(n)), Ok(None));
            }
            let whole = add(&mut reassembly, now, &piece(last)).unwrap().unwrap();
            prop_assert_eq!(&whole[20..], &payload[..]);
            prop_assert!(IpPacket::parse(&whole).unwrap().fragment.is_none());
            prop_assert!(reassembly.datagrams.is_empty() && reassembly.order.is_empty());
        }
    }

    #[test]
    fn an_overlap_condemns_the_datagram() {
        let mut reassembly = Reassembly::new(0);
        let now = Instant::now();
        add(&mut reassembly, now, &fragment(7, 0, true, &[1; 64])).unwrap();
        let overlap = add(&mut reassembly, now, &fragment(7, 56, true, &[2; 64]));
        assert_eq!(overlap, Err(DropReason::FragmentOverlap));
        let rest = add(&mut reassembly, now, &fragment(7, 64, false, &[1; 8]));
        assert_eq!(rest, Err(DropReason::FragmentOverlap));
        // Another datagram is another matter, and so is this one after its time.
        add(&mut reassembly, now, &fragment(8, 0, true, &[1; 64])).unwrap();
        add(
            &mut reassembly,
            now + TIMEOUT,
            &fragment(7, 0, true, &[1; 64]),
        )
        .unwrap();
    }

    #[test]
    fn two_ends_are_an_overlap() {
        let mut reassembly = Reassembly::new(0);
        let now = Instant::now();
        add(&mut reassembly, now, &fragment(7, 64, false, &[1; 8])).unwrap();
        assert_eq!(
            add(&mut reassembly, now, &fragment(7, 128, false, &[1; 8])),
            Err(DropReason::FragmentOverlap)
        );
        add(&mut reassembly, now, &fragment(9, 128, true, &[1; 8])).unwrap();
        assert_eq!(
            add(&mut reassembly, now, &fragment(9, 64, false, &[1; 8])),
            Err(DropReason::FragmentOverlap)
        );
    }

    #[test]
    fn incomplete_datagrams_are_capped_and_given_up_oldest_first() {
        let mut reassembly = Reassembly::new(0);
        let now = Instant::now();
        for identification in 0..20_000 {
            let first = fragment(identification, 0, true, &[1; 8]);
            add(&mut reassembly, now, &first).unwrap();
            assert!(reassembly.datagrams.len() <= MAX_DATAGRAMS);
            assert_eq!(reassembly.order.len(), reassembly.datagrams.len());
        }
        assert_eq!(reassembly.take_given_up(), 20_000 - 256);
        let mut last = |identification| {
            let last = fragment(identification, 8, false, &[1; 8]);
            add(&mut reassembly, now, &last).unwrap().is_some()
        };
        assert!(last(19_999) && last(20_000 - 256) && !last(0));
        assert_eq!(reassembly.next_deadline(), Some(now + TIMEOUT));
        reassembly.expire(now + TIMEOUT);
        assert_eq!(reassembly.next_deadline(), None);
        assert!(reassembly.datagrams.is_empty());
        // Two became whole, and one of those given up began anew.
        assert_eq!(reassembly.take_given_up(), 256 - 2 + 1);
    }

    #[test]
    fn a_datagram_cannot_be_larger_than_a_packet() {
        let mut reassembly = Reassembly::new(0);
        let beyond = fragment(7, 65_528, false, &[1; 100]);
        assert_eq!(
            add(&mut reassembly, Instant::now(), &beyond),
            Err(DropReason::FragmentTableFull)
        );
    }

    #[test]
    fn fragments_that_are_no_multiple_of_8_are_malformed() {
        let mut reassembly = Reassembly::new(0);
        let odd = fragment(7, 0, true, &[1; 13]);
        assert_eq!(
            add(&mut reassembly, Instant::now(), &odd),
            Err(DropReason::Malformed)
        );
    }
}
