//! A segment of the program, in the order of RFC 9293 section 3.10.7.4: is it within the window, RST, acknowledgement,
//! payload, FIN. With the answers of RFC 5961 to what a stranger may have sent.

use std::time::{Duration, Instant};

use super::{Due, Engine, Finish, State};
use crate::tcp::pool::Pool;
use crate::tcp::ranges::Range;
use crate::tcp::recovery::Verdict;
use crate::tcp::segment::{Segment, TCP_HEADER, flag, option, option_value};
use crate::tcp::sequence::{ahead, distance, earlier, is_before, later, length};

/// Shortest time between two answers to segments that carry nothing: two ends that each think the other wrong must not
/// keep each other awake.
const BETWEEN_ANSWERS: Duration = Duration::from_millis(100);

/// What a segment calls for at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// Nothing; what else there is to say goes out with the next packet.
    None,
    /// An acknowledgement.
    Acknowledge,
    /// An acknowledgement: the program asked whether the other end is still there.
    KeepAlive,
    /// A RST.
    Reset,
    /// Nothing yet: the payload is to be offered to upstream, and then to [`Engine::take_in`].
    Offer,
}

/// From so many bytes on a payload is worth being sent upstream from where it lies. Less is copied, and goes with what follows.
const WORTHWHILE: usize = 16 << 10;

impl Engine {
    /// Takes one verified segment of this connection in; `tcp` is its header, options and payload.
    pub(crate) fn ingest(
        &mut self,
        now: Instant,
        segment: &Segment,
        tcp: &[u8],
        pool: &mut Pool,
    ) -> Reply {
        self.offered = 0;
        if self.state == State::SynReceived && segment.has(flag::SYN) {
            // The SYN-ACK got lost, or took too long.
            self.syn_ack = Due::Now;
            return Reply::None;
        }
        if !self.is_acceptable(segment) {
            let reply = self.answer_unless_hollow(now, segment);
            return if reply == Reply::Acknowledge && self.is_keep_alive(segment) {
                Reply::KeepAlive
            } else {
                reply
            };
        }
        if segment.has(flag::RST) {
            return self.take_reset(now, segment);
        }
        if !segment.has(flag::ACK) {
            return Reply::None;
        }
        let (header, payload) = tcp.split_at_checked(segment.header_len).unwrap_or_default();
        let reply = self.take_acknowledgement(now, segment, header, pool);
        if reply != Reply::None {
            return reply;
        }
        self.take_payload(now, segment, payload, pool)
    }

    /// Whether a part of the segment, or the segment if it takes no sequence space, lies within the window. One right behind
    /// a full or closed window counts: its acknowledgement does.
    fn is_acceptable(&self, segment: &Segment) -> bool {
        let starts_late = is_before(self.rcv_adv, segment.sequence);
        let ends_early = if segment.sequence_len() == 0 {
            is_before(segment.sequence, self.rcv_nxt)
        } else {
            !is_before(self.rcv_nxt, segment.end())
        };
        !starts_late && !ends_early
    }

    /// RFC 9293 section 3.8.4. Before a closed window the same is a question about the window.
    fn is_keep_alive(&self, segment: &Segment) -> bool {
        segment.sequence == self.rcv_nxt.wrapping_sub(1)
            && segment.sequence_len() <= 1
            && !segment.has(flag::SYN)
            && !segment.has(flag::FIN)
            && self.rcv_adv != self.rcv_nxt
    }

    /// Says where we stand; to segments that carry nothing only now and then.
    fn answer_unless_hollow(&mut self, now: Instant, segment: &Segment) -> Reply {
        if segment.has(flag::RST) {
            return Reply::None;
        }
        if segment.sequence_len() > 0 {
            return Reply::Acknowledge;
        }
        self.challenge(now)
    }

    fn challenge(&mut self, now: Instant) -> Reply {
        let is_soon = |last| now.saturating_duration_since(last) < BETWEEN_ANSWERS;
        if self.answered.is_some_and(is_soon) {
            return Reply::None;
        }
        self.answered = Some(now);
        Reply::Acknowledge
    }

    /// RFC 5961 section 3.2: only a RST with exactly the expected number is believed, another is challenged.
    fn take_reset(&mut self, now: Instant, segment: &Segment) -> Reply {
        if segment.sequence != self.rcv_nxt {
            return self.challenge(now);
        }
        // Where only the acknowledgement of our FIN is missing the program may have closed its socket since: nothing is lost.
        let nothing_left = self.send.len() == 0
            && matches!(
                self.state,
                State::Closing | State::LastAck | State::TimeWait | State::Finished
            );
        self.timer = None;
        self.state = if nothing_left {
            State::Finished
        } else {
            State::Reset
        };
        Reply::None
    }

    fn take_acknowledgement(
        &mut self,
        now: Instant,
        segment: &Segment,
        header: &[u8],
        pool: &mut Pool,
    ) -> Reply {
        let ack = segment.acknowledgement;
        if self.state == State::SynReceived {
            if self.snd_una == self.snd_nxt || ack != self.snd_nxt {
                return Reply::Reset;
            }
            self.establish(now, segment);
            return Reply::None;
        }
        let oldest = self.snd_una.wrapping_sub(self.max_snd_wnd);
        if is_before(self.snd_nxt, ack) || is_before(ack, oldest) {
            return self.answer_unless_hollow(now, segment);
        }
        let window = self.snd_wnd;
        self.take_window(segment);
        if window == 0 && self.snd_wnd > 0 && self.snd_una != self.snd_nxt {
            // What the program refused for want of room was sent again ever more slowly: now there is room.
            self.rtt.forgive();
            self.restart_timer(now);
        }
        if self.sack && header.len() > TCP_HEADER {
            self.take_sack(header);
        }
        if is_before(self.snd_una, ack) {
            self.advance(now, ack, pool);
        } else if ack == self.snd_una
            && self.snd_una != self.snd_nxt
            && segment.sequence_len() == 0
            && window == self.snd_wnd
        {
            self.recovery.duplicate();
        }
        if self.snd_una != self.snd_nxt {
            let flight = self.flight();
            if self.recovery.detect(flight) == Verdict::Lost {
                self.congestion.lost(self.used.max(flight.len()));
                self.restart_timer(now);
            }
        }
        Reply::None
    }

    fn establish(&mut self, now: Instant, segment: &Segment) {
        self.state = State::Established;
        self.snd_una = segment.acknowledgement;
        self.syn_ack = Due::No;
        self.timer = None;
        self.rtt.acknowledged(self.snd_una, now);
        self.snd_wl1 = segment.sequence;
        self.snd_wl2 = segment.acknowledgement;
        self.set_window(segment);
    }

    /// RFC 9293 section 3.10.7.4: an older segment does not change the window.
    fn take_window(&mut self, segment: &Segment) {
        let is_older = is_before(segment.sequence, self.snd_wl1)
            || segment.sequence == self.snd_wl1 && is_before(segment.acknowledgement, self.snd_wl2);
        if is_older || is_before(segment.acknowledgement, self.snd_una) {
            return;
        }
        self.snd_wl1 = segment.sequence;
        self.snd_wl2 = segment.acknowledgement;
        self.set_window(segment);
    }

    fn set_window(&mut self, segment: &Segment) {
        self.snd_wnd = u32::from(segment.window) << self.snd_shift;
        self.max_snd_wnd = self.max_snd_wnd.max(self.snd_wnd);
        if self.snd_wnd > 0 && self.snd_una == self.snd_nxt {
            // Nothing is under way: a deadline that runs asks for a window, and here it is.
            self.timer = None;
        }
    }

    fn take_sack(&mut self, header: &[u8]) {
        let blocks = option_value(header, option::SACK).unwrap_or_default();
        for block in blocks.chunks_exact(8) {
            let &[a, b, c, d, e, f, g, h] = block else {
                continue;
            };
            let range = Range {
                start: u32::from_be_bytes([a, b, c, d]),
                end: u32::from_be_bytes([e, f, g, h]),
            };
            // What lies outside of what is under way is old, or a lie.
            if is_before(self.snd_una, range.start)
                && is_before(range.start, range.end)
                && !is_before(self.snd_nxt, range.end)
            {
                self.recovery.sacked(range);
            }
        }
    }

    /// Everything before `ack` arrived.
    fn advance(&mut self, now: Instant, ack: u32, pool: &mut Pool) {
        let fin_acked = self.finish == Finish::Sent && ack == self.snd_nxt;
        let acked = ack.wrapping_sub(self.snd_una);
        pool.note_moved(now, &mut self.pace, length(acked));
        self.send
            .acknowledge(length(acked - u32::from(fin_acked)), pool);
        self.snd_una = ack;
        self.rtt.acknowledged(ack, now);
        if !self.recovery.is_fast() {
            let round_trip = self.rtt.smoothed().unwrap_or_default();
            self.congestion
                .acknowledged(now, acked, self.used, round_trip);
        }
        if self.recovery.acknowledged(ack) == Verdict::Recovered {
            self.congestion.recovered();
        }
        self.restart_timer(now);
        if fin_acked {
            self.state = match self.state {
                State::FinWait1 => State::FinWait2,
                State::Closing => State::TimeWait,
                State::LastAck => State::Finished,
                other @ (State::SynReceived
                | State::Established
                | State::FinWait2
                | State::CloseWait
                | State::TimeWait
                | State::Finished
                | State::Reset) => other,
            };
        }
    }

    fn take_payload(
        &mut self,
        now: Instant,
        segment: &Segment,
        payload: &[u8],
        pool: &mut Pool,
    ) -> Reply {
        if segment.sequence_len() == 0 || self.fin_received() {
            return Reply::None;
        }
        pool.note_moved(now, &mut self.pace, payload.len());
        if self.is_offered(segment, payload) {
            self.offered = payload.len();
            return Reply::Offer;
        }
        let known = length(ahead(segment.sequence, self.rcv_nxt)).min(payload.len());
        let new = &payload[known..];
        let sequence = segment.sequence.wrapping_add(distance(known));
        let edge = self
            .fin
            .map_or(self.rcv_adv, |fin| earlier(fin, self.rcv_adv));
        let room = length(ahead(sequence, edge));
        let fits = &new[..new.len().min(room)];
        if segment.has(flag::FIN) && fits.len() == new.len() {
            self.fin.get_or_insert(segment.end().wrapping_sub(1));
        }
        let is_behind_gap = sequence != self.rcv_nxt;
        let advance = self.receive.insert(self.rcv_nxt, sequence, fits, pool);
        self.rcv_nxt = self.rcv_nxt.wrapping_add(advance);
        if self.fin == Some(self.rcv_nxt) {
            self.take_fin();
            return Reply::None;
        }
        if is_behind_gap {
            self.latest = sequence;
        }
        if is_behind_gap || length(advance) < payload.len() {
            // What is missing, doubled or cut is said at once, so that the program sends it again (RFC 5681 section 4.2).
            return Reply::Acknowledge;
        }
        self.ack = Due::Now;
        Reply::None
    }

    /// Whether a payload is next, all of it new and promised room, with nothing that has to be read before it.
    fn is_offered(&self, segment: &Segment, payload: &[u8]) -> bool {
        payload.len() >= WORTHWHILE
            && segment.sequence == self.rcv_nxt
            && !segment.has(flag::FIN)
            && self.fin.is_none()
            && self.receive.holds_nothing()
            && payload.len() <= length(ahead(self.rcv_nxt, self.rcv_adv))
    }

    /// Takes the payload in that was offered last: its first `sent` bytes are upstream, the rest waits. Another than that
    /// is none of this connection, now.
    pub(crate) fn take_in(&mut self, payload: &[u8], sent: usize, pool: &mut Pool) {
        if payload.len() != std::mem::take(&mut self.offered) {
            return;
        }
        let (sent, rest) = payload.split_at_checked(sent).unwrap_or((payload, &[]));
        self.rcv_nxt = self.rcv_nxt.wrapping_add(distance(sent.len()));
        let kept = self.receive.insert(self.rcv_nxt, self.rcv_nxt, rest, pool);
        self.rcv_nxt = self.rcv_nxt.wrapping_add(kept);
        self.ack = Due::Now;
        self.note_read(sent.len(), pool);
    }

    fn take_fin(&mut self) {
        self.rcv_nxt = self.rcv_nxt.wrapping_add(1);
        self.rcv_adv = later(self.rcv_adv, self.rcv_nxt);
        self.ack = Due::Now;
        self.state = match self.state {
            State::Established => State::CloseWait,
            State::FinWait1 => State::Closing,
            State::FinWait2 => State::TimeWait,
            other @ (State::SynReceived
            | State::CloseWait
            | State::Closing
            | State::LastAck
            | State::TimeWait
            | State::Finished
            | State::Reset) => other,
        };
    }
}
