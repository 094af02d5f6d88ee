//! A link that misbehaves as a seed says.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

/// Numbers that a seed determines (SplitMix64).
#[derive(Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.roll() % limit.max(1)
    }

    pub(crate) fn happens(&mut self, per_mille: u64) -> bool {
        self.below(1_000) < per_mille
    }
}

/// How the link behaves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    /// Packets in a thousand.
    pub(crate) loss: u64,
    /// Packets in a thousand.
    pub(crate) repetition: u64,
    pub(crate) delay: Duration,
    /// Up to so much more delay per packet: what reorders.
    pub(crate) jitter: Duration,
}

impl Default for Weather {
    fn default() -> Self {
        Self {
            loss: 0,
            repetition: 0,
            delay: Duration::from_micros(200),
            jitter: Duration::ZERO,
        }
    }
}

/// One direction of the link.
#[derive(Debug)]
pub(crate) struct Link {
    weather: Weather,
    dice: Dice,
    under_way: BinaryHeap<Reverse<(Instant, u64, Vec<u8>)>>,
    sent: u64,
    /// The one packet that is lost, counted from 0.
    doomed: Option<u64>,
    offered: u64,
}

impl Link {
    pub(crate) fn new(weather: Weather, seed: u64) -> Self {
        Self {
            weather,
            dice: Dice::new(seed),
            under_way: BinaryHeap::new(),
            sent: 0,
            doomed: None,
            offered: 0,
        }
    }

    /// Loses the packet of this number, counted from 0.
    pub(crate) fn lose(&mut self, number: Option<u64>) {
        self.doomed = number;
    }

    /// Packets that were to be carried, the lost one too.
    pub(crate) fn offered(&self) -> u64 {
        self.offered
    }

    pub(crate) fn send(&mut self, now: Instant, packet: &[u8]) {
        self.offered += 1;
        let is_doomed = self.doomed == Some(self.offered - 1);
        let copies = if is_doomed || self.dice.happens(self.weather.loss) {
            0
        } else if self.dice.happens(self.weather.repetition) {
            2
        } else {
            1
        };
        for _ in 0..copies {
            let jitter = self
                .dice
                .below(u64::try_from(self.weather.jitter.as_micros()).unwrap() + 1);
            let at = now + self.weather.delay + Duration::from_micros(jitter);
            self.sent += 1;
            self.under_way
                .push(Reverse((at, self.sent, packet.to_vec())));
        }
    }

    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.under_way.peek().map(|Reverse((at, ..))| *at)
    }

    pub(crate) fn receive(&mut self, now: Instant) -> Option<Vec<u8>> {
        if self.next_at()? > now {
            return None;
        }
        self.under_way.pop().map(|Reverse((_, _, packet))| packet)
    }
}
