//! TCP flows: the SYN that waits, the connection that stands, and the handle by which the caller moves its bytes.

mod busy;
pub(crate) mod congestion;
pub(crate) mod engine;
pub(crate) mod head;
pub(crate) mod pool;
mod ranges;
mod receive;
mod recovery;
mod rtt;
pub(crate) mod segment;
pub(crate) mod send;
pub(crate) mod sequence;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::flow::FlowId;
use crate::ip::{IpHeader, IpPacket, protocol};
use crate::output::CloseReason;
use crate::tcp::congestion::CongestionControl;
use crate::tcp::engine::{Engine, Phase};
use crate::tcp::pool::Pool;
use crate::tcp::segment::{MAX_BARE_SEGMENT, Segment};
use crate::tcp::send::Room;

/// How long a SYN may wait for its verdict and upstream connection after its last retransmission: two of Linux's longest
/// retransmission intervals, after which the program has given up.
pub(crate) const PENDING_LIMIT: Duration = Duration::from_secs(130);
/// How long the program may leave something unacknowledged (RFC 5482's default order of magnitude).
pub(crate) const UNANSWERED_LIMIT: Duration = Duration::from_secs(120);
/// How long what the program said before its RST may wait for upstream.
pub(crate) const RESET_LIMIT: Duration = Duration::from_millis(100);

/// A SYN that waits for a verdict and an upstream connection.
#[derive(Clone, Debug)]
pub(crate) struct Pending {
    syn: [u8; MAX_BARE_SEGMENT],
    len: usize,
    /// Its sequence number: the program's initial one.
    pub(crate) sequence: u32,
}

impl Pending {
    /// Keeps a SYN: its header with options, without payload (nothing is accepted before the handshake), IP options and
    /// extension headers.
    pub(crate) fn new(packet: &IpPacket<'_>, segment: &Segment) -> Option<Self> {
        let header = packet.payload().get(..segment.header_len)?;
        let mut syn = [0; MAX_BARE_SEGMENT];
        let ip = IpHeader {
            hop_limit: packet.hop_limit,
            ..IpHeader::new(packet.source, packet.destination, protocol::TCP)
        };
        let at = ip.write(&mut syn, header.len())?;
        syn.get_mut(at..at + header.len())?.copy_from_slice(header);
        Some(Self {
            syn,
            len: at + header.len(),
            sequence: segment.sequence,
        })
    }

    /// The SYN's TCP header, and what it says.
    pub(crate) fn segment(&self) -> Option<(&[u8], Segment)> {
        let header = IpPacket::parse(self.packet()).ok()?.payload();
        Some((header, Segment::parse(header).ok()?))
    }

    /// The SYN as a whole IP packet.
    pub(crate) fn packet(&self) -> &[u8] {
        self.syn.get(..self.len).unwrap_or_default()
    }
}

/// A connection that this stack terminates.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) engine: Engine,
    /// Whether the flow waits in the list of those that may have something to transmit.
    pub(crate) turn: Turn,
    /// Whether the caller reset it: it is gone for the caller, its RST is still to be written.
    pub(crate) aborted: bool,
    /// Whether what is committed goes before that RST.
    pub(crate) last_words: bool,
    /// When it ends though what the program said before its RST is not read.
    pub(crate) ends_at: Option<Instant>,
    /// Since when the program owes an acknowledgement.
    pub(crate) unanswered_since: Option<Instant>,
    /// When a SYN on this live connection was last challenged (RFC 5961 section 4).
    pub(crate) challenged: Option<Instant>,
}

/// Whether a flow waits for its turn to transmit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    None,
    Queued,
}

impl Accepted {
    pub(crate) fn new(engine: Engine) -> Self {
        Self {
            engine,
            turn: Turn::None,
            aborted: false,
            last_words: false,
            ends_at: None,
            unanswered_since: None,
            challenged: None,
        }
    }

    /// Puts the flow into the list of those that may have something to transmit.
    pub(crate) fn queue(&mut self, id: FlowId, turns: &mut VecDeque<FlowId>) {
        if self.turn == Turn::None {
            self.turn = Turn::Queued;
            turns.push_back(id);
        }
    }

    /// Why it is over.
    pub(crate) fn close_reason(&self) -> CloseReason {
        match self.engine.phase() {
            Phase::Reset => CloseReason::ResetByProgram,
            Phase::Handshake | Phase::Open | Phase::TimeWait | Phase::Finished => {
                CloseReason::Finished
            }
        }
    }

    /// Whether both directions ended and nothing is left to read: nothing but a record of it needs to stay.
    pub(crate) fn is_over(&self) -> bool {
        match self.engine.phase() {
            Phase::Handshake | Phase::Open => false,
            Phase::TimeWait | Phase::Finished | Phase::Reset => self.engine.is_drained(),
        }
    }
}

/// An accepted TCP flow, borrowed from its [`Stack`](crate::Stack).
///
/// Changes go out with the next [`Stack::poll_transmit`](crate::Stack::poll_transmit). The slices it lends are the
/// engine's buffers: receive upstream bytes straight into [`writable`](Self::writable), send
/// [`readable`](Self::readable) upstream from where it lies. What is not consumed closes the program's window, what finds
/// no room waits upstream: that is all there is to backpressure.
#[derive(Debug)]
pub struct TcpFlow<'s> {
    pub(crate) id: FlowId,
    pub(crate) tcp: &'s mut Accepted,
    pub(crate) turns: &'s mut VecDeque<FlowId>,
    pub(crate) pool: &'s mut Pool,
    /// What [`writable`](Self::writable) lent last.
    pub(crate) room: Room,
}

impl TcpFlow<'_> {
    /// Bytes from the program, in order, as one contiguous slice. There may be more behind it: consume, ask again.
    pub fn readable(&mut self) -> &[u8] {
        self.tcp.engine.readable()
    }

    /// All bytes from the program, in order, in as many slices as they lie in: for one `writev`.
    pub fn readable_pieces(&self) -> impl Iterator<Item = &[u8]> {
        self.tcp.engine.readable_pieces()
    }

    /// The first `n` bytes that are readable are upstream: gives their room back to the program's window.
    pub fn consume(&mut self, n: usize) {
        self.tcp.engine.consume(n, self.pool);
        self.changed();
    }

    /// Takes in the payload of [`Input::TcpPayload`](crate::Input::TcpPayload), to be called with nothing in between: its first
    /// `sent` bytes are upstream, the rest waits as [`readable`](Self::readable).
    pub fn take_in(&mut self, payload: &[u8], sent: usize) {
        self.tcp.engine.take_in(payload, sent, self.pool);
        self.changed();
    }

    /// The program sent FIN, and every byte before it is consumed.
    pub fn read_finished(&self) -> bool {
        let engine = &self.tcp.engine;
        engine.fin_received() && engine.phase() != Phase::Reset && engine.is_drained()
    }

    /// Room for bytes to the program, contiguous, up to 256 KiB: receive into it, then [`commit`](Self::commit) before
    /// anything else is done with this handle. Its content means nothing. Empty while the handshake lasts, after
    /// [`finish`](Self::finish), and while enough waits for the program.
    pub fn writable(&mut self) -> &mut [u8] {
        self.room = self.tcp.engine.room(self.pool);
        self.tcp.engine.lend(self.room, self.pool)
    }

    /// The first `n` bytes of [`writable`](Self::writable), which was asked for just before, are filled: sends them.
    pub fn commit(&mut self, n: usize) {
        let room = std::mem::replace(&mut self.room, Room::Nothing);
        debug_assert!(n == 0 || room != Room::Nothing, "nothing was lent");
        self.tcp.engine.commit(room, n, self.pool);
        self.changed();
    }

    /// Sends FIN after what is committed. The program may go on sending.
    pub fn finish(&mut self) {
        self.tcp.engine.close();
        self.changed();
    }

    /// Resets the program's connection. The flow is gone; no event follows.
    pub fn abort(self) {
        self.tcp.aborted = true;
        self.tcp.queue(self.id, self.turns);
    }

    /// The far end broke the connection: resets the program's behind what is committed, as far as the program has room for
    /// that, for so it would have heard it from the far end itself. The flow is gone; no event follows.
    pub fn break_off(self) {
        self.tcp.last_words = true;
        self.abort();
    }

    /// The connection to the program is established (SYN-ACK acknowledged).
    pub fn established(&self) -> bool {
        self.tcp.engine.established()
    }

    /// Chooses congestion control for this flow instead of the one of
    /// [`StackConfig::congestion`](crate::StackConfig::congestion): to be called before its first byte.
    pub fn set_congestion_control(&mut self, control: CongestionControl) {
        self.tcp.engine.set_congestion_control(control);
    }

    fn changed(&mut self) {
        self.tcp.queue(self.id, self.turns);
    }
}
