//! TUN devices of macOS: utun, whose packets carry their address family in four bytes before them.

use std::fs::File;
use std::io::{self, IoSliceMut, Read, Write};
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use tidegate_netstack::Offload;
use tun::AbstractDevice;

use super::{OffloadWish, TunCaps, TunConfig, TunError, gather, whole};
use crate::sys::{descriptor, utun};

/// Bytes of the address family before each packet, in network byte order.
const FAMILY_LEN: usize = 4;

/// The only queue of a utun.
#[derive(Debug)]
pub(super) struct Queue {
    file: File,
    name: String,
}

pub(super) fn create(config: &TunConfig) -> Result<Queue, TunError> {
    let mut wanted = tun::Configuration::default();
    if !config.name.is_empty() {
        wanted.tun_name(&config.name);
    }
    wanted.mtu(config.mtu).up();
    let device = tun::create(&wanted).map_err(|error| creation_error(&config.name, error))?;
    let name = device
        .tun_name()
        .map_err(|error| creation_error(&config.name, error))?;
    Queue::new(descriptor::own(device), name).map_err(|source| system(&config.name, source))
}

pub(super) fn create_queues(
    config: &TunConfig,
    _wanted: NonZeroUsize,
) -> Result<Vec<Queue>, TunError> {
    create(config).map(|queue| vec![queue])
}

pub(super) fn adopt(fd: OwnedFd, _wish: &OffloadWish) -> Result<Queue, TunError> {
    let name = utun::name(fd.as_fd()).map_err(TunError::NotTun)?;
    Queue::new(fd, name.clone()).map_err(|source| system(&name, source))
}

impl Queue {
    fn new(fd: OwnedFd, name: String) -> io::Result<Self> {
        descriptor::set_nonblocking(fd.as_fd())?;
        Ok(Self {
            file: File::from(fd),
            name,
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn caps(&self) -> TunCaps {
        TunCaps::default()
    }

    pub(super) fn read(&self, buffer: &mut [u8]) -> io::Result<(usize, Offload)> {
        let mut family = [0; FAMILY_LEN];
        let read = (&self.file)
            .read_vectored(&mut [IoSliceMut::new(&mut family), IoSliceMut::new(buffer)])?;
        let packet = read
            .checked_sub(FAMILY_LEN)
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok((packet, Offload::default()))
    }

    pub(super) fn write(&self, parts: &[&[u8]], offload: Offload) -> io::Result<()> {
        if offload.partial_checksum || offload.segmentation.is_some() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "utun has no offloads",
            ));
        }
        let family = match parts
            .first()
            .and_then(|head| head.first())
            .map(|byte| byte >> 4)
        {
            Some(4) => libc::AF_INET,
            Some(6) => libc::AF_INET6,
            _ => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "neither IPv4 nor IPv6",
                ));
            }
        };
        let family = family.to_be_bytes();
        let (slices, expected) = gather(&family, parts)?;
        whole((&self.file).write_vectored(&slices)?, expected)
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn creation_error(name: &str, error: tun::Error) -> TunError {
    if matches!(
        error,
        tun::Error::NameTooLong | tun::Error::InvalidName | tun::Error::ParseNum(_)
    ) {
        return TunError::BadName(name.to_owned());
    }
    let source = io::Error::from(error);
    match source.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => TunError::NotPermitted {
            name: name.to_owned(),
        },
        Some(libc::EBUSY) => TunError::Busy(name.to_owned()),
        _ => system(name, source),
    }
}

fn system(name: &str, source: io::Error) -> TunError {
    TunError::System {
        name: name.to_owned(),
        source,
    }
}
