//! Facts in, decision out: the rule language of Tidegate.
//!
//! A [`Policy`] is compiled once from rule files and then asked, for every flow, what to do with it. It is a pure
//! function: the same [`FlowFacts`] always give the same [`Decision`]. Rules are tried in the order written, the first
//! that matches decides; then the default.
//!
//! What this crate is *not*: it knows no packets, opens no file, reads no clock and asks the operating system nothing.
//! Whoever calls it gathers the facts.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod facts;
pub mod verdict;

pub use facts::{App, Direction, FlowFacts, Protocol};
pub use verdict::{DecidedBy, Decision, Verdict};
