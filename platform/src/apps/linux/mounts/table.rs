//! Our mounts, by the kernel's numbers: read once, and again when the kernel says that they have changed.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::sync::{Mutex, PoisonError};

use rustc_hash::FxHashSet;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// See proc_pid_mountinfo(5). One that is open tells of changes.
const TABLE: &str = "/proc/self/mountinfo";

/// The table as it was read.
#[derive(Debug)]
struct Table {
    path: &'static str,
    changes: File,
    mounts: FxHashSet<u64>,
}

/// Whether this is the number of one of our mounts. A number may be given out again, but not before its mount was taken off, which
/// is a change. Takes a system call.
pub(super) fn is_ours(mount: u64) -> bool {
    static OURS: Mutex<Option<Table>> = Mutex::new(None);
    let mut ours = OURS.lock().unwrap_or_else(PoisonError::into_inner);
    let looked = match &mut *ours {
        Some(table) => table.look(mount),
        None => Table::open(TABLE).and_then(|table| ours.insert(table).look(mount)),
    };
    looked.unwrap_or_else(|error| {
        tracing::debug!(%error, "{TABLE} could not be read");
        // The next look begins anew.
        *ours = None;
        false
    })
}

impl Table {
    fn open(path: &'static str) -> io::Result<Self> {
        // Opened first: what changes while it is read is a change.
        let changes = File::open(path)?;
        let mounts = numbers(&fs::read(path)?);
        Ok(Self {
            path,
            changes,
            mounts,
        })
    }

    fn look(&mut self, mount: u64) -> io::Result<bool> {
        if self.has_changed()? {
            self.mounts = numbers(&fs::read(self.path)?);
        }
        Ok(self.mounts.contains(&mount))
    }

    /// Whether it has since the last time that this was asked.
    fn has_changed(&self) -> io::Result<bool> {
        let mut waiting = [PollFd::from_borrowed_fd(
            self.changes.as_fd(),
            PollFlags::PRI,
        )];
        let at_once = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        poll(&mut waiting, Some(&at_once))?;
        let [waiting] = &waiting;
        Ok(waiting
            .revents()
            .intersects(PollFlags::PRI | PollFlags::ERR))
    }
}

/// The first field of each line. Paths need not be UTF-8.
fn numbers(table: &[u8]) -> FxHashSet<u64> {
    let lines = table.split(|byte| *byte == b'\n');
    let number = |line: &[u8]| {
        let first = line.split(|byte| *byte == b' ').next()?;
        str::from_utf8(first).ok()?.parse().ok()
    };
    lines.filter_map(number).collect()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use rustix::thread::UnshareFlags;

    use super::*;

    #[test]
    fn the_numbers_of_mounts_are_read() {
        let table = b"22 1 8:1 / / rw - ext4 /dev/sda1 rw\n30 22 0:5 / /a\xff rw - tmpfs none rw\nnonsense\n";
        let mut found: Vec<u64> = numbers(table).into_iter().collect();
        found.sort_unstable();
        assert_eq!(found, [22, 30]);
    }

    #[test]
    fn a_mount_is_in_the_table_from_when_it_is_mounted_until_it_is_taken_off() {
        let folder = std::env::temp_dir().join(format!("tidegate-table-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let run = |command: &str| {
            let mut words = command.split(' ');
            let mut command = Command::new(words.next().unwrap());
            assert!(command.args(words).arg(&folder).status().unwrap().success());
        };
        let mount_of_folder = || {
            let wanted = rustix::fs::StatxFlags::MNT_ID;
            let flags = rustix::fs::AtFlags::empty();
            rustix::fs::statx(rustix::fs::CWD, &folder, flags, wanted)
                .unwrap()
                .stx_mnt_id
        };
        let in_own_mounts = || {
            crate::sys::spawn::unshare(UnshareFlags::NEWNS).unwrap();
            let root = Command::new("mount")
                .args(["--make-rprivate", "/"])
                .status();
            assert!(root.unwrap().success());
            let mut table = Table::open("/proc/thread-self/mountinfo").unwrap();
            assert!(table.look(mount_of_folder()).unwrap());
            run("mount -t tmpfs none");
            let mount = mount_of_folder();
            assert!(table.look(mount).unwrap());
            run("umount");
            assert!(!table.look(mount).unwrap());
        };
        std::thread::scope(|scope| scope.spawn(in_own_mounts).join().unwrap());
        fs::remove_dir(&folder).unwrap();
    }
}
