//! The stack: packets in, flows out, and back.

use std::net::IpAddr;
use std::num::NonZeroU16;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use crate::classify::UnknownClass;
use crate::flow::{FlowId, FlowKey, LocalAddr, RemoteAddr};
use crate::packet::{DropReason, Offload, PacketHead};

/// Limits and habits of a [`Stack`].
#[derive(Clone, Debug)]
pub struct StackConfig {
    /// Largest IP packet that goes into the device unsegmented, in bytes.
    pub mtu: u16,
    /// The device takes TCP super-packets and completes checksums (`IFF_VNET_HDR` with TSO).
    pub segmentation_offload: bool,
    /// Local UDP ports that programs get without asking (`ip_local_port_range`). Datagrams from other ports belong to
    /// services and are [`Input::Unknown`]. `None`: every datagram is a program's own (exec capture).
    pub ephemeral_ports: Option<RangeInclusive<u16>>,
    /// Most flows of all kinds at once.
    pub max_flows: usize,
    /// Most TCP flows that wait for a verdict or their upstream connection.
    pub max_half_open: usize,
    /// Most bytes of TCP rings in all.
    pub ring_budget: usize,
    /// Bytes of the two rings of one TCP flow, when the budget allows.
    pub ring_size: usize,
    /// Most RSTs and ICMP errors to strangers per second.
    pub answers_per_second: u32,
    /// Makes initial sequence numbers unpredictable; from the operating system's random source.
    pub seed: u64,
}

/// What became of a packet that came out of the device.
#[derive(Debug)]
pub enum Input<'p> {
    /// The stack dealt with it; nothing for the caller to do.
    Handled,
    /// A new TCP flow. Judge it, dial, then [`Stack::tcp_accept`] or [`Stack::refuse`]. `hop_limit` is the SYN's.
    TcpSyn {
        /// The new flow.
        flow: FlowId,
        /// TTL or hop limit of the SYN.
        hop_limit: u8,
    },
    /// Something changed on this TCP flow (data, room, FIN, RST): look at it through [`Stack::tcp`].
    Tcp(FlowId),
    /// One or (with `segment`) several datagrams of a UDP flow.
    Udp {
        /// The flow, made by this datagram if [`FlowIs::New`].
        flow: FlowId,
        /// Whether this datagram made the flow.
        is: FlowIs,
        /// Payload of the datagram, or of all of them.
        payload: &'p [u8],
        /// Payload size of each datagram where there are several (USO); the last may be shorter.
        segment: Option<NonZeroU16>,
        /// TTL or hop limit.
        hop_limit: u8,
    },
    /// An ICMP echo request.
    Echo {
        /// The flow (one per local address, identifier and remote address).
        flow: FlowId,
        /// Whether this request made the flow.
        is: FlowIs,
        /// Sequence number.
        sequence: u16,
        /// What the reply has to carry back.
        payload: &'p [u8],
        /// TTL or hop limit.
        hop_limit: u8,
    },
    /// A packet of a flow that was handed to [`Stack::pass`]: re-emit it as it is.
    Pass {
        /// The flow.
        flow: FlowId,
        /// The IP packet.
        packet: &'p [u8],
    },
    /// A packet of no flow of ours: find out whose it is, then re-emit it (and perhaps [`Stack::pass`]), or
    /// [`Stack::reject`] it.
    Unknown {
        /// What it is.
        class: UnknownClass,
        /// Its addresses.
        key: FlowKey,
        /// The IP packet.
        packet: &'p [u8],
    },
    /// Thrown away and counted.
    Dropped(DropReason),
}

/// Whether a packet made its flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowIs {
    /// This packet made it.
    New,
    /// It was there.
    Known,
}

/// How a flow is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// RST for TCP, ICMP port unreachable for UDP, ICMP host unreachable for echo.
    Reset,
    /// ICMP destination unreachable: no route to the network.
    NetworkUnreachable,
    /// ICMP destination unreachable: no route to the host.
    HostUnreachable,
    /// ICMP destination unreachable: administratively prohibited.
    Prohibited,
    /// No answer at all; retransmissions are absorbed for a while.
    Silence,
}

/// Why a flow ended without the caller asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// Both sides finished.
    Finished,
    /// The program reset the connection.
    ResetByProgram,
    /// The program stopped answering.
    TimedOut,
    /// Nothing moved for as long as flows of this kind may idle.
    Idle,
    /// Made room for a younger flow.
    Evicted,
}

/// Something that happened without a packet of that flow at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The flow is gone; its id will not come back.
    Closed(FlowId, CloseReason),
    /// A timer moved this TCP flow: look at it through [`Stack::tcp`].
    Tcp(FlowId),
}

/// Why [`Stack::poll_timeout`] wants to be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeoutReason {
    /// Retransmission, delayed ACK, zero-window probe or keep-alive of a TCP flow.
    Tcp,
    /// A flow has idled long enough.
    Idle,
    /// A TIME-WAIT record or a silenced flow ends.
    TimeWait,
    /// An incomplete datagram is given up.
    Reassembly,
}

/// A packet that [`Stack::poll_transmit`] wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Length of the IP packet in the caller's buffer.
    pub len: usize,
    /// What the device has to complete.
    pub offload: Offload,
}

/// Figures of a [`Stack`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StackCounters {
    /// Packets thrown away, by reason.
    pub dropped: Vec<(DropReason, u64)>,
    /// Live flows.
    pub flows: usize,
    /// TCP flows that wait for a verdict or their upstream connection.
    pub half_open: usize,
    /// TIME-WAIT records.
    pub time_wait: usize,
    /// Bytes of TCP rings handed out.
    pub ring_bytes: usize,
}

/// Packets in, flows out, and back.
///
/// # Contract
///
/// Call in this order, one thread, `now` never going back:
///
/// 1. [`handle_packet`](Self::handle_packet) for each packet of a batch, acting on each [`Input`];
/// 2. the mutators (`tcp`, `tcp_accept`, `refuse`, ...) as verdicts and upstream bytes arrive;
/// 3. [`handle_timeout`](Self::handle_timeout) when the deadline of [`poll_timeout`](Self::poll_timeout) has passed;
/// 4. [`poll_transmit`](Self::poll_transmit) until `None`, writing each packet to the device;
/// 5. [`poll_event`](Self::poll_event) until `None`;
/// 6. [`poll_timeout`](Self::poll_timeout), and wait.
#[derive(Debug)]
pub struct Stack {}

#[allow(
    unused_variables,
    missing_docs,
    clippy::unused_self,
    reason = "seam, filled in by the next commit"
)]
impl Stack {
    /// An empty stack.
    pub fn new(config: StackConfig, now: Instant) -> Self {
        Self {}
    }
    /// Takes one packet that came out of the device. The payload of what comes back borrows from `packet` only.
    pub fn handle_packet<'p>(
        &mut self,
        now: Instant,
        packet: &'p [u8],
        offload: Offload,
    ) -> Input<'p> {
        unimplemented!()
    }
    /// Lets timers run whose deadline has passed.
    pub fn handle_timeout(&mut self, now: Instant) {}
    /// Writes the next packet for the device into `buffer` (at least 65,600 bytes).
    pub fn poll_transmit(&mut self, now: Instant, buffer: &mut [u8]) -> Option<Transmit> {
        None
    }
    pub fn poll_event(&mut self) -> Option<Event> {
        None
    }
    /// When to call `handle_timeout` next, and why. Valid until the next mutator; cheap.
    pub fn poll_timeout(&mut self) -> Option<(Instant, TimeoutReason)> {
        None
    }
    /// The flow's key, while it lives.
    pub fn key(&self, flow: FlowId) -> Option<FlowKey> {
        None
    }
    pub fn find(&self, key: &FlowKey) -> Option<FlowId> {
        None
    }
    /// The upstream connection stands: SYN-ACK goes out. False if the program gave up meanwhile (or the flow is gone).
    pub fn tcp_accept(&mut self, now: Instant, flow: FlowId) -> bool {
        false
    }
    /// Ends a flow of any kind that was not accepted, with the answer that tells the program why; also ends an accepted
    /// UDP or echo flow. `Silence` absorbs this tuple's retransmissions for a while. An accepted TCP flow: `TcpFlow::abort`.
    pub fn refuse(&mut self, now: Instant, flow: FlowId, refusal: Refusal) {}
    /// A TCP flow that was accepted and is not gone.
    pub fn tcp(&mut self, flow: FlowId) -> Option<TcpFlow<'_>> {
        None
    }
    /// From now on packets of this tuple are `Input::Pass`: an inbound service's flow, or one older than us.
    pub fn pass(&mut self, now: Instant, key: FlowKey) -> Result<FlowId, DropReason> {
        Err(DropReason::FlowTableFull)
    }
    /// Answers an unknown packet with the RST or ICMP error that `refusal` says (rate-limited) through the device.
    pub fn reject(
        &mut self,
        now: Instant,
        packet: &[u8],
        refusal: Refusal,
    ) -> Result<(), DropReason> {
        Ok(())
    }
    /// Forgets a flow without a word (UDP, echo, pass).
    pub fn forget(&mut self, flow: FlowId) {}
    /// The head of a datagram (or, with `segment`, several) from the flow's far end to its program; counts as activity.
    pub fn udp_head(
        &mut self,
        now: Instant,
        flow: FlowId,
        payload: &[u8],
        segment: Option<NonZeroU16>,
    ) -> Result<PacketHead, DropReason> {
        Err(DropReason::TooLarge)
    }
    /// Fragments one datagram larger than the MTU into packets that `poll_transmit` gives out (udp_head says TooLarge then).
    pub fn udp_send_fragmented(
        &mut self,
        now: Instant,
        flow: FlowId,
        payload: &[u8],
    ) -> Result<(), DropReason> {
        Ok(())
    }
    /// The head (IP and ICMP, sums done) of an echo reply from the flow's far end.
    pub fn echo_reply_head(
        &mut self,
        now: Instant,
        flow: FlowId,
        sequence: u16,
        payload: &[u8],
    ) -> Result<PacketHead, DropReason> {
        Err(DropReason::TooLarge)
    }
    /// Tells the program of an ICMP error that its flow met upstream; `from` is the router that said it.
    pub fn icmp_error(&mut self, now: Instant, flow: FlowId, from: IpAddr, refusal: Refusal) {}
    pub fn counters(&self) -> StackCounters {
        StackCounters::default()
    }
    /// Every live flow of this local address: to reset them at once when the address goes away.
    pub fn flows_of(&self, local: IpAddr) -> Vec<FlowId> {
        Vec::new()
    }
    /// A RST as the peer `key.remote` would send it towards `key.local`, built for `poll_transmit`: closes an existing or
    /// passed connection on the program's side. `sequence` is what the receiver expects next.
    pub fn reset_towards_program(&mut self, key: FlowKey, sequence: u32, acknowledgement: u32) {}
    /// EIM: all live UDP flows of a local source share one upstream socket.
    pub fn udp_flows_of(&self, local: LocalAddr) -> usize {
        0
    }
    pub fn udp_flow(&self, local: LocalAddr, remote: RemoteAddr) -> Option<FlowId> {
        None
    }
}

/// An accepted TCP flow, borrowed from its [`Stack`]. Changes go out with the next [`Stack::poll_transmit`].
#[derive(Debug)]
pub struct TcpFlow<'s> {
    _stack: &'s mut Stack,
}

#[allow(
    unused_variables,
    missing_docs,
    clippy::unused_self,
    reason = "seam, filled in by the next commit"
)]
impl TcpFlow<'_> {
    /// Bytes from the program, in order, as one contiguous slice (there may be more behind it: consume, ask again).
    pub fn readable(&mut self) -> &[u8] {
        &[]
    }
    /// Both contiguous parts of what the program sent, for one `writev`.
    pub fn readable_parts(&mut self) -> [&[u8]; 2] {
        [&[], &[]]
    }
    /// The first `n` readable bytes are upstream: give their room back to the program's window.
    pub fn consume(&mut self, n: usize) {}
    /// The program sent FIN and every byte before it is consumed.
    pub fn read_finished(&self) -> bool {
        false
    }
    /// Room for bytes to the program, contiguous: receive into it, then `commit`.
    pub fn writable(&mut self) -> &mut [u8] {
        &mut []
    }
    /// The first `n` bytes of `writable` are filled.
    pub fn commit(&mut self, n: usize) {}
    /// Send FIN after what is committed.
    pub fn finish(&mut self) {}
    /// Reset the program's connection; the flow is gone.
    pub fn abort(self) {}
    /// The connection to the program is established (SYN-ACK acknowledged).
    pub fn established(&self) -> bool {
        false
    }
}

/// How long flows may idle.
#[derive(Clone, Copy, Debug)]
pub struct IdleLimits {
    /// TCP, established.
    pub tcp: Duration,
    /// UDP without an answer yet.
    pub udp_unanswered: Duration,
    /// UDP that was answered.
    pub udp_answered: Duration,
    /// UDP to port 443.
    pub quic: Duration,
    /// DNS, once answered.
    pub dns_answered: Duration,
    /// ICMP echo.
    pub echo: Duration,
}
