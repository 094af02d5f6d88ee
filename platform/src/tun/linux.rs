//! TUN devices of Linux: `/dev/net/tun` with a virtio header.

use std::fs::File;
use std::io::{self, IoSliceMut, Read, Write};
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use tidegate_netstack::{Offload, Segmentation};

use super::{OffloadWish, TunCaps, TunConfig, TunError, gather, trial, virtio, whole};
use crate::link::{self, LinkSettings};
use crate::sys::{descriptor, tun_ioctl};

/// One queue: its descriptor reads and writes packets, each behind a virtio header if the caps say so.
#[derive(Debug)]
pub(super) struct Queue {
    file: File,
    name: String,
    caps: TunCaps,
}

/// Opens a device with one queue and asks for its offloads, without configuring the link: this is all that a process in a
/// fresh user and network namespace does before it passes the descriptor on to [`super::Tun::from_fd`].
///
/// # Errors
/// See [`TunError`].
pub fn open_raw(name: &str, wish: &OffloadWish) -> Result<(OwnedFd, TunCaps), TunError> {
    check_name(name)?;
    let mut config = tun::Configuration::default();
    config.tun_name(name);
    config.platform_config(|platform| {
        platform.vnet_hdr(wish.vnet).ensure_root_privileges(false);
    });
    let device = tun::create(&config).map_err(|error| creation_error(name, error))?;
    let fd = descriptor::own(device);
    let caps = negotiate(fd.as_fd(), wish.vnet, wish).map_err(|source| system(name, source))?;
    Ok((fd, caps))
}

/// Opens one more queue of a device that several threads share; the first call makes the device. Each queue goes to
/// [`super::Tun::from_fd`]. The kernel spreads flows over the queues, and keeps a flow on the queue it was answered from.
///
/// # Errors
/// See [`TunError`].
pub fn open_queue(name: &str, wish: &OffloadWish) -> Result<(OwnedFd, TunCaps), TunError> {
    check_name(name)?;
    let fd = tun_ioctl::open_queue(name, wish.vnet)
        .map_err(|error| creation_error(name, tun::Error::Io(error)))?;
    let caps = negotiate(fd.as_fd(), wish.vnet, wish).map_err(|source| system(name, source))?;
    Ok((fd, caps))
}

pub(super) fn create(config: &TunConfig) -> Result<Queue, TunError> {
    let (fd, caps) = open_raw(&config.name, &config.offload)?;
    set_up(config)?;
    Queue::new(fd, config.name.clone(), caps).map_err(|source| system(&config.name, source))
}

pub(super) fn create_queues(
    config: &TunConfig,
    wanted: NonZeroUsize,
) -> Result<Vec<Queue>, TunError> {
    if wanted == NonZeroUsize::MIN {
        return create(config).map(|queue| vec![queue]);
    }
    let opened: Result<Vec<_>, _> = (0..wanted.get())
        .map(|_| open_queue(&config.name, &config.offload))
        .collect();
    let opened = opened?;
    set_up(config)?;
    let queues = opened
        .into_iter()
        .map(|(fd, caps)| Queue::new(fd, config.name.clone(), caps));
    queues
        .collect::<io::Result<_>>()
        .map_err(|source| system(&config.name, source))
}

fn set_up(config: &TunConfig) -> Result<(), TunError> {
    let settings = LinkSettings {
        up: true,
        mtu: Some(u32::from(config.mtu)),
        queue_length: Some(config.queue_length),
        unnumbered: true,
        forwards: false,
    };
    Ok(link::configure(&config.name, &settings)?)
}

pub(super) fn adopt(fd: OwnedFd, wish: &OffloadWish) -> Result<Queue, TunError> {
    let attached = tun_ioctl::attached(fd.as_fd()).map_err(TunError::NotTun)?;
    if attached.packet_information || !attached.layer3 {
        return Err(TunError::NotTun(io::Error::from(
            io::ErrorKind::InvalidInput,
        )));
    }
    let caps = negotiate(fd.as_fd(), attached.vnet_header, wish)
        .map_err(|source| system(&attached.name, source))?;
    Queue::new(fd, attached.name.clone(), caps).map_err(|source| system(&attached.name, source))
}

/// Asks for as much of the wish as the kernel takes. The mask belongs to the device and outlives a descriptor, so it is
/// set even where it is empty.
fn negotiate(fd: BorrowedFd<'_>, vnet: bool, wish: &OffloadWish) -> io::Result<TunCaps> {
    if !vnet {
        tun_ioctl::set_offload(fd, 0)?;
        return Ok(TunCaps::default());
    }
    let header = libc::c_int::try_from(virtio::LEN).map_err(io::Error::other)?;
    tun_ioctl::set_vnet_header_len(fd, header)?;
    let all = TunCaps {
        vnet: true,
        tso: wish.tso,
        uso: wish.uso,
    };
    for caps in [all, TunCaps { uso: false, ..all }] {
        if tun_ioctl::set_offload(fd, mask(caps)).is_ok() {
            return Ok(caps);
        }
    }
    let least = TunCaps {
        vnet: true,
        ..TunCaps::default()
    };
    tun_ioctl::set_offload(fd, mask(least))?;
    Ok(least)
}

fn mask(caps: TunCaps) -> libc::c_uint {
    let mut mask = tun_ioctl::CHECKSUM;
    if caps.tso {
        mask |= tun_ioctl::TCP_SEGMENTATION;
    }
    if caps.uso {
        mask |= tun_ioctl::UDP_SEGMENTATION;
    }
    mask
}

impl Queue {
    fn new(fd: OwnedFd, name: String, caps: TunCaps) -> io::Result<Self> {
        descriptor::set_nonblocking(fd.as_fd())?;
        let mut queue = Self {
            file: File::from(fd),
            name,
            caps,
        };
        queue.drop_what_writes_refuse()?;
        Ok(queue)
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn caps(&self) -> TunCaps {
        self.caps
    }

    pub(super) fn read(&self, buffer: &mut [u8]) -> io::Result<(usize, Offload)> {
        if !self.caps.vnet {
            return Ok(((&self.file).read(buffer)?, Offload::default()));
        }
        let mut header = [0; virtio::LEN];
        let read = (&self.file)
            .read_vectored(&mut [IoSliceMut::new(&mut header), IoSliceMut::new(buffer)])
            .map_err(read_failure)?;
        let packet = read
            .checked_sub(virtio::LEN)
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        let offload = virtio::decode(header)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        Ok((packet, offload))
    }

    pub(super) fn write(&self, parts: &[&[u8]], offload: Offload) -> io::Result<()> {
        let granted = match offload.segmentation {
            None => self.caps.vnet || !offload.partial_checksum,
            Some(Segmentation::Tcp(_)) => self.caps.tso,
            Some(Segmentation::Udp(_)) => self.caps.uso,
        };
        if !granted {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the device did not grant this offload",
            ));
        }
        if !self.caps.vnet {
            let (slices, expected) = gather(&[], parts)?;
            return whole((&self.file).write_vectored(&slices)?, expected);
        }
        let head = parts.first().copied().unwrap_or_default();
        let header = virtio::encode(head, offload)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let (slices, expected) = gather(&header, parts)?;
        whole((&self.file).write_vectored(&slices)?, expected)
    }

    /// Some kernels take the offload mask and then refuse every super-packet that is written (6.6.44 did). So each kind is
    /// written once, to a destination that no host accepts or forwards, and given up if it is invalid to the kernel.
    fn drop_what_writes_refuse(&mut self) -> io::Result<()> {
        let refused = |segmentation, packets: [Vec<u8>; 2]| {
            let offload = Offload {
                partial_checksum: true,
                checksum_valid: false,
                segmentation: Some(segmentation),
            };
            packets.iter().any(|packet| {
                let result = self.write(&[packet], offload);
                result.is_err_and(|error| error.raw_os_error() == Some(libc::EINVAL))
            })
        };
        let tso = self.caps.tso && !refused(Segmentation::Tcp(trial::SEGMENT), trial::tcp()?);
        let uso = self.caps.uso && !refused(Segmentation::Udp(trial::SEGMENT), trial::udp()?);
        let tried = TunCaps {
            tso,
            uso,
            ..self.caps
        };
        if tried != self.caps {
            tracing::warn!(
                device = self.name,
                ?tried,
                "the kernel refuses super-packets it promised to take"
            );
            tun_ioctl::set_offload(self.file.as_fd(), mask(tried))?;
            self.caps = tried;
        }
        Ok(())
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn check_name(name: &str) -> Result<(), TunError> {
    let fits = !name.is_empty()
        && name.len() < libc::IFNAMSIZ
        && !matches!(name, "." | "..")
        && name
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'/' | b':' | b'%'));
    if fits {
        Ok(())
    } else {
        Err(TunError::BadName(name.to_owned()))
    }
}

fn creation_error(name: &str, error: tun::Error) -> TunError {
    let source = io::Error::from(error);
    match source.raw_os_error() {
        Some(libc::ENOENT | libc::ENXIO | libc::ENODEV) => TunError::NoDevice,
        Some(libc::EPERM | libc::EACCES) => TunError::NotPermitted {
            name: name.to_owned(),
        },
        // EINVAL: a device of this name is there, but of another kind.
        Some(libc::EBUSY | libc::EINVAL) => TunError::Busy(name.to_owned()),
        _ => system(name, source),
    }
}

fn system(name: &str, source: io::Error) -> TunError {
    TunError::System {
        name: name.to_owned(),
        source,
    }
}

/// The kernel says `EINVAL` when it took a packet from the queue whose segmentation the header cannot express, and let it go
/// (`tun_put_user`): a raw socket can put such a packet there.
fn read_failure(error: io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(libc::EINVAL) => io::Error::new(io::ErrorKind::InvalidData, error),
        _ => error,
    }
}

#[cfg(test)]
mod tests;
