//! The second process's side: enter the namespaces, furnish them, pass the device out, become the command.

use std::convert::Infallible;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType, netlink};
use rustix::thread::UnshareFlags;

use super::channel::{Channel, FromSecond, ToSecond};
use super::{mounts, network};
use crate::namespaces::{ContainConfig, ContainReport, ContainStep};
use crate::privileges::{self, CommandOwner};
use crate::sys::spawn;
use crate::tun::TunError;

/// A step that failed.
struct Failed {
    step: ContainStep,
    detail: String,
    source: io::Error,
}

fn failed(step: ContainStep, detail: &str) -> impl FnOnce(io::Error) -> Failed {
    move |source| Failed {
        step,
        detail: detail.to_owned(),
        source,
    }
}

/// What `main` calls, before it starts any thread, when its first argument is [`super::CONTAIN_ARGUMENT`]. `descriptor`
/// is its second argument. Does not return if all goes well: the process becomes the command.
///
/// # Errors
/// What went wrong, for an exit status that is not 0. The first process knows already and tells the user.
pub fn contain_main(descriptor: &OsStr) -> io::Result<Infallible> {
    let malformed = || {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            "not for direct use: tidegate exec starts this",
        )
    };
    let descriptor: RawFd = descriptor
        .to_str()
        .and_then(|text| text.parse().ok())
        .ok_or_else(malformed)?;
    let mut channel = Channel::from(spawn::take_over(descriptor)?);
    match become_command(&mut channel) {
        Ok(never) => match never {},
        Err(Failed {
            step,
            detail,
            source,
        }) => {
            let code = source.raw_os_error().unwrap_or(libc::EIO);
            let detail = if source.raw_os_error().is_some() {
                detail
            } else {
                format!("{detail}: {source}")
            };
            channel.send(&FromSecond::Failed { step, detail, code }, &[])?;
            Err(source)
        }
    }
}

fn become_command(channel: &mut Channel) -> Result<Infallible, Failed> {
    let ToSecond::Config(config) = receive(channel)? else {
        return Err(out_of_turn());
    };
    // Both belong to the network namespace that is about to be left.
    let socket_table = std::fs::read("/proc/net/unix").unwrap_or_default();
    let uid = rustix::process::geteuid();

    spawn::unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWNET | UnshareFlags::NEWNS)
        .map_err(failed(ContainStep::Namespaces, "unshare"))?;
    send(channel, &FromSecond::Unshared, &[])?;
    let ToSecond::Mapped = receive(channel)? else {
        return Err(out_of_turn());
    };

    let mut report = ContainReport::default();
    let device = network::open_device(&config).map_err(device_failure)?;
    let device_index = network::configure(&config, &mut report.warnings)
        .map_err(failed(ContainStep::Network, "links, addresses and routes"))?;
    let program = find_program(&config.program);
    mounts::isolate(&config, program.as_deref(), &socket_table, &mut report).map_err(
        |(detail, source)| Failed {
            step: ContainStep::Mounts,
            detail,
            source,
        },
    )?;
    let sockets = netlink_sockets(&config).map_err(failed(ContainStep::Sockets, "netlink"))?;
    let mut descriptors = vec![device.as_fd()];
    descriptors.extend(sockets.iter().map(AsFd::as_fd));
    send(
        channel,
        &FromSecond::Ready {
            report,
            device_index,
        },
        &descriptors,
    )?;
    drop((device, sockets));

    let ToSecond::Go = receive(channel)? else {
        return Err(out_of_turn());
    };
    let owner = if uid.is_root() {
        CommandOwner::Root
    } else {
        CommandOwner::OrdinaryUser
    };
    privileges::confine_command(owner).map_err(failed(ContainStep::Privileges, "capabilities"))?;
    let mut source = Command::new(&config.program).args(&config.arguments).exec();
    if program.is_none() {
        // The system's search also says EACCES if one directory of PATH cannot be looked into.
        source = io::Error::from_raw_os_error(libc::ENOENT);
    }
    Err(Failed {
        step: ContainStep::Exec,
        detail: "exec".to_owned(),
        source,
    })
}

fn receive(channel: &mut Channel) -> Result<ToSecond, Failed> {
    let received = channel.receive().map_err(failed(
        ContainStep::Instructions,
        "reading from the first process",
    ))?;
    received.map(|(message, _)| message).ok_or_else(out_of_turn)
}

fn send(
    channel: &mut Channel,
    message: &FromSecond,
    descriptors: &[std::os::fd::BorrowedFd<'_>],
) -> Result<(), Failed> {
    channel.send(message, descriptors).map_err(failed(
        ContainStep::Instructions,
        "writing to the first process",
    ))
}

fn out_of_turn() -> Failed {
    failed(ContainStep::Instructions, "the first process")(io::Error::from(
        io::ErrorKind::UnexpectedEof,
    ))
}

/// Keeps the error number, by which the cause is found.
fn device_failure(error: TunError) -> Failed {
    let code = match &error {
        TunError::NoDevice => libc::ENOENT,
        TunError::NotPermitted { .. } => libc::EACCES,
        TunError::System { source, .. } => source.raw_os_error().unwrap_or(libc::EIO),
        TunError::BadName(_) | TunError::Busy(_) | TunError::NotTun(_) | TunError::Link(_) => {
            libc::EINVAL
        }
    };
    failed(ContainStep::Device, &error.to_string())(io::Error::from_raw_os_error(code))
}

/// Route first, then as many for `sock_diag` as were wished.
fn netlink_sockets(config: &ContainConfig) -> io::Result<Vec<OwnedFd>> {
    const NETLINK_ROUTE: Option<Protocol> = None; // number 0
    let wished = std::iter::repeat_n(Some(netlink::SOCK_DIAG), usize::from(config.diag_sockets));
    std::iter::once(NETLINK_ROUTE)
        .chain(wished)
        .map(|protocol| {
            let kind = SocketType::RAW;
            Ok(rustix::net::socket_with(
                AddressFamily::NETLINK,
                kind,
                SocketFlags::CLOEXEC,
                protocol,
            )?)
        })
        .collect()
}

/// Where the program is, as `exec` will find it.
fn find_program(program: &OsStr) -> Option<PathBuf> {
    let path = Path::new(program);
    if path.components().count() > 1 {
        return path.canonicalize().ok();
    }
    let directories = std::env::var_os("PATH")?;
    std::env::split_paths(&directories)
        .map(|directory| directory.join(path))
        .find_map(|path| path.canonicalize().ok())
}
