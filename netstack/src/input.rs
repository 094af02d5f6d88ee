//! What the stack says of a packet that it was given.

use std::num::NonZeroU16;

use crate::classify::UnknownClass;
use crate::flow::{FlowId, FlowKey};
use crate::ip::Fragmentation;
use crate::packet::DropReason;

/// What became of a packet that came out of the device.
#[derive(Debug)]
pub enum Input<'p> {
    /// The stack dealt with it; nothing for the caller to do.
    Handled,
    /// A new TCP flow. Judge it, dial, then [`Stack::tcp_accept`](crate::Stack::tcp_accept) or [`Stack::refuse`](crate::Stack::refuse). `hop_limit` is the SYN's.
    TcpSyn {
        /// The new flow.
        flow: FlowId,
        /// TTL or hop limit of the SYN.
        hop_limit: u8,
    },
    /// Something changed on this TCP flow (data, room, FIN, RST): look at it through [`Stack::tcp`](crate::Stack::tcp).
    Tcp(FlowId),
    /// The same, and with it came much from the program, next in order, which nothing waits before: lent instead of copied.
    /// Send upstream what upstream takes, then give the whole back to [`TcpFlow::take_in`](crate::TcpFlow::take_in). What
    /// is not given back was never received.
    TcpPayload {
        /// The flow.
        flow: FlowId,
        /// The bytes.
        payload: &'p [u8],
    },
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
        /// What is to be done with a datagram that is too large for a link on its way. One that came in fragments may be cut
        /// again.
        fragmentation: Fragmentation,
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
    /// The last missing fragment of a datagram came: hand this whole packet to
    /// [`Stack::handle_reassembled`](crate::Stack::handle_reassembled).
    Reassembled(Box<[u8]>),
    /// A packet of a flow that was handed to [`Stack::pass`](crate::Stack::pass): re-emit it as it is.
    Pass {
        /// The flow.
        flow: FlowId,
        /// The IP packet.
        packet: &'p [u8],
    },
    /// A packet of no flow of ours: find out whose it is, then re-emit it (and perhaps [`Stack::pass`](crate::Stack::pass)), or
    /// [`Stack::reject`](crate::Stack::reject) it.
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
