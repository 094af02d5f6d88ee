//! What a bad link does to packets, as a function of a seed and of time: delay, loss, lateness, a bounded rate.
//!
//! A packet's fate depends on the seed, its direction and its number only, so two runs with one seed lose the same
//! packets. What neighbours say to each other (ARP, neighbour discovery, multicast) has no number and is never lost: it
//! would shift the numbers of the rest by chance, and its loss costs seconds that no test is about.
//!
//! No device and no clock here: see [`ImpairedLink`](crate::ImpairedLink).

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

/// A share of all packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share(u64);

impl Share {
    const WHOLE: u64 = 10_000;

    /// So many in a hundred.
    pub const fn percent(percent: u64) -> Self {
        Self(percent * Self::WHOLE / 100)
    }

    fn holds(self, chance: u64) -> bool {
        chance % Self::WHOLE < self.0
    }
}

/// Which end of the link a packet comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the first end to the second; in a lab towards the server.
    There,
    /// From the second end to the first.
    Back,
}

/// A link's properties, the same in both directions. The default does nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Impairment {
    /// What chance depends on.
    pub seed: u64,
    /// How long every packet takes, one way.
    pub delay: Duration,
    /// How many are lost.
    pub loss: Share,
    /// How many take longer by `lateness`, so that later ones overtake them.
    pub late: Share,
    /// How much longer these take.
    pub lateness: Duration,
    /// How fast packets follow each other; as fast as they come if absent.
    pub rate: Option<Rate>,
}

/// The speed of a line and the queue before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Of whole Ethernet frames. Not 0.
    pub bits_per_second: u64,
    /// Bytes that may wait for the line; a frame that comes when more do is dropped.
    pub queue: u64,
}

impl Rate {
    fn time(self, bytes: u64) -> Duration {
        Duration::from_nanos(bytes * 8 * 1_000_000_000 / self.bits_per_second)
    }
}

/// Kinds of chance, so that one packet's are independent.
#[derive(Clone, Copy)]
enum Question {
    IsLost,
    IsLate,
}

impl Impairment {
    /// Whether the packet of this number, from 0 on, is lost.
    pub fn loses(&self, direction: Direction, number: u64) -> bool {
        let chance = self.chance(direction, number, Question::IsLost);
        self.loss.holds(chance)
    }

    /// Whether the packet of this number is late.
    pub fn delays(&self, direction: Direction, number: u64) -> bool {
        let chance = self.chance(direction, number, Question::IsLate);
        self.late.holds(chance)
    }

    fn chance(&self, direction: Direction, number: u64, question: Question) -> u64 {
        let stream = match (direction, question) {
            (Direction::There, Question::IsLost) => 1,
            (Direction::Back, Question::IsLost) => 2,
            (Direction::There, Question::IsLate) => 3,
            (Direction::Back, Question::IsLate) => 4,
        };
        mixed(mixed(mixed(self.seed).wrapping_add(stream)).wrapping_add(number))
    }
}

/// The output function of SplitMix64 (Steele, Lea, Flood 2014): every bit of the result depends on every bit of the input.
fn mixed(input: u64) -> u64 {
    let mut bits = input.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// How many packets a direction of a link has met until now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Packets with a number, lost or not.
    pub packets: u64,
    /// Lost by chance.
    pub lost: u64,
    /// Late by chance.
    pub late: u64,
    /// Dropped before a full queue.
    pub dropped: u64,
}

/// One direction of a link: Ethernet frames in by [`handle_frame`](Self::handle_frame), out by
/// [`poll_frame`](Self::poll_frame) once it is time, which [`poll_timeout`](Self::poll_timeout) tells.
#[derive(Debug)]
pub(crate) struct Way {
    impairment: Impairment,
    direction: Direction,
    counts: Counts,
    /// When the line has sent what was given to it.
    line_is_free: Option<Instant>,
    waiting: BinaryHeap<Reverse<Waiting>>,
    frames: u64,
}

/// A frame on its way. The order is that of leaving; of two at one time the earlier frame goes first.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Waiting {
    due: Instant,
    number: u64,
    frame: Box<[u8]>,
}

impl Way {
    pub(crate) fn new(impairment: Impairment, direction: Direction) -> Self {
        Self {
            impairment,
            direction,
            counts: Counts::default(),
            line_is_free: None,
            waiting: BinaryHeap::new(),
            frames: 0,
        }
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    /// A frame has come to this end.
    pub(crate) fn handle_frame(&mut self, now: Instant, frame: &[u8]) {
        let mut lateness = Duration::ZERO;
        if !is_between_neighbours(frame) {
            let number = self.counts.packets;
            self.counts.packets += 1;
            if self.impairment.loses(self.direction, number) {
                self.counts.lost += 1;
                return;
            }
            if self.impairment.delays(self.direction, number) {
                self.counts.late += 1;
                lateness = self.impairment.lateness;
            }
        }
        let Some(sent) = self.send(now, frame.len()) else {
            self.counts.dropped += 1;
            return;
        };
        self.waiting.push(Reverse(Waiting {
            due: sent + self.impairment.delay + lateness,
            number: self.frames,
            frame: frame.into(),
        }));
        self.frames += 1;
    }

    /// When the line will have sent a frame that comes now; `None` if the queue before it is full.
    fn send(&mut self, now: Instant, length: usize) -> Option<Instant> {
        let Some(rate) = self.impairment.rate else {
            return Some(now);
        };
        let free = self.line_is_free.map_or(now, |free| free.max(now));
        if free - now > rate.time(rate.queue) {
            return None;
        }
        let sent = free + rate.time(u64::try_from(length).unwrap_or(u64::MAX));
        self.line_is_free = Some(sent);
        Some(sent)
    }

    /// The next frame whose time has come.
    pub(crate) fn poll_frame(&mut self, now: Instant) -> Option<Box<[u8]>> {
        if self.poll_timeout()? > now {
            return None;
        }
        self.waiting.pop().map(|Reverse(waiting)| waiting.frame)
    }

    /// When the next frame leaves.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.waiting.peek().map(|Reverse(waiting)| waiting.due)
    }
}

/// Whether an Ethernet frame is ARP, IPv6 neighbour or router discovery (RFC 4861), or goes to several machines.
fn is_between_neighbours(frame: &[u8]) -> bool {
    const ARP: [u8; 2] = [0x08, 0x06];
    const IPV6: [u8; 2] = [0x86, 0xdd];
    const ICMPV6: u8 = 58;
    let (Some(first), Some(kind)) = (frame.first(), frame.get(12..14)) else {
        return true;
    };
    let discovers = || {
        frame.get(20) == Some(&ICMPV6)
            && frame.get(54).is_some_and(|kind| (133..=137).contains(kind))
    };
    first & 1 == 1 || kind == ARP || (kind == IPV6 && discovers())
}

#[cfg(test)]
mod tests;
