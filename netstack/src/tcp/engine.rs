//! One TCP connection: with `link.rs` all that knows which library speaks TCP.
//!
//! Today it is smoltcp, with one socket in one set per connection, so that cost does not grow with the number of
//! connections. What another engine would have to offer is what [`Engine`] offers: open with a kept SYN, ingest a packet,
//! transmit into the caller's buffer, say when to be polled, and lend its rings.
//!
//! Habits of smoltcp 0.14 that are corrected here:
//! - its sequence numbers come from one weak generator: each connection gets a fresh seed;
//! - it accepts the FIN of a segment whose payload it had to cut: the FIN is masked;
//! - it forgets its SYN-ACK when closed before the handshake ends: the close waits;
//! - it takes repeated ACKs for stray ones once both sides closed, and ignores a FIN behind a gap, so that a loss costs
//!   time-outs: the close waits until one segment at most is left to be acknowledged;
//! - it answers three repeated ACKs of everything before its FIN by stopping the retransmission timer: they are withheld;
//! - it empties the rings when TIME-WAIT ends, read or not: its clock stands still then;
//! - it drops IPv6 packets beyond the MTU even where the device segments, and does not say the segment size: it is told
//!   of a huge MTU, and the segment size and the offered MSS are set right behind it.

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::time::{Duration, Instant};

use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::tcp::{CongestionControl, Socket, SocketBuffer, State};
use smoltcp::time::Instant as SmolInstant;
use smoltcp::wire::{IpAddress, IpListenEndpoint};

use crate::answers::AnswerQueue;
use crate::ip::IpPacket;
use crate::output::Transmit;
use crate::packet::{Offload, Segmentation};
use crate::tcp::link::{Family, Link, Offloads};
use crate::tcp::segment::{
    Segment, TCP_HEADER, flag, is_before, option, option_value, option_value_mut,
};

/// Congestion control towards the program: none while every program is on this host, for the device's queue holds more than
/// a ring and loses nothing. A client behind a link that loses packets needs it (RFC 5681).
const CONGESTION_CONTROL: CongestionControl = CongestionControl::None;
/// Segment size towards a program that names none (RFC 9293 section 3.7.1; smoltcp takes it for both families).
const DEFAULT_MSS: NonZeroU16 = NonZeroU16::MIN.saturating_add(535);
/// Smallest segment size that is taken seriously, as in smoltcp and Linux.
const MIN_MSS: NonZeroU16 = NonZeroU16::MIN.saturating_add(47);
/// Headroom for what smoltcp answers while it takes a packet in.
const ANSWER_BUFFER: usize = 256;

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

/// One TCP connection and its rings.
pub(crate) struct Engine {
    sockets: SocketSet<'static>,
    handle: SocketHandle,
    said: LastSaid,
    family: Family,
    /// Most payload bytes of a segment: what both the program and the link take.
    segment_size: NonZeroU16,
    /// How far the window field is shifted.
    window_shift: u8,
    /// When TIME-WAIT was first seen: smoltcp's clock stands still from then on.
    time_wait_at: Option<SmolInstant>,
    /// Whether FIN is wanted, but cannot be sent yet.
    finish: Finish,
    reset_seen: bool,
    /// Bytes ever moved through the receive and the send ring, over all connections of this engine.
    moved: [usize; 2],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Finish {
    No,
    /// Once the handshake is over and one segment at most is unacknowledged.
    Wanted,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("phase", &self.phase())
            .field("said", &self.said)
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// An engine with two rings of `ring` bytes each, not in use.
    pub(crate) fn new(ring: usize) -> Self {
        let mut socket = Socket::new(
            SocketBuffer::new(vec![0; ring]),
            SocketBuffer::new(vec![0; ring]),
        );
        socket.set_nagle_enabled(false);
        socket.set_ack_delay(None);
        let mut sockets = SocketSet::new(Vec::with_capacity(1));
        let handle = sockets.add(socket);
        Self {
            sockets,
            handle,
            said: LastSaid::default(),
            family: Family::V4,
            segment_size: DEFAULT_MSS,
            window_shift: 0,
            time_wait_at: None,
            finish: Finish::No,
            reset_seen: false,
            moved: [0; 2],
        }
    }

    /// Bytes of the rings that were ever written, at most: the memory that they take.
    pub(crate) fn touched(&self) -> usize {
        let socket = self.socket_ref();
        let [received, sent] = self.moved;
        received.min(socket.recv_capacity()) + sent.min(socket.send_capacity())
    }

    /// Answers a kept SYN (a whole IP packet) that was sent to `remote`: the SYN-ACK goes out with the next
    /// [`transmit`](Self::transmit). `seed` must be unpredictable. False if the SYN is not acceptable.
    pub(crate) fn open(
        &mut self,
        link: &mut Link,
        now: Instant,
        seed: u64,
        remote: SocketAddr,
        syn: &[u8],
    ) -> bool {
        let clock = link.clock(now);
        // The rings of an engine in use are emptied by `listen`, which a closed socket accepts.
        let socket = self.socket();
        socket.abort();
        socket.set_congestion_control(CONGESTION_CONTROL);
        let address = IpListenEndpoint {
            addr: Some(IpAddress::from(remote.ip())),
            port: remote.port(),
        };
        if socket.listen(address).is_err() {
            return false;
        }
        (self.said, self.finish, self.reset_seen) = (LastSaid::default(), Finish::No, false);
        self.time_wait_at = None;
        self.family = Family::of(remote.ip());
        self.segment_size = segment_size(syn, link.mtu);
        self.window_shift = window_shift(syn, self.socket().recv_capacity());
        link.reseed(self.family, seed);
        link.feed(self.family, clock, syn, &mut [], &mut self.sockets);
        self.socket().state() == State::SynReceived
    }

    /// Takes one packet of this connection in: IP without options or extension headers, verified. Answers that cannot
    /// wait for [`transmit`](Self::transmit) (challenge and duplicate ACKs) go to `answers`.
    pub(crate) fn ingest(
        &mut self,
        link: &mut Link,
        now: Instant,
        packet: &IpPacket<'_>,
        segment: &Segment,
        answers: &mut AnswerQueue,
    ) {
        if self.repeats_ack_before_fin(segment) {
            return;
        }
        let nothing_left = self.lacks_only_acknowledgement_of_fin();
        if self.would_cut_before_fin(segment) {
            let mut without_fin = packet.whole.to_vec();
            if let Some(flags) = without_fin.get_mut(packet.header_len + 13) {
                *flags &= !flag::FIN;
            }
            self.feed(link, now, &without_fin, answers);
        } else {
            self.feed(link, now, packet.whole, answers);
        }
        self.reset_seen |= segment.has(flag::RST) && !nothing_left;
        if self.finish == Finish::Wanted {
            self.close();
        }
    }

    fn feed(&mut self, link: &mut Link, now: Instant, packet: &[u8], answers: &mut AnswerQueue) {
        let clock = link.clock(now);
        let mut buffer = [0; ANSWER_BUFFER];
        if let Some(len) = link.feed(self.family, clock, packet, &mut buffer, &mut self.sockets) {
            let transmit = self.complete(link, len, &mut buffer);
            answers.push(
                buffer.get(..transmit.len).unwrap_or_default(),
                transmit.offload,
            );
        }
        if self.socket_ref().state() == State::TimeWait {
            self.time_wait_at.get_or_insert(clock);
        }
    }

    /// Whether both sides said FIN and all but ours was acknowledged: the program may have closed its socket since, so a RST
    /// takes nothing away.
    fn lacks_only_acknowledgement_of_fin(&self) -> bool {
        let socket = self.socket_ref();
        socket.send_queue() == 0 && matches!(socket.state(), State::Closing | State::LastAck)
    }

    /// Whether only FIN is outstanding and the segment says nothing but that it did not arrive yet.
    fn repeats_ack_before_fin(&self, segment: &Segment) -> bool {
        let socket = self.socket_ref();
        socket.send_queue() == 0
            && matches!(
                socket.state(),
                State::FinWait1 | State::Closing | State::LastAck
            )
            && segment.acknowledgement == self.said.snd_nxt.wrapping_sub(1)
            && segment.sequence_len() == 0
            && !segment.has(flag::RST)
    }

    /// Whether the segment ends in FIN beyond the window: its payload would be cut, and the FIN must not count then.
    fn would_cut_before_fin(&self, segment: &Segment) -> bool {
        let window_end = self
            .said
            .rcv_nxt
            .wrapping_add(u32::from(self.said.window) << self.window_shift);
        segment.has(flag::FIN)
            && segment.payload_len > 0
            && is_before(window_end, segment.end().wrapping_sub(1))
    }

    /// Writes the next packet into `buffer`.
    pub(crate) fn transmit(
        &mut self,
        link: &mut Link,
        now: Instant,
        buffer: &mut [u8],
    ) -> Option<Transmit> {
        let clock = self.time_wait_at.unwrap_or(link.clock(now));
        let len = link.draw(self.family, clock, buffer, &mut self.sockets)?;
        Some(self.complete(link, len, buffer))
    }

    /// Notes what a packet says and, for a device with offloads, writes the partial checksum and says the segment size.
    fn complete(&mut self, link: &Link, len: usize, buffer: &mut [u8]) -> Transmit {
        let offload = Offload::default();
        let Some(packet) = buffer.get_mut(..len) else {
            return Transmit { len: 0, offload };
        };
        let Ok(parsed) = IpPacket::parse(packet) else {
            return Transmit { len, offload };
        };
        let Ok(segment) = Segment::parse(parsed.payload()) else {
            return Transmit { len, offload };
        };
        self.note(&segment);
        if link.offloads == Offloads::None {
            return Transmit { len, offload };
        }
        let (at, partial) = (parsed.header_len, parsed.pseudo_header().fold());
        if let Some(field) = packet.get_mut(at + 16..at + 18) {
            field.copy_from_slice(&partial.to_be_bytes());
        }
        if segment.has(flag::SYN) {
            offer_mss(packet, at, link.mtu);
        }
        let is_several = segment.payload_len > usize::from(self.segment_size.get());
        let segmentation = is_several.then_some(Segmentation::Tcp(self.segment_size));
        Transmit {
            len,
            offload: Offload {
                partial_checksum: true,
                checksum_valid: false,
                segmentation,
            },
        }
    }

    fn note(&mut self, segment: &Segment) {
        if segment.has(flag::SYN) || is_before(self.said.snd_nxt, segment.end()) {
            self.said.snd_nxt = segment.end();
        }
        self.said.rcv_nxt = segment.acknowledgement;
        self.said.window = segment.window;
    }

    /// When to call [`transmit`](Self::transmit) again if nothing else happens.
    pub(crate) fn next_poll(&mut self, link: &mut Link, now: Instant) -> Option<Instant> {
        if self.time_wait_at.is_some() {
            return None;
        }
        let clock = link.clock(now);
        let delay = link.poll_delay(self.family, clock, &self.sockets)?;
        // Nothing is left to send now, so "now" can only mean a state that this call has just left.
        Some(now + delay.max(Duration::from_millis(1)))
    }

    /// Where the connection stands.
    pub(crate) fn phase(&self) -> Phase {
        match self.socket_ref().state() {
            State::SynReceived => Phase::Handshake,
            State::TimeWait => Phase::TimeWait,
            State::Closed | State::Listen if self.reset_seen => Phase::Reset,
            State::Closed | State::Listen => Phase::Finished,
            State::SynSent
            | State::Established
            | State::FinWait1
            | State::FinWait2
            | State::CloseWait
            | State::Closing
            | State::LastAck => Phase::Open,
        }
    }

    /// What was last said to the program.
    pub(crate) fn said(&self) -> LastSaid {
        self.said
    }

    /// Whether the program owes an acknowledgement of something sent.
    pub(crate) fn awaits_program(&self) -> bool {
        let socket = self.socket_ref();
        socket.send_queue() > 0
            || matches!(
                socket.state(),
                State::SynReceived | State::FinWait1 | State::Closing | State::LastAck
            )
    }

    /// Whether the handshake is over.
    pub(crate) fn established(&self) -> bool {
        !matches!(
            self.socket_ref().state(),
            State::SynReceived | State::Listen
        )
    }

    /// Bytes from the program, in order; there may be more behind them.
    pub(crate) fn readable(&mut self) -> &[u8] {
        self.socket().peek(usize::MAX).unwrap_or_default()
    }

    /// Whether nothing is left to read.
    pub(crate) fn is_drained(&self) -> bool {
        self.socket_ref().recv_queue() == 0
    }

    /// Frees the first `n` readable bytes.
    pub(crate) fn consume(&mut self, n: usize) {
        self.moved[0] = self.moved[0].saturating_add(n);
        let freed = self.socket().recv(|ring| (n.min(ring.len()), ()));
        debug_assert!(freed.is_ok() || n == 0, "consumed what was not readable");
    }

    /// Whether the program ended its direction.
    pub(crate) fn fin_received(&self) -> bool {
        matches!(
            self.socket_ref().state(),
            State::CloseWait | State::LastAck | State::Closing | State::TimeWait | State::Closed
        )
    }

    /// Room for bytes to the program.
    pub(crate) fn writable(&mut self) -> &mut [u8] {
        if self.finish == Finish::Wanted {
            return &mut [];
        }
        self.socket().send(|ring| (0, ring)).unwrap_or_default()
    }

    /// Takes over the first `n` bytes of [`writable`](Self::writable).
    pub(crate) fn commit(&mut self, n: usize) {
        self.moved[1] = self.moved[1].saturating_add(n);
        let taken = self.socket().send(|ring| (n.min(ring.len()), ()));
        debug_assert!(
            taken.is_ok() || n == 0,
            "committed where nothing was writable"
        );
    }

    /// Ends our direction after what is committed.
    pub(crate) fn close(&mut self) {
        let one_segment = usize::from(self.segment_size.get());
        if self.established() && self.socket_ref().send_queue() <= one_segment {
            self.finish = Finish::No;
            self.socket().close();
        } else {
            self.finish = Finish::Wanted;
        }
    }

    /// Drops the connection: the next [`transmit`](Self::transmit) writes the RST.
    pub(crate) fn abort(&mut self) {
        self.socket().abort();
    }

    fn socket(&mut self) -> &mut Socket<'static> {
        self.sockets.get_mut(self.handle)
    }

    fn socket_ref(&self) -> &Socket<'static> {
        self.sockets.get(self.handle)
    }
}

/// Most payload bytes of a segment towards the sender of `syn`, as smoltcp reckons.
fn segment_size(syn: &[u8], mtu: usize) -> NonZeroU16 {
    let Ok(packet) = IpPacket::parse(syn) else {
        return DEFAULT_MSS;
    };
    let value = option_value(packet.payload(), option::MSS).and_then(|value| value.first_chunk());
    let asked = value
        .and_then(|value| NonZeroU16::new(u16::from_be_bytes(*value)))
        .unwrap_or(DEFAULT_MSS);
    let room =
        u16::try_from(mtu.saturating_sub(packet.header_len + TCP_HEADER)).unwrap_or(u16::MAX);
    asked
        .max(MIN_MSS)
        .min(NonZeroU16::new(room).unwrap_or(DEFAULT_MSS))
}

/// How far smoltcp shifts the window field of a connection with such a ring: not at all, if the program does not scale
/// (RFC 7323 section 2.2).
fn window_shift(syn: &[u8], ring: usize) -> u8 {
    let header = IpPacket::parse(syn)
        .map(|packet| packet.payload())
        .unwrap_or_default();
    match option_value(header, option::WINDOW_SCALE) {
        Some(_) => u8::try_from((usize::BITS - ring.leading_zeros()).saturating_sub(16))
            .unwrap_or_default(),
        None => 0,
    }
}

/// Sets the MSS that a SYN-ACK offers to what the link takes.
fn offer_mss(packet: &mut [u8], transport_at: usize, mtu: usize) {
    let Some(header) = packet.get_mut(transport_at..) else {
        return;
    };
    let room = u16::try_from(mtu.saturating_sub(transport_at + TCP_HEADER)).unwrap_or(u16::MAX);
    if let Some(value) =
        option_value_mut(header, option::MSS).and_then(|value| value.first_chunk_mut())
    {
        *value = room.to_be_bytes();
    }
}
