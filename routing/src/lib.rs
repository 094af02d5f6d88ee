//! The brain between packets and rules: flow life cycle, egress choice, and the host plan.
//!
//! What this crate is *not*: it does no IO, reads no clock, and knows no operating system call; `platform` applies what
//! is planned here.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod flow;
pub mod plan;
pub mod target;
