//! What a stack gives back: events, deadlines, packets to transmit, figures.

use std::time::Duration;

use crate::flow::FlowId;
use crate::packet::{Offload, PacketHead};

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
    /// A TCP program asks whether the other end is still there (RFC 9293 section 3.8.4). It was answered that the connection stands;
    /// whether it does, the caller may ask in turn. It had said nothing for so long.
    KeepAlive(FlowId, Duration),
}

/// Why [`Stack::poll_timeout`](crate::Stack::poll_timeout) wants to be called.
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

/// A packet for the device, from [`Stack::poll_transmit`](crate::Stack::poll_transmit): a head, and the payload where it lies
/// in the stack's buffers. Write its [`parts`](Self::parts) with one `writev`.
#[derive(Debug)]
pub struct Transmit<'s> {
    pub(crate) head: PacketHead,
    pub(crate) payload: [&'s [u8]; 2],
}

impl Transmit<'_> {
    /// The packet in order. Where the device has something to complete, IP and transport header are the first part.
    pub fn parts(&self) -> [&[u8]; 3] {
        [self.head.as_ref(), self.payload[0], self.payload[1]]
    }

    /// What the device has to complete.
    pub fn offload(&self) -> Offload {
        self.head.offload
    }
}

/// How full a [`Stack`](crate::Stack) is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StackGauges {
    /// Live flows.
    pub flows: usize,
    /// TCP flows that wait for a verdict or their upstream connection.
    pub half_open: usize,
    /// Records of flows that are gone but whose packets may still come: TIME-WAIT, resets, silence.
    pub time_wait: usize,
    /// Bytes of TCP buffers in use.
    pub buffer_bytes: usize,
}
