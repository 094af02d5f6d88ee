//! Settings of a network interface on macOS (netintro(4), net/if.h, sys/sockio.h).

use std::io;
use std::os::fd::AsRawFd;

use libc::{c_short, c_ulong};
use socket2::{Domain, Socket, Type};

/// `SIOCSIFFLAGS`, `SIOCGIFFLAGS`: `_IOW('i', 16, struct ifreq)`, `_IOWR('i', 17, struct ifreq)`.
const SET_FLAGS: c_ulong = 0x8020_6910;
const READ_FLAGS: c_ulong = 0xc020_6911;
/// `SIOCGIFMTU`, `SIOCSIFMTU`: `_IOWR('i', 51, struct ifreq)`, `_IOW('i', 52, struct ifreq)`.
const READ_MTU: c_ulong = 0xc020_6933;
const SET_MTU: c_ulong = 0x8020_6934;

// The size is part of the request numbers.
const _: () = assert!(size_of::<libc::ifreq>() == 0x20);

/// An interface, by name.
pub(crate) struct Interface {
    socket: Socket,
    request: libc::ifreq,
}

impl Interface {
    /// # Errors
    /// `InvalidInput` if no interface can have the name; the system's. Whether it exists, the first call tells (`ENXIO`).
    pub(crate) fn open(name: &str) -> io::Result<Self> {
        let mut request = libc::ifreq {
            ifr_name: [0; libc::IFNAMSIZ],
            ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_intval: 0 },
        };
        let fits = name.len() < request.ifr_name.len() && !name.contains('\0');
        if !fits {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        for (place, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
            *place = byte.cast_signed();
        }
        Ok(Self {
            socket: Socket::new(Domain::IPV4, Type::DGRAM, None)?,
            request,
        })
    }

    /// Largest packet in bytes.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn mtu(&self) -> io::Result<u32> {
        let mut request = self.request;
        self.call(READ_MTU, &mut request)?;
        // SAFETY: after SIOCGIFMTU the union holds the MTU; every bit pattern is a number.
        let mtu = unsafe { request.ifr_ifru.ifru_mtu };
        u32::try_from(mtu).map_err(io::Error::other)
    }

    /// # Errors
    /// The system's: `EINVAL` for an MTU that the interface cannot have, `EPERM` for all but root.
    pub(crate) fn set_mtu(&self, mtu: u32) -> io::Result<()> {
        let mut request = self.request;
        let mtu = i32::try_from(mtu).map_err(|_| io::ErrorKind::InvalidInput)?;
        request.ifr_ifru = libc::__c_anonymous_ifr_ifru { ifru_mtu: mtu };
        self.call(SET_MTU, &mut request)
    }

    /// # Errors
    /// The system's: `EPERM` for all but root.
    pub(crate) fn set_up(&self) -> io::Result<()> {
        let mut request = self.request;
        self.call(READ_FLAGS, &mut request)?;
        let up = c_short::try_from(libc::IFF_UP).map_err(io::Error::other)?;
        // SAFETY: after SIOCGIFFLAGS the union holds the flags; every bit pattern is a number.
        let flags = unsafe { request.ifr_ifru.ifru_flags };
        request.ifr_ifru = libc::__c_anonymous_ifr_ifru {
            ifru_flags: flags | up,
        };
        self.call(SET_FLAGS, &mut request)
    }

    fn call(&self, number: c_ulong, request: &mut libc::ifreq) -> io::Result<()> {
        // SAFETY: all four requests take a pointer to an `ifreq`, which lives and is ours alone during the call.
        let result = unsafe { libc::ioctl(self.socket.as_raw_fd(), number, &raw mut *request) };
        if result < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        }
    }
}

impl std::fmt::Debug for Interface {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Interface").finish_non_exhaustive()
    }
}
