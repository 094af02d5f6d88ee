//! A network namespace for one test: nothing that a test does reaches the machine's own network.

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

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

/// Adds an address to a device and waits until packets to it are taken in: the kernel inserts the local route of an IPv6
/// address from a work queue, after the address itself.
pub(crate) fn add_address(address: &str, device: &str) {
    let (host, _) = address
        .split_once('/')
        .expect("an address with its prefix length");
    if !host.contains(':') {
        ip(&format!("address add {address} dev {device}"));
        return;
    }
    ip(&format!("address add {address} dev {device} nodad"));
    let deadline = Instant::now() + Duration::from_secs(10);
    while !ip("-6 route show table local").contains(&format!("local {host} dev {device}")) {
        assert!(Instant::now() < deadline, "{host} is not local to {device}");
    }
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

/// A socket that takes datagrams at the far end of a [`PairedNetworks`], and waits for none longer than a few seconds.
pub(crate) fn far_socket() -> UdpSocket {
    let socket = UdpSocket::bind("192.0.2.2:9000").expect("the far side has its address");
    socket
        .set_read_timeout(Some(Duration::from_secs(5)))
        .expect("a time-out that is not zero");
    socket
}

/// Two network namespaces that a veth pair joins: 192.0.2.1 and 2001:db8::1 here, 192.0.2.2 and 2001:db8::2 there.
pub(crate) struct PairedNetworks;

impl PairedNetworks {
    /// Opens something `there` (sockets stay in the namespace they are made in), then runs `here` with it.
    pub(crate) fn run<S: Send, T: Send>(
        there: impl FnOnce() -> S + Send,
        here: impl FnOnce(S) -> T + Send,
    ) -> T {
        in_new_network(|| {
            let (ready_sender, ready) = std::sync::mpsc::channel();
            let (moved_sender, moved) = std::sync::mpsc::channel::<()>();
            std::thread::scope(|scope| {
                let far = scope.spawn(move || {
                    enter_new_network().expect("network tests run as root");
                    // SAFETY: gettid takes no argument and cannot fail.
                    ready_sender
                        .send(unsafe { libc::gettid() })
                        .expect("the near side waits");
                    moved.recv().expect("the near side made the pair");
                    ip("link set dev far0 up");
                    add_address("192.0.2.2/24", "far0");
                    add_address("2001:db8::2/64", "far0");
                    there()
                });
                let thread = ready.recv().expect("the far side has its namespace");
                ip(&format!(
                    "link add near0 type veth peer name far0 netns {thread}"
                ));
                ip("link set dev near0 up");
                add_address("192.0.2.1/24", "near0");
                add_address("2001:db8::1/64", "near0");
                moved_sender.send(()).expect("the far side waits");
                match far.join() {
                    Ok(opened) => here(opened),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            })
        })
    }
}
