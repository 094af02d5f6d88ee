//! Which users and groups exist inside: written by the first process, because the kernel wants the parent namespace's
//! privileges for more than one.

use std::fs;
use std::io;

use super::own_proc_file;

/// Maps the users of process `pid`, which is in a new user namespace: for root everyone to himself, so that programs can
/// drop privileges; for others the caller alone.
pub(super) fn write(pid: u32) -> io::Result<()> {
    let uid = rustix::process::geteuid();
    if uid.is_root() {
        match write_all(pid) {
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => {} // root without CAP_SETUID, in a container
            done => return done,
        }
    }
    // Without this the kernel lets no ordinary user write a gid_map: groups could be dropped to gain access.
    fs::write(format!("/proc/{pid}/setgroups"), "deny")?;
    let gid = rustix::process::getegid();
    fs::write(
        format!("/proc/{pid}/gid_map"),
        identity(uid_line(gid.as_raw())),
    )?;
    fs::write(
        format!("/proc/{pid}/uid_map"),
        identity(uid_line(uid.as_raw())),
    )
}

fn write_all(pid: u32) -> io::Result<()> {
    fs::write(
        format!("/proc/{pid}/uid_map"),
        identity(own_proc_file("uid_map")?),
    )?;
    fs::write(
        format!("/proc/{pid}/gid_map"),
        identity(own_proc_file("gid_map")?),
    )
}

fn uid_line(id: u32) -> String {
    format!("{id} {id} 1\n")
}

/// A map of every id that `map` names inside to itself. Lines are: first id inside, first id outside, count.
pub(super) fn identity(map: String) -> String {
    map.lines()
        .filter_map(|line| {
            let mut columns = line.split_ascii_whitespace();
            let (first, _, count) = (columns.next()?, columns.next()?, columns.next()?);
            Some(format!("{first} {first} {count}\n"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_mapped_to_themselves_whatever_they_are_outside() {
        let map = "         0     100000      65536\n     70000       1000          1\n";
        assert_eq!(identity(map.to_owned()), "0 0 65536\n70000 70000 1\n");
    }
}
