//! The system calls that the standard library does not wrap, each as a safe function.

use std::ffi::CString;
use std::io;
use std::net::TcpListener;
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

/// Moves the calling thread into new namespaces.
pub(crate) fn unshare(kinds: libc::c_int) -> io::Result<()> {
    // SAFETY: takes only flags; what it changes belongs to the calling thread.
    checked(unsafe { libc::unshare(kinds) })
}

/// Moves the calling thread into an existing namespace.
pub(crate) fn setns(namespace: BorrowedFd<'_>, kind: libc::c_int) -> io::Result<()> {
    // SAFETY: the descriptor is open for as long as it is borrowed.
    checked(unsafe { libc::setns(namespace.as_raw_fd(), kind) })
}

/// `mount(2)`. `kind` is a file system type, empty for a bind mount or a change of flags.
pub(crate) fn mount(
    source: &Path,
    target: &Path,
    kind: &str,
    flags: libc::c_ulong,
    options: &str,
) -> io::Result<()> {
    let source = CString::new(source.as_os_str().as_bytes())?;
    let target = CString::new(target.as_os_str().as_bytes())?;
    let kind = CString::new(kind)?;
    let options = CString::new(options)?;
    // SAFETY: four strings that end in NUL and outlive the call.
    checked(unsafe {
        libc::mount(
            source.as_ptr(),
            target.as_ptr(),
            kind.as_ptr(),
            flags,
            options.as_ptr().cast::<libc::c_void>(),
        )
    })
}

/// Makes a character device node.
pub(crate) fn character_device(
    path: &Path,
    mode: libc::mode_t,
    major: u32,
    minor: u32,
) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: a string that ends in NUL and outlives the call.
    checked(unsafe {
        libc::mknod(
            path.as_ptr(),
            libc::S_IFCHR | mode,
            libc::makedev(major, minor),
        )
    })
}

/// Gives up root in a process that is about to start a program: no groups, one identity.
pub(crate) fn become_user(uid: libc::uid_t, gid: libc::gid_t) -> io::Result<()> {
    // SAFETY: a null list of length 0 is not read.
    checked(unsafe { libc::setgroups(0, std::ptr::null()) })?;
    // SAFETY: takes only numbers.
    checked(unsafe { libc::setresgid(gid, gid, gid) })?;
    // SAFETY: takes only numbers.
    checked(unsafe { libc::setresuid(uid, uid, uid) })
}

/// Changes the working directory without allocating: callable between `fork` and `exec`.
pub(crate) fn change_directory(path: &CString) -> io::Result<()> {
    // SAFETY: a string that ends in NUL and outlives the call.
    checked(unsafe { libc::chdir(path.as_ptr()) })
}

/// Whom a signal reaches.
#[derive(Clone, Copy)]
pub(crate) enum Receiver {
    Process(u32),
    Group(u32),
}

pub(crate) fn send_signal(receiver: Receiver, signal: libc::c_int) -> io::Result<()> {
    let (Receiver::Process(number) | Receiver::Group(number)) = receiver;
    let pid = libc::pid_t::try_from(number).map_err(io::Error::other)?;
    // 0 and 1 mean "all of mine" and init (as a group: everything).
    if pid < 2 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let pid = match receiver {
        Receiver::Process(_) => pid,
        Receiver::Group(_) => -pid,
    };
    // SAFETY: takes only numbers.
    checked(unsafe { libc::kill(pid, signal) })
}

/// A TAP device of this name in the network namespace of the calling thread; reads and writes never wait.
pub(crate) fn tap(name: &str) -> io::Result<OwnedFd> {
    // SAFETY: a string that ends in NUL and outlives the call.
    let descriptor = unsafe {
        libc::open(
            c"/dev/net/tun".as_ptr(),
            libc::O_RDWR | libc::O_NONBLOCK | libc::O_CLOEXEC,
        )
    };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was opened a moment ago and belongs to nobody else.
    let device = unsafe { OwnedFd::from_raw_fd(descriptor) };
    let mut request = libc::ifreq {
        ifr_name: [0; libc::IFNAMSIZ],
        ifr_ifru: libc::__c_anonymous_ifr_ifru {
            ifru_flags: libc::c_short::try_from(libc::IFF_TAP | libc::IFF_NO_PI)
                .map_err(io::Error::other)?,
        },
    };
    // The last place stays for the NUL.
    let places = request.ifr_name.iter_mut().take(libc::IFNAMSIZ - 1);
    for (place, byte) in places.zip(name.bytes()) {
        *place = libc::c_char::from_ne_bytes([byte]);
    }
    // SAFETY: the pointer is to an `ifreq`, and the descriptor is open.
    checked(unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETIFF, &raw mut request) })?;
    Ok(device)
}

/// Puts the calling thread before all usual ones where they want the processor at once.
pub(crate) fn hurry() -> io::Result<()> {
    const FIRST: libc::c_int = -20;
    const THIS_THREAD: libc::id_t = 0;
    // SAFETY: takes only numbers.
    checked(unsafe { libc::setpriority(libc::PRIO_PROCESS, THIS_THREAD, FIRST) })
}

/// Which descriptor [`wait_readable`] woke up for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readable {
    /// The first, or none in time.
    First,
    /// The second, whatever else.
    Second,
}

/// Waits until one of two descriptors can be read, or for so long.
pub(crate) fn wait_readable(
    first: impl AsFd,
    second: impl AsFd,
    patience: Option<Duration>,
) -> io::Result<Readable> {
    let polled = |descriptor: BorrowedFd<'_>| libc::pollfd {
        fd: descriptor.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    let mut both = [polled(first.as_fd()), polled(second.as_fd())];
    let patience = patience.map(|patience| libc::timespec {
        tv_sec: libc::time_t::try_from(patience.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: patience.subsec_nanos().into(),
    });
    let patience = patience
        .as_ref()
        .map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: two `pollfd` of open descriptors, a time that outlives the call or none, and no signal mask.
    let woken = unsafe { libc::ppoll(both.as_mut_ptr(), 2, patience, std::ptr::null()) };
    if woken < 0 {
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    Ok(match both[1].revents {
        0 => Readable::First,
        _ => Readable::Second,
    })
}

/// Lets so many new connections wait for `accept` instead of what the standard library asks for.
pub(crate) fn lengthen_backlog(listener: &TcpListener, connections: libc::c_int) -> io::Result<()> {
    // SAFETY: the listener's descriptor is open for as long as it is borrowed.
    checked(unsafe { libc::listen(listener.as_raw_fd(), connections) })
}

/// Makes a thread that waits in `accept` return with an error.
pub(crate) fn stop_accepting(listener: &TcpListener) -> io::Result<()> {
    // SAFETY: the listener's descriptor is open for as long as it is borrowed.
    checked(unsafe { libc::shutdown(listener.as_raw_fd(), libc::SHUT_RD) })
}

/// Lets the next close of this connection send an RST instead of a FIN.
pub(crate) fn reset_on_close(stream: &TcpStream) -> io::Result<()> {
    let at_once = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    let length = libc::socklen_t::try_from(size_of_val(&at_once)).map_err(io::Error::other)?;
    // SAFETY: the pointer is to a `linger` of the length given, and the descriptor is open while it is borrowed.
    checked(unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const at_once).cast::<libc::c_void>(),
            length,
        )
    })
}

fn checked(result: libc::c_int) -> io::Result<()> {
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
