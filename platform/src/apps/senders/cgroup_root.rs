//! Where the root of the control groups (version 2) is mounted, from `/proc/self/mountinfo` (proc_pid_mountinfo(5)). Beside
//! version 1 it is not where one would expect it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::SendersError;

/// Opens it.
pub(super) fn open() -> Result<File, SendersError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source: io::Error| SendersError::ControlGroup { path, source }
    };
    let table = Path::new("/proc/self/mountinfo");
    let mounts = fs::read_to_string(table).map_err(failed(table))?;
    let root = mounted(&mounts).ok_or(SendersError::NoControlGroups)?;
    File::open(&root).map_err(failed(&root))
}

/// Fields: ids of mount and parent, device, root within the file system, place, options, optional fields, `-`, type.
fn mounted(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let (mount, file_system) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        let (root, place) = (fields.next()?, fields.next()?);
        // A part of the tree that is mounted elsewhere is not the root.
        let is_root = root == "/" && file_system.split(' ').next() == Some("cgroup2");
        is_root.then(|| PathBuf::from(place.replace("\\040", " ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_is_found_beside_version_1_and_not_a_part_of_it() {
        let mounts = "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                      50 31 0:38 /user.slice /run/part rw shared:4 - cgroup2 cgroup2 rw\n\
                      41 31 0:38 / /sys/fs/my\\040groups rw,nosuid shared:5 - cgroup2 cgroup2 rw\n";
        assert_eq!(mounted(mounts), Some("/sys/fs/my groups".into()));
        assert_eq!(
            mounted("32 31 0:29 / /sys rw - sysfs sysfs rw\nnonsense\n"),
            None
        );
    }
}
