//! What tells this process from others, for the journal.

use std::io;

use crate::sys::{process, sysctl};

/// Microseconds from 1970 to the start of this process.
pub(in crate::host) fn started() -> io::Result<u64> {
    process::basics(std::process::id()).map(|basics| basics.started)
}

/// The boot's name. Empty where the kernel does not tell: then every boot is the same one.
pub(in crate::host) fn boot() -> String {
    sysctl::read_named(c"kern.bootsessionuuid")
        .map(|name| {
            let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
            String::from_utf8_lossy(name).into_owned()
        })
        .unwrap_or_default()
}
