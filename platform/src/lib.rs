//! Everything that differs per operating system: devices, routes, sockets, processes.
//!
//! One facade file per concern; `linux.rs` and `macos.rs` beside it hold the same names with the same arguments and
//! errors. A concern that one system lacks is absent there, not stubbed: macOS has no network namespaces, so nothing of
//! `namespaces`, no means to destroy another program's socket, so nothing of `sockets`, no address translation that it is
//! asked about, so nothing of `conntrack`, no score of who is killed when memory is short, so nothing of `memory_pressure`,
//! and no rules that a socket could
//! go round, so nothing of `uplink_tap`. FFI lives in `sys`.
//!
//! Messages of either system are read and written by pure functions over bytes, which every system tests.
//!
//! What this crate is *not*: it decides nothing. Which rules and routes a host gets is `routing`'s plan, which flow may pass is
//! `policy`'s decision.

pub mod apps;
#[cfg(target_os = "linux")]
mod bpf;
pub mod bypass;
#[cfg(target_os = "linux")]
mod congestion;
#[cfg(target_os = "linux")]
pub mod conntrack;
#[cfg(target_os = "linux")]
mod control_messages;
pub mod datagrams;
pub mod emit;
pub mod error_queue;
pub mod file_watch;
#[cfg(all(target_os = "linux", any(fuzzing, test)))]
pub mod fuzzing;
pub mod host;
#[cfg(target_os = "linux")]
mod inet_diag;
pub mod limits;
pub mod link;
pub mod local_time;
pub mod mapped_file;
#[cfg(target_os = "linux")]
pub mod memory_pressure;
pub mod monitor;
#[cfg(target_os = "linux")]
pub mod namespaces;
#[cfg(target_os = "linux")]
mod netlink;
pub mod ownership;
pub mod privileges;
pub mod random;
pub mod resolvers;
#[cfg(any(target_os = "macos", fuzzing, test))]
mod routing_messages;
#[cfg(any(target_os = "macos", fuzzing, test))]
mod socket_list;
#[cfg(target_os = "linux")]
pub mod sockets;
pub mod suspend;
mod sys;
pub mod tun;
#[cfg(target_os = "linux")]
pub mod uplink_tap;
pub mod users;
