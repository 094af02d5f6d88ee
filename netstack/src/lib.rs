//! Bytes to flows and back, in user space and without IO.
//!
//! [`Stack`] takes the packets that came out of a TUN device, splits them into flows, terminates TCP, and gives back the
//! packets to put into the device. It never reads a clock, opens a socket or starts a thread: `now` is an argument, and
//! the caller moves the bytes.
//!
//! ```
//! use std::time::Instant;
//! use tidegate_netstack::{Input, Offload, Stack, StackConfig};
//!
//! let now = Instant::now();
//! let mut stack = Stack::new(StackConfig { seed: 42, ..StackConfig::default() }, now);
//!
//! // A program wants to connect: its SYN comes out of the device.
//! let mut syn = Vec::new();
//! etherparse::PacketBuilder::ipv4([10, 0, 0, 1], [203, 0, 113, 9], 64)
//!     .tcp(40_000, 443, 1_000, 64_240)
//!     .syn()
//!     .write(&mut syn, &[])
//!     .unwrap();
//! let Input::TcpSyn { flow, .. } = stack.handle_packet(now, &syn, Offload::default()) else { panic!() };
//! assert_eq!(stack.key(flow).unwrap().remote.0, "203.0.113.9:443".parse().unwrap());
//!
//! // Nothing is answered until the caller has judged the flow and dialled its far end.
//! assert!(stack.poll_transmit(now).is_none());
//! assert!(stack.tcp_accept(now, flow));
//!
//! // The answer is a packet for the device, in parts that one `writev` puts together.
//! let packet = stack.poll_transmit(now).unwrap().parts().concat();
//! let (_, answer) = etherparse::IpHeaders::from_slice(&packet).unwrap();
//! let (syn_ack, _) = etherparse::TcpHeader::from_slice(answer.payload).unwrap();
//! assert!(syn_ack.syn && syn_ack.ack);
//! assert_eq!(syn_ack.acknowledgment_number, 1_001);
//!
//! // The program's next segment carries bytes; here they go straight back.
//! let mut segment = Vec::new();
//! etherparse::PacketBuilder::ipv4([10, 0, 0, 1], [203, 0, 113, 9], 64)
//!     .tcp(40_000, 443, 1_001, 64_240)
//!     .ack(syn_ack.sequence_number + 1)
//!     .write(&mut segment, b"hello")
//!     .unwrap();
//! assert!(matches!(stack.handle_packet(now, &segment, Offload::default()), Input::Tcp(_)));
//! let mut tcp = stack.tcp(flow).unwrap();
//! let bytes = tcp.readable().to_vec();
//! tcp.consume(bytes.len());
//! tcp.writable()[..bytes.len()].copy_from_slice(&bytes);
//! tcp.commit(bytes.len());
//! let packet = stack.poll_transmit(now).unwrap().parts().concat();
//! assert!(packet.ends_with(b"hello"));
//! ```
//!
//! The contract, in what order to call what, is on [`Stack`]; [`emit`] cuts packets for a raw socket.
//!
//! What this crate is *not*: it knows no rules, no programs and no operating system. It is no router (nothing is forwarded
//! between devices), and it opens no connections towards the program.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod answers;
mod checksum;
pub mod classify;
mod config;
mod departed;
pub mod emit;
pub mod flow;
mod fragment;
mod icmp;
mod input;
mod ip;
pub mod keyed;
mod limiter;
mod output;
pub mod packet;
pub mod ping;
mod reassembly;
mod recency;
pub mod stack;
mod table;
mod tcp;
mod timers;
mod udp;

pub use classify::UnknownClass;
pub use config::{IdleLimits, StackConfig};
pub use flow::{FlowId, FlowKey, LocalAddr, Protocol, RemoteAddr};
pub use icmp::Refusal;
pub use input::{FlowIs, Input};
pub use ip::Fragmentation;
pub use output::{CloseReason, Event, StackGauges, TimeoutReason, Transmit};
pub use packet::{DropReason, Offload, PacketHead, Segmentation};
pub use stack::Stack;
pub use tcp::TcpFlow;
pub use tcp::congestion::CongestionControl;
