//! System calls that no safe crate offers, each behind a safe function.

#[cfg(target_os = "linux")]
pub(crate) mod bpf;
#[cfg(target_os = "macos")]
pub(crate) mod clock;
pub(crate) mod datagram;
#[cfg(target_os = "macos")]
pub(crate) mod debugging;
pub(crate) mod descriptor;
#[cfg(target_os = "linux")]
pub(crate) mod error_queue;
pub(crate) mod interface;
pub(crate) mod interface_addresses;
#[cfg(target_os = "macos")]
pub(crate) mod interface_ioctl;
pub(crate) mod local_time;
pub(crate) mod mapping;
#[cfg(target_os = "linux")]
pub(crate) mod memory;
#[cfg(target_os = "linux")]
pub(crate) mod packet_socket;
#[cfg(target_os = "macos")]
pub(crate) mod process;
pub(crate) mod resource;
#[cfg(target_os = "linux")]
pub(crate) mod spawn;
#[cfg(target_os = "macos")]
pub(crate) mod sysctl;
#[cfg(all(test, target_os = "linux"))]
pub(crate) mod test_network;
#[cfg(target_os = "linux")]
pub(crate) mod tun_ioctl;
#[cfg(target_os = "macos")]
pub(crate) mod user;
#[cfg(target_os = "macos")]
pub(crate) mod utun;
