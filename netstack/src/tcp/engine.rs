//! One TCP connection that a program opened: the state machine of RFC 9293, as far as one that never connects needs it.
//!
//! [`Engine::open`] answers a kept SYN. Packets of the program come in through `engine/ingest.rs`, packets to it go out
//! through `engine/transmit.rs`, with deadlines in `engine/timer.rs`. What waits for the program lies in a [`SendBuffer`],
//! what it said in a [`ReceiveBuffer`]; both take their memory from the stack's [`Pool`], and an idle connection holds
//! none. [`Recovery`] knows what is lost, [`Congestion`] how much may be under way, [`RoundTrip`] how long an answer takes.
//!
//! Variables have the names of RFC 9293 section 3.3.1. The engine knows no addresses: they are arguments.

mod ingest;
mod timer;
mod transmit;

#[cfg(test)]
mod tests;

use std::num::NonZeroU16;
use std::time::Instant;

use crate::tcp::busy::Pace;
use crate::tcp::congestion::{Congestion, CongestionControl};
use crate::tcp::pool::Pool;
use crate::tcp::ranges::Range;
use crate::tcp::receive::ReceiveBuffer;
use crate::tcp::recovery::Recovery;
use crate::tcp::rtt::RoundTrip;
use crate::tcp::segment::{Segment, option, option_value};
use crate::tcp::send::{Room, SendBuffer};
use crate::tcp::sequence::{ahead, distance, length};

pub(crate) use self::ingest::Reply;
use self::timer::Timer;
pub(crate) use self::transmit::{Outgoing, Way};

/// Segment size towards a program that names none (RFC 9293 section 3.7.1).
const DEFAULT_MSS: u16 = 536;
/// Smallest segment size that is taken seriously, as in Linux.
const MIN_MSS: u16 = 48;
/// Largest shift of the window field (RFC 7323 section 2.3).
const MAX_SHIFT: u8 = 14;
/// Room that upstream is worth being read for, or a quarter of all the room there may be.
const WORTHWHILE_ROOM: usize = 64 << 10;
/// Bytes that wait for a program, and keep the device busy until upstream is read again.
const ENOUGH: usize = 64 << 10;

/// What is the same for every connection of a stack.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Habits {
    pub(crate) congestion: CongestionControl,
    /// Most bytes that wait for the program of one flow.
    pub(crate) send_buffer: usize,
    /// Largest window that a program is promised.
    pub(crate) receive_window: usize,
}

/// Where a connection stands, as far as the flow around it must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// SYN-ACK not acknowledged yet.
    Handshake,
    /// At least one direction is open.
    Open,
    /// Both directions ended, our side first (RFC 9293: TIME-WAIT).
    TimeWait,
    /// Both directions ended, the program's side first.
    Finished,
    /// The program sent RST.
    Reset,
}

/// States of RFC 9293 section 3.3.2. The last two are CLOSED.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    SynReceived,
    Established,
    FinWait1,
    FinWait2,
    CloseWait,
    Closing,
    LastAck,
    TimeWait,
    Finished,
    Reset,
}

/// What was last said to the program: what a record of the connection must remember to say it again.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LastSaid {
    /// The sequence number after everything sent (SND.NXT).
    pub(crate) snd_nxt: u32,
    /// The last acknowledgement (RCV.NXT as the program knows it).
    pub(crate) rcv_nxt: u32,
    /// The window field, as it was sent.
    pub(crate) window: u16,
}

/// Whether something is to be said with the next packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    No,
    Now,
}

/// How our direction ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Finish {
    No,
    /// FIN is to follow what is committed.
    Wanted,
    /// FIN is the last before `snd_nxt`.
    Sent,
}

/// A probe of which the answer says more than its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Probe {
    No,
    /// The last segment again, for nothing behind it would show its loss (RFC 8985 section 7).
    Tail,
    /// Nothing, at a sequence number that makes the program say what window it has (RFC 9293 section 3.8.6.1).
    Window,
}

/// One TCP connection.
#[derive(Debug)]
pub(crate) struct Engine {
    state: State,
    snd_una: u32,
    snd_nxt: u32,
    snd_wnd: u32,
    snd_wl1: u32,
    snd_wl2: u32,
    /// The largest window the program ever offered.
    max_snd_wnd: u32,
    snd_shift: u8,
    /// Most payload bytes of a segment: what both the program and the link take.
    mss: NonZeroU16,
    sack: bool,
    finish: Finish,
    send: SendBuffer,
    most_send: usize,
    recovery: Recovery,
    congestion: Congestion,
    /// What was under way when something new was last sent: acknowledgements may come several at once before the next.
    used: u32,
    rtt: RoundTrip,
    timer: Option<(Timer, Instant)>,
    probe: Probe,
    /// Of the SYN-ACK.
    syn_ack: Due,
    rcv_nxt: u32,
    /// Up to where the program may send: `rcv_nxt` and the window when it was last said. It never goes back.
    rcv_adv: u32,
    rcv_shift: u8,
    /// Whether the program scales windows, as we do then.
    scales: bool,
    receive: ReceiveBuffer,
    /// What the program may have sent and not been read; counted in the pool as promised.
    window: usize,
    most_window: usize,
    /// Bytes read since the window grew.
    consumed: usize,
    /// Bytes of the payload that was offered by the last segment.
    offered: usize,
    /// What moved of late, for the pool's count of busy flows.
    pace: Pace,
    /// The sequence number of the program's FIN, once it is known.
    fin: Option<u32>,
    ack: Due,
    /// The sequence number of what last came out of order: SACK speaks of it first.
    latest: u32,
    /// When a segment that said nothing was last answered.
    answered: Option<Instant>,
}

impl Engine {
    /// Answers a kept SYN: the SYN-ACK goes out with the next [`transmit`](Self::transmit). `header` is the SYN's TCP header,
    /// `iss` must be unpredictable (RFC 6528), a segment of `segment_room` payload bytes fits the link, and `window` is
    /// what the pool admitted the flow with.
    pub(crate) fn open(
        syn: &Segment,
        header: &[u8],
        iss: u32,
        segment_room: usize,
        window: usize,
        habits: Habits,
    ) -> Self {
        let scale = option_value(header, option::WINDOW_SCALE).and_then(|value| value.first());
        let mss = segment_size(header, segment_room);
        let most_window = habits.receive_window.max(window);
        let rcv_nxt = syn.sequence.wrapping_add(1);
        Self {
            state: State::SynReceived,
            snd_una: iss,
            snd_nxt: iss,
            snd_wnd: u32::from(syn.window),
            snd_wl1: syn.sequence,
            snd_wl2: iss,
            max_snd_wnd: u32::from(syn.window),
            snd_shift: scale.map_or(0, |shift| (*shift).min(MAX_SHIFT)),
            mss,
            sack: option_value(header, option::SACK_PERMITTED).is_some(),
            finish: Finish::No,
            send: SendBuffer::default(),
            most_send: habits.send_buffer,
            recovery: Recovery::new(iss, u32::from(mss.get())),
            congestion: Congestion::new(habits.congestion, u32::from(mss.get())),
            used: 0,
            rtt: RoundTrip::default(),
            timer: None,
            probe: Probe::No,
            syn_ack: Due::Now,
            rcv_nxt,
            rcv_adv: rcv_nxt,
            rcv_shift: scale.map_or(0, |_| shift_for(most_window)),
            scales: scale.is_some(),
            receive: ReceiveBuffer::default(),
            window,
            most_window,
            consumed: 0,
            offered: 0,
            pace: Pace::default(),
            fin: None,
            ack: Due::No,
            latest: rcv_nxt,
            answered: None,
        }
    }

    /// Chooses congestion control anew, before anything was sent but SYN-ACK.
    pub(crate) fn set_congestion_control(&mut self, control: CongestionControl) {
        self.congestion = Congestion::new(control, u32::from(self.mss.get()));
    }

    /// Where the connection stands.
    pub(crate) fn phase(&self) -> Phase {
        match self.state {
            State::SynReceived => Phase::Handshake,
            State::Established
            | State::FinWait1
            | State::FinWait2
            | State::CloseWait
            | State::Closing
            | State::LastAck => Phase::Open,
            State::TimeWait => Phase::TimeWait,
            State::Finished => Phase::Finished,
            State::Reset => Phase::Reset,
        }
    }

    /// What was last said to the program.
    pub(crate) fn said(&self) -> LastSaid {
        LastSaid {
            snd_nxt: self.snd_nxt,
            rcv_nxt: self.rcv_nxt,
            window: self.window_field(),
        }
    }

    /// Whether the program owes an acknowledgement of something sent.
    pub(crate) fn awaits_program(&self) -> bool {
        match self.state {
            State::SynReceived => true,
            State::TimeWait | State::Finished | State::Reset => false,
            State::Established
            | State::FinWait1
            | State::FinWait2
            | State::CloseWait
            | State::Closing
            | State::LastAck => self.snd_una != self.snd_nxt || self.send.len() > 0,
        }
    }

    /// Whether the handshake is over.
    pub(crate) fn established(&self) -> bool {
        self.state != State::SynReceived
    }

    /// Bytes from the program, in order; there may be more behind them.
    pub(crate) fn readable(&self) -> &[u8] {
        self.receive.readable()
    }

    /// All bytes from the program in order, piece by piece.
    pub(crate) fn readable_pieces(&self) -> impl Iterator<Item = &[u8]> {
        self.receive.pieces()
    }

    /// Whether nothing is left to read.
    pub(crate) fn is_drained(&self) -> bool {
        self.receive.len() == 0
    }

    /// Frees the first `n` readable bytes, and lets the window grow with what is read.
    pub(crate) fn consume(&mut self, n: usize, pool: &mut Pool) {
        self.receive.consume(n, pool);
        self.note_read(n, pool);
    }

    fn note_read(&mut self, n: usize, pool: &mut Pool) {
        self.consumed += n;
        if self.consumed < self.window || self.window >= self.most_window {
            return;
        }
        self.consumed = 0;
        let more = self.window.min(self.most_window - self.window);
        if pool.promise(more) {
            self.window += more;
        }
    }

    /// Whether the program ended its direction.
    pub(crate) fn fin_received(&self) -> bool {
        match self.state {
            State::SynReceived | State::Established | State::FinWait1 | State::FinWait2 => false,
            State::CloseWait
            | State::Closing
            | State::LastAck
            | State::TimeWait
            | State::Finished
            | State::Reset => true,
        }
    }

    /// Where bytes to the program may be put.
    pub(crate) fn room(&self, pool: &Pool) -> Room {
        let may_send = matches!(self.state, State::Established | State::CloseWait);
        let left = self.most_send.saturating_sub(self.send.len());
        let has_enough = left < WORTHWHILE_ROOM.min(self.most_send / 4)
            || self.send.len() >= ENOUGH && pool.lends_much();
        if !may_send || self.finish != Finish::No || has_enough {
            return Room::Nothing;
        }
        self.send.room(left, pool)
    }

    /// The room that [`room`](Self::room) found.
    pub(crate) fn lend<'b>(&'b mut self, room: Room, pool: &'b mut Pool) -> &'b mut [u8] {
        self.send.lend(room, pool)
    }

    /// Takes over the first `n` bytes of the room that was lent.
    pub(crate) fn commit(&mut self, room: Room, n: usize, pool: &mut Pool) {
        self.send.commit(room, n, pool);
    }

    /// Ends our direction after what is committed.
    pub(crate) fn close(&mut self) {
        if self.finish == Finish::No {
            self.finish = Finish::Wanted;
        }
    }

    /// Gives every buffer and promise back.
    pub(crate) fn release(&mut self, pool: &mut Pool) {
        self.send.clear(pool);
        self.receive.clear(pool);
        self.recovery.clear();
        pool.dismiss(self.window);
    }

    /// What is sent and not acknowledged.
    fn flight(&self) -> Range {
        Range {
            start: self.snd_una,
            end: self.snd_nxt,
        }
    }

    /// The sequence number after the last byte that was committed: FIN's.
    fn snd_end(&self) -> u32 {
        let first = match self.state {
            State::SynReceived => self.snd_una.wrapping_add(1),
            State::Established
            | State::FinWait1
            | State::FinWait2
            | State::CloseWait
            | State::Closing
            | State::LastAck
            | State::TimeWait
            | State::Finished
            | State::Reset => self.snd_una,
        };
        first.wrapping_add(distance(self.send.len()))
    }

    /// The window field that says `rcv_adv`: rounded up, so that the edge does not go back (RFC 7323 section 2.4). Each
    /// single byte would push the edge on so, for ever: what was promised so in excess has a limit, then it is rounded down.
    fn window_field(&self) -> u16 {
        let window = ahead(self.rcv_nxt, self.rcv_adv);
        let unit = (1 << self.rcv_shift) - 1;
        let excess = (self.window / 8).max(2 * length(unit));
        let up = if self.receive.len() + length(window) <= self.window + excess {
            unit
        } else {
            0
        };
        u16::try_from((window + up) >> self.rcv_shift).unwrap_or(u16::MAX)
    }

    /// The program is about to send: it shares the device's queue with the others that do.
    pub(crate) fn count_as_busy(&mut self, now: Instant, pool: &mut Pool) {
        pool.note_begin(now, &mut self.pace);
    }

    /// What the program may have sent and not been read, as things are now; two segments in any case, or it could never
    /// send a whole one.
    fn window_now(&self, pool: &Pool) -> usize {
        let least = 2 * usize::from(self.mss.get());
        self.window.min(pool.most_window().max(least))
    }

    /// Up to where the program may send by what is read and free now.
    fn wanted_edge(&self, pool: &Pool) -> u32 {
        let window = self.window_now(pool);
        let free = window.saturating_sub(self.receive.len());
        let most = u32::from(u16::MAX) << self.rcv_shift;
        let edge = self.rcv_nxt.wrapping_add(distance(free).min(most));
        if ahead(self.rcv_adv, edge) > 0 {
            edge
        } else {
            self.rcv_adv
        }
    }

    /// Whether so much was read that the program should hear of it (RFC 9293 section 3.8.6.2.2).
    fn must_say_window(&self, pool: &Pool) -> bool {
        let more = length(ahead(self.rcv_adv, self.wanted_edge(pool)));
        let left = length(ahead(self.rcv_nxt, self.rcv_adv));
        let two_segments = 2 * usize::from(self.mss.get());
        let window = self.window_now(pool);
        let is_short = left < window / 4;
        !self.fin_received()
            && self.established()
            && (more >= window / 2 || is_short && more >= two_segments.min(window / 2))
    }
}

/// Most payload bytes of a segment towards the sender of a SYN.
fn segment_size(header: &[u8], room: usize) -> NonZeroU16 {
    let value = option_value(header, option::MSS).and_then(|value| value.first_chunk());
    let asked = value.map_or(DEFAULT_MSS, |value| u16::from_be_bytes(*value));
    let room = u16::try_from(room).unwrap_or(u16::MAX);
    let size = asked.max(MIN_MSS).min(room);
    NonZeroU16::new(size).unwrap_or(NonZeroU16::MIN)
}

/// How far the window field must be shifted to say `window`.
fn shift_for(window: usize) -> u8 {
    (0..MAX_SHIFT)
        .find(|&shift| window >> shift <= usize::from(u16::MAX))
        .unwrap_or(MAX_SHIFT)
}
