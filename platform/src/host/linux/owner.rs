//! What tells this process from others, for the journal.

use std::io;

/// Clock ticks from the boot to the start of this process.
pub(in crate::host) fn started() -> io::Result<u64> {
    let stat = procfs::process::Process::myself().and_then(|process| process.stat());
    let stat = stat.map_err(|error| io::Error::other(format!("{error}; is /proc mounted?")))?;
    Ok(stat.starttime)
}

/// The boot's name. Empty where the kernel does not tell: then every boot is the same one.
pub(in crate::host) fn boot() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|id| id.trim().to_owned())
        .unwrap_or_default()
}
