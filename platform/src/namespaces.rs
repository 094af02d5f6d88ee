//! One command in namespaces of its own: exec capture.
//!
//! [`Contained::spawn`] starts the running binary again with [`CONTAIN_ARGUMENT`]. That second process, still with a
//! single thread, enters new user, network and mount namespaces, makes a TUN device in there, hides what would lead
//! round it, and passes the device and some netlink sockets back. It then waits for [`ContainedCommand::start`] and
//! becomes the command, so that its process id, terminal, process group and exit status are the command's. The caller
//! stays in the namespaces it was in. Nothing has to be cleaned up: all of it ends with the processes in it.
//!
//! No root is needed, and as root it works too. What holds inside, and what does not:
//! - The only way out of the network namespace is the device. No capability survives for an ordinary user; root keeps
//!   those that programs need to drop privileges, and none over network, mounts or other processes.
//! - UNIX sockets with a path cross network namespaces, so `/tmp`, `/run`, `/var/run` and `$XDG_RUNTIME_DIR` are empty
//!   inside and other sockets of that kind are covered up, as far as they were there at the start. Sockets that appear
//!   later elsewhere, or belong to other network namespaces, are not.
//! - There is no pid namespace. Children that outlive the command keep running without anyone who serves their device.
//! - Root inside still owns root's files: this is a capture, not a prison for a hostile root program.

use std::ffi::OsString;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use thiserror::Error;

mod linux;
mod refusal;
mod unix_sockets;

#[cfg(any(fuzzing, test))]
pub(crate) use linux::fuzzing;
pub use linux::{Contained, ContainedCommand, contain_main, exit_code};
pub use refusal::Refusal;

/// First argument of the binary when it is to call [`contain_main`]; the second is the number of a descriptor.
pub const CONTAIN_ARGUMENT: &str = "__contain";

/// The command's IPv4 address inside (RFC 7335: a link of which no other host knows).
pub const ADDRESS_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 2);
/// The gateway's IPv4 address inside: next hop and name server.
pub const GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 1);
/// Prefix length of both.
pub const PREFIX_V4: u8 = 29;
/// The command's IPv6 address inside.
pub const ADDRESS_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x7469, 0x6465, 0x6761, 0, 0, 0, 2);
/// The gateway's IPv6 address inside.
pub const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x7469, 0x6465, 0x6761, 0, 0, 0, 1);
/// Prefix length of both.
pub const PREFIX_V6: u8 = 64;

/// What to run, and in what surroundings.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ContainConfig {
    /// The program: a path, or a name to be found in `PATH`.
    pub program: OsString,
    /// Its arguments, without its own name.
    pub arguments: Vec<OsString>,
    /// Name of the TUN device inside.
    pub device: String,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// Whether packets carry a virtio header. What the device offers is probed when the descriptor is adopted.
    pub virtio_header: bool,
    /// Whether the command has an IPv6 address and route.
    pub ipv6: bool,
    /// UNIX sockets that stay reachable, each by its path.
    pub sockets: Vec<PathBuf>,
    /// Search domains for its resolver.
    pub search: Vec<String>,
    /// How many `NETLINK_SOCK_DIAG` sockets to pass out: one for each thread that looks up sockets.
    pub diag_sockets: u8,
}

/// What was done to the mounts inside.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainReport {
    /// UNIX sockets that were covered up, beside those in private directories.
    pub covered: Vec<PathBuf>,
    /// Directories that are private inside.
    pub private: Vec<PathBuf>,
    /// What could not be done, in words: the command runs, but the user should know.
    pub warnings: Vec<String>,
}

/// What the second process was doing when it failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ContainStep {
    /// Reading its instructions.
    Instructions,
    /// Entering namespaces.
    Namespaces,
    /// Opening the TUN device.
    Device,
    /// Configuring links, addresses and routes.
    Network,
    /// Opening netlink sockets.
    Sockets,
    /// Changing mounts.
    Mounts,
    /// Giving up privileges.
    Privileges,
    /// Becoming the command.
    Exec,
}

/// A command could not be contained.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ContainError {
    /// The host forbids it. The text says why and what helps.
    #[error("{refusal} ({source})\n{}", refusal.remedy())]
    Refused {
        /// Why.
        refusal: Refusal,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// There is no such program.
    #[error("{}: command not found", program.display())]
    NotFound {
        /// The program.
        program: OsString,
    },
    /// The program is there but cannot be run.
    #[error("{}: cannot be run: {source}", program.display())]
    NotExecutable {
        /// The program.
        program: OsString,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// One step of the second process failed.
    #[error("cannot set up the command's surroundings ({step:?}): {detail}")]
    Setup {
        /// Which step.
        step: ContainStep,
        /// What failed and why.
        detail: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The second process ended without a word.
    #[error(
        "the process that was to become the command died early: it was killed, or this binary does not handle {CONTAIN_ARGUMENT}"
    )]
    Died,
    /// The second process could not be started or talked to.
    #[error("cannot start the process that becomes the command: {0}")]
    Start(#[source] io::Error),
}

impl ContainError {
    /// The exit status that a shell would give: 127 not found, 126 not executable, 125 for what failed before.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NotFound { .. } => 127,
            Self::NotExecutable { .. } => 126,
            Self::Refused { .. } | Self::Setup { .. } | Self::Died | Self::Start(_) => 125,
        }
    }
}
