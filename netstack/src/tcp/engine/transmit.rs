//! The next packet to the program: what is lost first, then what is new, then what else there is to say.

use std::time::Instant;

use super::{Due, Engine, Finish, Probe, State};
use crate::flow::FlowKey;
use crate::packet::PacketHead;
use crate::tcp::head::{Head, Link, Options};
use crate::tcp::pool::Pool;
use crate::tcp::ranges::Range;
use crate::tcp::segment::flag;
use crate::tcp::sequence::{ahead, distance, earlier, is_before, later, length};

/// What a packet to the program needs beside the engine: whose connection it is, the link that it goes into, and the memory
/// that stands behind the window that it offers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way<'a> {
    pub(crate) key: &'a FlowKey,
    pub(crate) link: Link,
    pub(crate) pool: &'a Pool,
}

/// A packet to the program: its head, and which bytes of the send buffer follow it.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) head: PacketHead,
    offset: usize,
    len: usize,
    has_fin: bool,
}

impl Outgoing {
    /// How much sequence space the packet takes.
    fn sequence_len(&self) -> u32 {
        distance(self.len) + u32::from(self.has_fin)
    }
}

impl Engine {
    /// The payload of a packet that was just made.
    pub(crate) fn payload(&self, outgoing: &Outgoing) -> [&[u8]; 2] {
        self.send.slices(outgoing.offset, outgoing.len)
    }

    /// Makes the next packet.
    pub(crate) fn transmit(&mut self, now: Instant, way: Way<'_>) -> Option<Outgoing> {
        self.handle_deadline(now);
        match self.state {
            State::SynReceived => return self.syn_ack(now, way),
            State::Finished | State::Reset => return None,
            State::Established
            | State::FinWait1
            | State::FinWait2
            | State::CloseWait
            | State::Closing
            | State::LastAck
            | State::TimeWait => {}
        }
        let most = way.link.most_at_once(way.key, self.segment_size());
        if let Some(lost) = self.lost_segment(most) {
            let outgoing = self.segment(lost, way);
            self.recovery
                .sent_again(lost.start.wrapping_add(outgoing.sequence_len()));
            self.rtt.sent_again();
            self.start_timer(now);
            return Some(outgoing);
        }
        if let Some(new) = self.new_segment(most) {
            return Some(self.send_new(now, new, way));
        }
        match std::mem::replace(&mut self.probe, Probe::No) {
            Probe::Tail if self.snd_una != self.snd_nxt => {
                let most = distance(self.segment_size());
                let flight = self.flight();
                let start = flight.end.wrapping_sub(flight.len().min(most));
                self.rtt.sent_again();
                let tail = Range {
                    start,
                    end: flight.end,
                };
                return Some(self.segment(tail, way));
            }
            Probe::Window => return Some(self.window_probe(way)),
            Probe::Tail | Probe::No => {}
        }
        self.wait_for_window(now);
        (self.ack == Due::Now || self.must_say_window(way.pool)).then(|| self.acknowledgement(way))
    }

    /// Of what was never sent, as much as the program's window takes: before a RST that stands behind it.
    pub(crate) fn last_words(&mut self, now: Instant, way: Way<'_>) -> Option<Outgoing> {
        if !matches!(self.state, State::Established | State::CloseWait) {
            return None;
        }
        // A FIN would say that this was all.
        self.finish = Finish::No;
        let new = self.new_segment(way.link.most_at_once(way.key, self.segment_size()))?;
        Some(self.send_new(now, new, way))
    }

    fn segment_size(&self) -> usize {
        usize::from(self.mss.get())
    }

    fn syn_ack(&mut self, now: Instant, way: Way<'_>) -> Option<Outgoing> {
        if std::mem::replace(&mut self.syn_ack, Due::No) == Due::No {
            return None;
        }
        let first = self.snd_una == self.snd_nxt;
        self.snd_nxt = self.snd_una.wrapping_add(1);
        if first {
            self.rtt.sent(self.snd_nxt, now);
        } else {
            self.rtt.sent_again();
        }
        self.start_timer(now);
        let room = u16::try_from(way.link.segment_room(way.key)).unwrap_or(u16::MAX);
        let scale = self.scales.then_some(self.rcv_shift);
        // The window of a SYN is never scaled (RFC 7323 section 2.2).
        let window =
            length(ahead(self.rcv_nxt, self.wanted_edge(way.pool))).min(usize::from(u16::MAX));
        let edge = self.rcv_nxt.wrapping_add(distance(window));
        if is_before(self.rcv_adv, edge) {
            self.rcv_adv = edge;
        }
        let head = Head {
            sequence: self.snd_una,
            acknowledgement: self.rcv_nxt,
            flags: flag::SYN | flag::ACK,
            window: u16::try_from(ahead(self.rcv_nxt, self.rcv_adv)).unwrap_or(u16::MAX),
            options: Options::syn_ack(room, scale, self.sack),
        };
        Some(self.bare(head, way))
    }

    /// What is to be sent again now, if anything.
    fn lost_segment(&self, most: usize) -> Option<Range> {
        let flight = self.flight();
        let lost = self.recovery.next(flight)?;
        let mss = distance(self.segment_size());
        let mut room = self
            .congestion
            .cwnd()
            .saturating_sub(self.recovery.pipe(flight));
        if self.recovery.has_just_begun(self.snd_una) {
            room = room.max(mss);
        }
        if room < mss {
            return None;
        }
        let len = lost
            .len()
            .min(whole_segments(room, mss))
            .min(distance(most));
        Some(Range {
            start: lost.start,
            end: lost.start.wrapping_add(len),
        })
    }

    /// What is to be sent for the first time now, FIN included, if anything.
    fn new_segment(&self, most: usize) -> Option<Range> {
        if self.finish == Finish::Sent {
            return None;
        }
        let mss = distance(self.segment_size());
        let end = self.snd_end();
        let waiting = ahead(self.snd_nxt, end);
        let fin = u32::from(self.finish == Finish::Wanted);
        if waiting + fin == 0 {
            return None;
        }
        let flight = self.flight();
        let window = ahead(self.snd_nxt, self.snd_una.wrapping_add(self.snd_wnd));
        let room = self
            .congestion
            .cwnd()
            .saturating_sub(self.recovery.pipe(flight));
        let allowed = window.min(room).min(distance(most));
        let mut len = waiting.min(allowed);
        if len < waiting {
            // Silly windows are not filled (RFC 9293 section 3.8.6.2.1): whole segments, or much of what was ever offered.
            let whole = whole_segments(len, mss);
            if whole > 0 {
                len = whole;
            } else if len == 0 || flight.len() > 0 && len < self.max_snd_wnd / 2 {
                return None;
            }
        }
        let with_fin = fin == 1 && len == waiting && room > 0;
        let end = self.snd_nxt.wrapping_add(len + u32::from(with_fin));
        Some(Range {
            start: self.snd_nxt,
            end,
        })
        .filter(|range| range.len() > 0)
    }

    fn send_new(&mut self, now: Instant, new: Range, way: Way<'_>) -> Outgoing {
        let outgoing = self.segment(new, way);
        self.probe = Probe::No;
        self.snd_nxt = new.start.wrapping_add(outgoing.sequence_len());
        if outgoing.has_fin {
            self.finish = Finish::Sent;
            self.state = match self.state {
                State::CloseWait => State::LastAck,
                State::Established
                | State::SynReceived
                | State::FinWait1
                | State::FinWait2
                | State::Closing
                | State::LastAck
                | State::TimeWait
                | State::Finished
                | State::Reset => State::FinWait1,
            };
        }
        self.used = self.recovery.pipe(self.flight());
        self.rtt.sent(self.snd_nxt, now);
        self.start_timer(now);
        outgoing
    }

    /// A packet of `range`, or as much of it as lies in two chunks; FIN is set if it is within.
    fn segment(&mut self, range: Range, way: Way<'_>) -> Outgoing {
        let offset = length(range.start.wrapping_sub(self.snd_una));
        let data_end = self.snd_end();
        let len = length(ahead(range.start, earlier(range.end, data_end)));
        let [first, second] = self.send.slices(offset, len);
        let held = first.len() + second.len();
        let end = range.start.wrapping_add(distance(held));
        let has_fin = end == data_end && is_before(data_end, range.end);
        let mut flags = flag::ACK;
        if end == data_end && held > 0 {
            flags |= flag::PSH;
        }
        if has_fin {
            flags |= flag::FIN;
        }
        let head = self.head(range.start, flags, Options::NONE, way.pool);
        let payload = self.send.slices(offset, held);
        Outgoing {
            head: head.write(way.key, payload, self.mss, way.link.offloads),
            offset,
            len: held,
            has_fin,
        }
    }

    /// A segment that takes no sequence space and lies before the window: whoever gets it says where they stand.
    fn window_probe(&mut self, way: Way<'_>) -> Outgoing {
        let before = self.snd_una.wrapping_sub(1);
        let head = self.head(before, flag::ACK, Options::NONE, way.pool);
        self.bare(head, way)
    }

    /// An acknowledgement of everything so far.
    pub(crate) fn acknowledgement(&mut self, way: Way<'_>) -> Outgoing {
        let beyond = self.receive.beyond();
        let options = if self.sack && !beyond.is_empty() {
            let latest = beyond.around(self.latest);
            let others = beyond.iter().filter(|range| Some(*range) != latest);
            Options::sack(latest.into_iter().chain(others))
        } else {
            Options::NONE
        };
        let head = self.head(self.snd_nxt, flag::ACK, options, way.pool);
        self.bare(head, way)
    }

    /// The RST that tells the program that the connection is gone (RFC 9293 section 3.10.5).
    pub(crate) fn reset(&mut self, way: Way<'_>) -> Outgoing {
        let head = self.head(self.snd_nxt, flag::RST | flag::ACK, Options::NONE, way.pool);
        self.bare(head, way)
    }

    /// A head that acknowledges everything so far and offers what window there is.
    fn head(&mut self, sequence: u32, flags: u8, options: Options, pool: &Pool) -> Head {
        self.rcv_adv = self.wanted_edge(pool);
        let window = self.window_field();
        // What the field says, rounded up, is a promise; rounded down, what was promised before is still taken.
        let said = u32::from(window) << self.rcv_shift;
        self.rcv_adv = later(self.rcv_adv, self.rcv_nxt.wrapping_add(said));
        self.ack = Due::No;
        Head {
            sequence,
            acknowledgement: self.rcv_nxt,
            flags,
            window,
            options,
        }
    }

    /// A packet without payload.
    fn bare(&self, head: Head, way: Way<'_>) -> Outgoing {
        Outgoing {
            head: head.write(way.key, [&[], &[]], self.mss, way.link.offloads),
            offset: 0,
            len: 0,
            has_fin: false,
        }
    }
}

/// As much of `room` as whole segments take.
fn whole_segments(room: u32, mss: u32) -> u32 {
    room - room % mss
}
