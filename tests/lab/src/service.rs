//! Small servers for tests, run by threads inside a lab machine, stopped when dropped.
//!
//! They exist so that tests need no internet and no packages for what real servers do badly on purpose: resetting,
//! half-closing, speaking first.

mod dns;
mod http;
mod listener;
mod pattern;
mod stream;
mod udp;

pub use dns::Dns;
pub use http::Http;
pub use pattern::{Pattern, sha256};
pub use stream::{Ending, Sink, Talk, TcpEcho, TcpTalker};
pub use udp::UdpEcho;
