//! One machine of the lab: a network namespace with a view of the file system of its own.

use std::ffi::{CString, OsStr};
use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, Result, anyhow};

use crate::host_view;
use crate::process::{Background, Finished};
use crate::{stale, sys};

/// Where programs are looked for: never below root's home, which other users cannot read.
const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A user id without a login: what an ordinary user is to the kernel. The group has the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User(pub u32);

impl User {
    /// The user that runs things unless a test says otherwise.
    pub const ROOT: Self = Self(0);
    /// An ordinary user.
    pub const ALICE: Self = Self(64_001);
    /// Another ordinary user.
    pub const BOB: Self = Self(64_002);
}

/// A network namespace and the mount namespace that goes with it.
///
/// Lives as long as the value, and what still runs inside.
#[derive(Debug)]
pub struct Namespace {
    net: OwnedFd,
    mounts: OwnedFd,
}

impl Namespace {
    /// A machine with nothing but its loopback. `folder` is where its private files are kept.
    pub(crate) fn new(folder: &Path) -> Result<Self> {
        let folder = folder.to_path_buf();
        // A thread of its own leaves this one where it is. `unshare` of mounts also parts it from our working directory.
        let machine = thread::spawn(move || -> Result<Self> {
            sys::unshare(libc::CLONE_NEWNET | libc::CLONE_NEWNS)
                .context("cannot make namespaces: the lab needs root (CAP_SYS_ADMIN)")?;
            host_view::arrange(&folder)?;
            Ok(Self {
                net: own_namespace("net")?,
                mounts: own_namespace("mnt")?,
            })
        });
        let machine = machine
            .join()
            .map_err(|_| anyhow!("the thread that made a namespace panicked"))??;
        machine.ip("link set lo up")?;
        Ok(machine)
    }

    /// A program that will run on this machine, as root, with a clean environment.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        self.command_as(User::ROOT, program)
    }

    /// A program that will run on this machine as this user.
    pub fn command_as(&self, user: User, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        let kept =
            ["RUST_LOG", "RUST_BACKTRACE", "TERM"].map(|name| (name, std::env::var_os(name)));
        command
            .env_clear()
            .env("PATH", SYSTEM_PATH)
            .env("HOME", "/")
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::null());
        command.envs(
            kept.into_iter()
                .filter_map(|(name, value)| Some((name, value?))),
        );
        command.env(stale::MARK, stale::own_mark());
        let machine = self
            .net
            .try_clone()
            .and_then(|net| Ok((net, self.mounts.try_clone()?)));
        // Entering another mount namespace leads to its root directory; the program starts where we are.
        let folder =
            std::env::current_dir().map(|folder| CString::new(folder.as_os_str().as_bytes()));
        let enter = move || {
            let (net, mounts) = machine
                .as_ref()
                .map_err(|error| std::io::Error::from(error.kind()))?;
            sys::setns(net.as_fd(), libc::CLONE_NEWNET)?;
            sys::setns(mounts.as_fd(), libc::CLONE_NEWNS)?;
            if let Ok(Ok(folder)) = &folder {
                sys::change_directory(folder)?;
            }
            match user {
                User::ROOT => Ok(()),
                User(id) => sys::become_user(id, id),
            }
        };
        // SAFETY: between `fork` and `exec` the closure makes system calls only; it neither allocates nor locks.
        unsafe { command.pre_exec(enter) };
        command
    }

    /// Runs a bash script on this machine to its end. A pipe fails with its first failing part.
    pub fn bash(&self, script: &str) -> Result<Finished> {
        self.bash_as(User::ROOT, script)
    }

    /// The same, as this user.
    pub fn bash_as(&self, user: User, script: &str) -> Result<Finished> {
        Finished::of(
            self.command_as(user, "/bin/bash")
                .args(["-o", "pipefail", "-c", script]),
        )
    }

    /// Starts a bash script that is killed, with all it started, when the guard is dropped.
    pub fn background(&self, script: &str) -> Result<Background> {
        self.background_as(User::ROOT, script)
    }

    /// The same, as this user.
    pub fn background_as(&self, user: User, script: &str) -> Result<Background> {
        Background::start(
            self.command_as(user, "/bin/bash")
                .args(["-o", "pipefail", "-c", script]),
        )
    }

    /// Runs one `ip` command.
    pub fn ip(&self, arguments: &str) -> Result<()> {
        Finished::of(self.command("ip").args(arguments.split_whitespace()))?
            .success()
            .map(drop)
    }

    /// Writes one kernel setting, e.g. `net.ipv4.ip_forward`.
    ///
    /// In a name the dots separate; `/` stands for a dot of an interface's name, as with `sysctl`.
    pub fn sysctl(&self, name: &str, value: &str) -> Result<()> {
        let swapped = name.chars().map(|letter| match letter {
            '.' => '/',
            '/' => '.',
            other => other,
        });
        let path = Path::new("/proc/sys").join(swapped.collect::<String>());
        let value = value.to_owned();
        self.inside(move || {
            fs::write(&path, value).with_context(|| format!("cannot write {}", path.display()))
        })?
    }

    /// Calls a function on a thread whose sockets belong to this machine. The file system is the caller's.
    pub fn inside<T: Send>(&self, function: impl FnOnce() -> T + Send) -> Result<T> {
        thread::scope(|scope| {
            scope
                .spawn(|| {
                    self.move_here()?;
                    Ok(function())
                })
                .join()
                .map_err(|_| anyhow!("a function called inside a namespace panicked"))?
        })
    }

    /// Starts a thread whose sockets belong to this machine.
    pub(crate) fn thread(
        &self,
        function: impl FnOnce() + Send + 'static,
    ) -> Result<thread::JoinHandle<()>> {
        let net = self.net.try_clone()?;
        Ok(thread::spawn(move || {
            // A failure would show as a service that nobody reaches; the descriptor is a network namespace, so it cannot.
            if sys::setns(net.as_fd(), libc::CLONE_NEWNET).is_ok() {
                function();
            }
        }))
    }

    /// Path by which `ip link set .. netns` and `nsenter --net=` find this machine.
    pub fn net_path(&self) -> String {
        path_of(&self.net)
    }

    /// Path by which `nsenter --mount=` finds this machine's file system.
    pub fn mount_path(&self) -> String {
        path_of(&self.mounts)
    }

    fn move_here(&self) -> Result<()> {
        sys::setns(self.net.as_fd(), libc::CLONE_NEWNET)
            .context("cannot enter a network namespace of the lab")
    }
}

fn own_namespace(kind: &str) -> Result<OwnedFd> {
    let path = format!("/proc/thread-self/ns/{kind}");
    Ok(File::open(&path)
        .with_context(|| format!("cannot open {path}"))?
        .into())
}

fn path_of(descriptor: &OwnedFd) -> String {
    format!("/proc/{}/fd/{}", std::process::id(), descriptor.as_raw_fd())
}
