//! Bytes to flows and back, in user space and without IO.
//!
//! [`Stack`] takes the packets that came out of a TUN device, splits them into flows, terminates TCP, and gives back the
//! packets to put into the device. It never reads a clock, opens a socket or starts a thread: `now` is an argument, and
//! the caller moves the bytes.
//!
//! What this crate is *not*: it knows no rules, no programs and no operating system.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod classify;
pub mod flow;
pub mod packet;
pub mod stack;

pub use classify::UnknownClass;
pub use flow::{FlowId, FlowKey, LocalAddr, Protocol, RemoteAddr};
pub use packet::{DropReason, Offload, PacketHead, Segmentation};
pub use stack::{
    CloseReason, Event, Input, Refusal, Stack, StackConfig, StackCounters, TcpFlow, TimeoutReason,
    Transmit,
};
