//! Bypass on Linux: `SO_MARK` and `SO_BINDTODEVICE` (socket(7)).

use std::io;
use std::os::fd::BorrowedFd;

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::Bypass;

pub(super) fn apply(bypass: &Bypass, fd: BorrowedFd<'_>) -> io::Result<()> {
    let socket = SockRef::from(&fd);
    if let Some(mark) = bypass.mark {
        let others = socket.mark()? & !mark.mask;
        socket.set_mark(others | (mark.value & mark.mask))?;
    }
    if let Some(device) = &bypass.device {
        socket.bind_device(Some(device.as_bytes()))?;
    }
    Ok(())
}

/// The kernel takes the mode with the kind: two system calls less.
pub(super) fn open_stream(domain: Domain) -> io::Result<Socket> {
    Socket::new(domain, Type::STREAM.nonblocking(), Some(Protocol::TCP))
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use tidegate_routing::plan::{MARK, Mark};

    use super::*;
    use crate::sys::test_network::in_new_network;

    #[test]
    fn a_mark_leaves_the_bits_outside_its_mask() {
        in_new_network(|| {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            SockRef::from(&socket).set_mark(0x0100_00ff).unwrap();
            let mark = Mark {
                value: 0x0200_0010,
                mask: 0x0300_00f0,
            };
            Bypass::marked(mark).apply(&socket).unwrap();
            assert_eq!(SockRef::from(&socket).mark().unwrap(), 0x0200_001f);
        });
    }

    #[test]
    fn no_bypass_touches_nothing() {
        in_new_network(|| {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            Bypass::none().apply(&socket).unwrap();
            assert_eq!(SockRef::from(&socket).mark().unwrap(), 0);
            assert_eq!(SockRef::from(&socket).device().unwrap(), None);
        });
    }

    #[test]
    fn a_device_binds_the_socket_and_a_missing_one_is_an_error() {
        in_new_network(|| {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            Bypass::marked(MARK).through("lo").apply(&socket).unwrap();
            assert_eq!(
                SockRef::from(&socket).device().unwrap().as_deref(),
                Some(&b"lo"[..])
            );
            let error = Bypass::none()
                .through("nosuch0")
                .apply(&socket)
                .unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::ENODEV));
        });
    }
}
