//! The first process's side: start the second, map its users, take over its device.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus};

use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::{CONTAIN_ARGUMENT, ContainConfig, ContainError, ContainReport, ContainStep, Refusal};
use crate::apps::DiagSocket;
use crate::sys::spawn;

mod channel;
#[cfg(any(fuzzing, test))]
pub(crate) mod fuzzing;
mod id_map;
mod mounts;
mod network;
mod second_process;

use channel::{Channel, FromSecond, ToSecond};
pub use second_process::contain_main;

/// A process in its namespaces that waits to become the command, and what leads into them.
#[derive(Debug)]
pub struct Contained {
    /// The TUN device inside: configured and up, blocking.
    pub tun: OwnedFd,
    /// Sockets that ask for the sockets inside, as many as were wished.
    pub diag: Vec<DiagSocket>,
    /// A `NETLINK_ROUTE` socket of the network namespace inside.
    pub route: OwnedFd,
    /// Index of the device inside.
    pub device_index: u32,
    /// What was hidden.
    pub report: ContainReport,
    /// The command to be.
    pub command: ContainedCommand,
}

/// A contained command: first waiting, after [`ContainedCommand::start`] running.
///
/// Dropped before the start it is ended; dropped later it runs on, without anyone who serves its device.
///
/// It shares the caller's terminal and process group, so Ctrl-C and Ctrl-\\ reach both: the caller has to outlive them (catch
/// or ignore SIGINT and SIGQUIT *after* [`ContainedCommand::start`], since ignored signals are inherited), and to pass on
/// what is sent to it alone (SIGTERM, SIGHUP) by [`ContainedCommand::signal`].
#[derive(Debug)]
pub struct ContainedCommand {
    child: Child,
    channel: Option<Channel>,
    program: std::ffi::OsString,
}

impl Contained {
    /// Starts the second process and waits until its surroundings are made.
    ///
    /// # Errors
    /// See [`ContainError`]; nothing is left behind.
    pub fn spawn(config: &ContainConfig) -> Result<Self, ContainError> {
        let (mut command, mut channel) = start_second(config)?;
        channel
            .send(&ToSecond::Config(config.clone()), &[])
            .map_err(ContainError::Start)?;
        expect_unshared(&mut channel)?;
        id_map::write(command.child.id())
            .map_err(|source| failure(ContainStep::Namespaces, "uid_map", source))?;
        channel
            .send(&ToSecond::Mapped, &[])
            .map_err(ContainError::Start)?;

        let (ready, descriptors) = receive(&mut channel)?;
        let FromSecond::Ready {
            report,
            device_index,
        } = ready
        else {
            return Err(ContainError::Died);
        };
        let mut descriptors = descriptors.into_iter();
        let (Some(tun), Some(route)) = (descriptors.next(), descriptors.next()) else {
            return Err(ContainError::Died);
        };
        let diag = descriptors.map(DiagSocket::from).collect();
        command.channel = Some(channel);
        Ok(Self {
            tun,
            diag,
            route,
            device_index,
            report,
            command,
        })
    }
}

fn start_second(config: &ContainConfig) -> Result<(ContainedCommand, Channel), ContainError> {
    let (ours, theirs) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .map_err(|error| ContainError::Start(error.into()))?;
    let mut second = Command::new("/proc/self/exe");
    second.arg0("tidegate").arg(CONTAIN_ARGUMENT);
    spawn::hand_over(&mut second, theirs);
    let child = second.spawn().map_err(ContainError::Start)?;
    drop(second); // and with it our copy of the other end, so that the second process's death is seen
    Ok((
        ContainedCommand {
            child,
            channel: None,
            program: config.program.clone(),
        },
        Channel::from(ours),
    ))
}

fn expect_unshared(channel: &mut Channel) -> Result<(), ContainError> {
    match receive(channel)? {
        (FromSecond::Unshared, _) => Ok(()),
        _ => Err(ContainError::Died),
    }
}

/// The next message that is no failure.
fn receive(channel: &mut Channel) -> Result<(FromSecond, Vec<OwnedFd>), ContainError> {
    match channel.receive().map_err(ContainError::Start)? {
        None => Err(ContainError::Died),
        Some((FromSecond::Failed { step, detail, code }, _)) => {
            Err(failure(step, &detail, io::Error::from_raw_os_error(code)))
        }
        Some(message) => Ok(message),
    }
}

fn failure(step: ContainStep, detail: &str, source: io::Error) -> ContainError {
    match Refusal::diagnose(&step, &source, Path::new("/proc/sys")) {
        Some(refusal) => ContainError::Refused { refusal, source },
        None => ContainError::Setup {
            step,
            detail: format!("{detail}: {source}"),
            source,
        },
    }
}

impl ContainedCommand {
    /// Process id of the command, in the caller's pid namespace.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Lets the process become the command, and waits until it has.
    ///
    /// # Errors
    /// [`ContainError::NotFound`] or [`ContainError::NotExecutable`] if there is no such command.
    pub fn start(&mut self) -> Result<(), ContainError> {
        let Some(mut channel) = self.channel.take() else {
            return Ok(());
        };
        channel
            .send(&ToSecond::Go, &[])
            .map_err(|_| ContainError::Died)?;
        // The channel closes on exec: no word is good news.
        match channel.receive().map_err(ContainError::Start)? {
            None => Ok(()),
            Some((
                FromSecond::Failed {
                    step: ContainStep::Exec,
                    code,
                    ..
                },
                _,
            )) => Err(self.not_executed(code)),
            Some((FromSecond::Failed { step, detail, code }, _)) => {
                Err(failure(step, &detail, io::Error::from_raw_os_error(code)))
            }
            Some(_) => Err(ContainError::Died),
        }
    }

    fn not_executed(&self, code: i32) -> ContainError {
        let program = self.program.clone();
        match code {
            libc::ENOENT | libc::ENOTDIR => ContainError::NotFound { program },
            _ => ContainError::NotExecutable {
                program,
                source: io::Error::from_raw_os_error(code),
            },
        }
    }

    /// Sends a signal to the command, and only to it: what the terminal sends goes to its whole process group anyway.
    ///
    /// # Errors
    /// The system's; `ESRCH` once the command has been waited for.
    pub fn signal(&self, number: i32) -> io::Result<()> {
        let missing = || io::Error::from_raw_os_error(libc::EINVAL);
        let signal = rustix::process::Signal::from_named_raw(number).ok_or_else(missing)?;
        let pid = rustix::process::Pid::from_child(&self.child);
        Ok(rustix::process::kill_process(pid, signal)?)
    }

    /// A descriptor that becomes readable when the command ends.
    ///
    /// # Errors
    /// The system's.
    pub fn pidfd(&self) -> io::Result<OwnedFd> {
        let pid = rustix::process::Pid::from_child(&self.child);
        Ok(rustix::process::pidfd_open(
            pid,
            rustix::process::PidfdFlags::empty(),
        )?)
    }

    /// Waits for the command's end.
    ///
    /// # Errors
    /// The system's.
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        self.child.wait()
    }

    /// The command's exit status, if it has ended.
    ///
    /// # Errors
    /// The system's.
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }
}

impl Drop for ContainedCommand {
    fn drop(&mut self) {
        if self.channel.take().is_some() {
            // It ends by itself when the channel closes; the wait only takes its entry out of the process table.
            let _ = self.child.wait();
        }
    }
}

/// The exit status to pass on: the command's own, or as shells do 128 and the number of the signal that ended it.
pub fn exit_code(status: ExitStatus) -> u8 {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .unwrap_or(255);
    u8::try_from(code & 0xff).unwrap_or(255)
}

/// What `/proc` says of the calling process under `name`.
fn own_proc_file(name: &str) -> io::Result<String> {
    fs::read_to_string(Path::new("/proc/self").join(name))
}
