//! A network namespace for one test: nothing that a test does reaches the machine's own network.

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

/// Runs `test` on a thread of its own in a fresh network namespace, with loopback up. The namespace is gone when the
/// thread and everything it opened are.
pub(crate) fn in_new_network<T: Send>(test: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            enter_new_network().expect("network tests run as root");
            crate::link::configure(
                "lo",
                &crate::link::LinkSettings {
                    up: true,
                    ..Default::default()
                },
            )
            .expect("lo up");
            test()
        });
        match thread.join() {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Moves the calling thread, and only it, into a network namespace of its own.
pub(crate) fn enter_new_network() -> io::Result<()> {
    // SAFETY: unshare takes flags by value; CLONE_NEWNET affects the calling thread only.
    let result = unsafe { libc::unshare(libc::CLONE_NEWNET) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Runs `ip` in the calling thread's namespace and gives what it prints.
pub(crate) fn ip(arguments: &str) -> String {
    let output = std::process::Command::new("ip")
        .args(arguments.split_whitespace())
        .output()
        .expect("iproute2 is installed");
    assert!(
        output.status.success(),
        "ip {arguments}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Makes each send of `socket` several datagrams of `size` bytes (`UDP_SEGMENT`).
pub(crate) fn set_udp_segment(socket: &UdpSocket, size: libc::c_int) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<libc::c_int>()).map_err(io::Error::other)?;
    // SAFETY: the option reads one `int`, which outlives the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_UDP,
            libc::UDP_SEGMENT,
            (&raw const size).cast(),
            length,
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
