//! What is remembered of flows that are gone.
//!
//! A small record per tuple takes the place of a flow whose packets may still come: a connection in TIME-WAIT (RFC 9293
//! section 3.3.2), one that was reset while segments were under way, a flow that is refused by silence. The record holds
//! no buffers. It needs no timer of its own either: it is ignored after its time, and swept when others are added or, once
//! all is quiet, in one go.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::flow::FlowKey;
use crate::ip::{IpHeader, protocol};
use crate::keyed::{KeyedMap, keyed_hash};
use crate::tcp::engine::LastSaid;
use crate::tcp::segment::{BareSegment, Segment, flag};
use crate::tcp::sequence::is_before;

/// Most records; beyond it the oldest goes.
const MAX_RECORDS: usize = 16_384;

/// Why a flow is gone.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Departure {
    /// Both sides finished, ours first: the program's FIN may come again.
    TimeWait(LastSaid),
    /// Reset by us: whatever was under way is answered with RST.
    Aborted,
    /// Refused without a word.
    Silenced,
}

impl Departure {
    fn lifetime(self) -> Duration {
        match self {
            // The program retransmits its FIN after 0.2 to 1 s, doubling: this covers five of them.
            Self::TimeWait(_) => Duration::from_secs(30),
            Self::Aborted => Duration::from_secs(10),
            Self::Silenced => Duration::from_secs(60),
        }
    }

    fn queue(self) -> usize {
        match self {
            Self::TimeWait(_) => 0,
            Self::Aborted => 1,
            Self::Silenced => 2,
        }
    }
}

/// What a record makes of a TCP segment of its tuple.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Afterlife {
    /// It opens a new connection (RFC 6191): the record is to be forgotten.
    NewConnection,
    /// Nothing to do.
    Ignore,
    /// Thrown away without a word.
    Silence,
    /// Say the last thing again.
    Acknowledge(LastSaid),
    /// Say RST.
    Reset,
    /// The program knows that the connection is gone: the record is to be forgotten.
    Forget,
}

#[derive(Clone, Copy, Debug)]
struct Record {
    departure: Departure,
    until: Instant,
}

/// The records.
#[derive(Debug)]
pub(crate) struct Departed {
    records: KeyedMap<FlowKey, Record>,
    /// Records in the order of their end, one queue for each lifetime.
    order: [VecDeque<(Instant, FlowKey)>; 3],
}

impl Departed {
    pub(crate) fn new(seed: u64) -> Self {
        let state = keyed_hash(seed);
        Self {
            records: KeyedMap::with_hasher(state),
            order: Default::default(),
        }
    }

    /// Number of records.
    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    /// Remembers a flow that is gone.
    pub(crate) fn insert(&mut self, now: Instant, key: FlowKey, departure: Departure) {
        self.sweep(now);
        let until = now + departure.lifetime();
        self.records.insert(key, Record { departure, until });
        let order = &mut self.order[departure.queue()];
        order.push_back((until, key));
        if self.records.len() > MAX_RECORDS
            && let Some((until, key)) = order.pop_front()
        {
            self.forget_if(&key, until);
        }
    }

    /// Forgets a record.
    pub(crate) fn remove(&mut self, key: &FlowKey) {
        self.records.remove(key);
    }

    /// Forgets every record whose time has passed.
    pub(crate) fn sweep(&mut self, now: Instant) {
        for queue in 0..self.order.len() {
            while let Some(&(until, key)) = self.order[queue].front()
                && until <= now
            {
                self.order[queue].pop_front();
                self.forget_if(&key, until);
            }
        }
    }

    fn forget_if(&mut self, key: &FlowKey, until: Instant) {
        if self
            .records
            .get(key)
            .is_some_and(|record| record.until == until)
        {
            self.records.remove(key);
        }
    }

    /// When every record that there is now will be over: one waking for all.
    pub(crate) fn all_over_at(&self) -> Option<Instant> {
        self.order
            .iter()
            .filter_map(|order| order.back())
            .map(|&(until, _)| until)
            .max()
    }

    /// Whether a datagram of this tuple is refused by silence.
    pub(crate) fn is_silenced(&self, now: Instant, key: &FlowKey) -> bool {
        self.find(now, key)
            .is_some_and(|departure| matches!(departure, Departure::Silenced))
    }

    /// What to do with a TCP segment of this tuple; `None` if there is no record of it.
    pub(crate) fn judge(
        &self,
        now: Instant,
        key: &FlowKey,
        segment: &Segment,
    ) -> Option<Afterlife> {
        let is_syn = segment.has(flag::SYN) && !segment.has(flag::ACK);
        Some(match self.find(now, key)? {
            Departure::Silenced => Afterlife::Silence,
            Departure::Aborted if segment.has(flag::RST) => Afterlife::Forget,
            Departure::Aborted if is_syn => Afterlife::NewConnection,
            Departure::Aborted => Afterlife::Reset,
            Departure::TimeWait(said) if segment.has(flag::RST) => {
                if segment.sequence == said.rcv_nxt {
                    Afterlife::Forget
                } else {
                    Afterlife::Ignore
                }
            }
            Departure::TimeWait(said) if is_syn && !is_before(segment.sequence, said.rcv_nxt) => {
                Afterlife::NewConnection
            }
            Departure::TimeWait(said)
                if segment.sequence_len() > 0 || segment.sequence != said.rcv_nxt =>
            {
                Afterlife::Acknowledge(said)
            }
            Departure::TimeWait(_) => Afterlife::Ignore,
        })
    }

    fn find(&self, now: Instant, key: &FlowKey) -> Option<Departure> {
        self.records
            .get(key)
            .filter(|record| now < record.until)
            .map(|record| record.departure)
    }
}

impl LastSaid {
    /// The acknowledgement that says it again, from the far end to the program.
    pub(crate) fn acknowledgement(self, key: &FlowKey) -> BareSegment {
        BareSegment {
            ip: IpHeader::new(key.remote.ip(), key.local.ip(), protocol::TCP),
            source_port: key.remote.0.port(),
            destination_port: key.local.0.port(),
            sequence: self.snd_nxt,
            acknowledgement: self.rcv_nxt,
            flags: flag::ACK,
            window: self.window,
        }
    }
}
