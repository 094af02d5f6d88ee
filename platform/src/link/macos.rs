//! Links on macOS: an ioctl for each setting (netintro(4)).

use std::io;

use super::{LinkError, LinkSettings};
use crate::sys::interface_ioctl::Interface;

pub(super) fn configure(name: &str, settings: &LinkSettings) -> Result<(), LinkError> {
    let failed = |source: io::Error| match source.raw_os_error() {
        Some(libc::ENXIO) => LinkError::Missing(name.to_owned()),
        _ => LinkError::Refused {
            name: name.to_owned(),
            source,
        },
    };
    let interface = Interface::open(name).map_err(failed)?;
    if let Some(mtu) = settings.mtu {
        interface.set_mtu(mtu).map_err(failed)?;
    }
    if settings.up {
        interface.set_up().map_err(failed)?;
    }
    Ok(())
}
