//! The control socket: how the other commands talk to a running gateway.
//!
//! The daemon is always the server. A client writes one JSON request a line and reads JSON lines back
//! ([`protocol`]); only root, the daemon's own user and the group `tidegate` are heard ([`access`]).

pub mod access;
pub mod client;
pub mod protocol;
pub mod server;
mod socket;
pub mod status;

pub use socket::SocketError;

/// Where the socket is when nobody says otherwise.
pub const DEFAULT_SOCKET: &str = "/run/tidegate/control.sock";

/// Longest line, request or reply, in bytes with its newline.
///
/// A flow record holds at most a command line of a few pages; a request far less.
pub const LONGEST_LINE: usize = 1 << 20;

#[cfg(test)]
mod tests;
