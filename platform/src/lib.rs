//! Everything that differs per operating system: devices, routes, sockets, processes.
//!
//! One facade file per concern; `linux.rs` and `macos.rs` beside it hold the same names with the same arguments and
//! errors. A concern that one system lacks is absent there, not stubbed. FFI lives in `sys`.
//!
//! What this crate is *not*: it decides nothing. Which rules a host gets is `routing`'s plan, which flow may pass is
//! `policy`'s decision.

pub mod apps;
#[cfg(target_os = "linux")]
mod bpf;
pub mod bypass;
#[cfg(target_os = "linux")]
pub mod emit;
pub mod error_queue;
pub mod file_watch;
#[cfg(all(target_os = "linux", any(fuzzing, test)))]
pub mod fuzzing;
#[cfg(target_os = "linux")]
pub mod host;
#[cfg(target_os = "linux")]
mod inet_diag;
pub mod limits;
#[cfg(target_os = "linux")]
pub mod link;
#[cfg(target_os = "linux")]
pub mod monitor;
#[cfg(target_os = "linux")]
pub mod namespaces;
#[cfg(target_os = "linux")]
mod netlink;
#[cfg(target_os = "linux")]
pub mod privileges;
pub mod random;
pub mod resolvers;
#[cfg(target_os = "linux")]
pub mod sockets;
mod sys;
pub mod tun;
pub mod users;
