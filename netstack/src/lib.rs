//! Bytes to flows and back, in user space and without IO.
//!
//! [`Stack`] takes the packets that came out of a TUN device, splits them into flows, terminates TCP, and gives back the
//! packets to put into the device. It never reads a clock, opens a socket or starts a thread: `now` is an argument, and
//! the caller moves the bytes.
//!
//! What this crate is *not*: it knows no rules, no programs and no operating system.
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
pub use output::{CloseReason, Event, StackGauges, TimeoutReason, Transmit};
pub use packet::{DropReason, Offload, PacketHead, Segmentation};
pub use stack::Stack;
pub use tcp::TcpFlow;
