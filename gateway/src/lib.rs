//! The gateway: packets from a TUN device to upstream sockets, flow by flow, as the policy allows; and its command line.
//!
//! The data plane runs on threads of its own without locks or an async runtime per packet; the control side ([`control`],
//! [`reload`], [`signals`]) reaches it only through [`shared::Shared`]. What differs per operating system is in
//! `tidegate-platform`; what is decided is in `tidegate-policy` and `tidegate-routing`.
//!
//! What this crate is *not*: a library with a stable interface. It is the program, in parts that tests can reach.

pub mod ask;
pub mod audit;
pub mod cli;
pub mod config;
mod context;
#[cfg(capture)]
pub mod context_watch;
pub mod control;
#[cfg(capture)]
pub mod exec;
pub mod knowledge;
pub mod leaks;
pub mod library;
#[cfg(capture)]
pub mod network_watch;
#[cfg(capture)]
pub mod probe;
pub mod quick;
pub mod record;
pub mod reload;
pub mod replace_file;
pub mod report;
mod rule_text;
#[cfg(capture)]
pub mod run;
#[cfg(capture)]
pub mod senders;
pub mod shared;
pub mod signals;
#[cfg(capture)]
pub mod stack;
pub mod state_folder;
pub mod terminal;
#[cfg(capture)]
pub mod worker;

#[cfg(test)]
mod test_folder;
