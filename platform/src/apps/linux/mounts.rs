//! Whether the path of an executable means the same file here as where its process runs.
//!
//! Anybody may have mounts of his own (`unshare --user --mount`), and put any file in the place of any other there. The kernel
//! tells the path that the file has among those.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::descriptors::ProcessDirectory;

/// Whether `path` here is the executable of the process. Takes a system call for a process with our mounts, of which it is
/// so; two more for others.
pub(super) fn mean_the_same(process: &ProcessDirectory, path: &Path) -> io::Result<bool> {
    let theirs = process.link(c"ns/mnt")?;
    Ok(own().is_some_and(|own| *own == *theirs) || process.is_file(c"exe", path)?)
}

/// The same for a path that was noted before: one of a process that has ended cannot be verified, and holds.
pub(super) fn noted_path(process: &ProcessDirectory, path: PathBuf) -> PathBuf {
    let has_ended = || {
        let ended = process.link(c"exe").err()?.raw_os_error()?;
        Some(matches!(ended, libc::ENOENT | libc::ESRCH))
    };
    if mean_the_same(process, &path).unwrap_or(false) || has_ended().unwrap_or(false) {
        path
    } else {
        path_of_its_own(process.pid, &path)
    }
}

/// A path that only this process has: no rule for a path of this host means it.
pub(in crate::apps) fn path_of_its_own(pid: u32, path: &Path) -> PathBuf {
    let root = PathBuf::from(format!("/proc/{pid}/root"));
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// Names our mounts.
fn own() -> Option<&'static [u8]> {
    static OWN: OnceLock<Vec<u8>> = OnceLock::new();
    if let Some(own) = OWN.get() {
        return Some(own);
    }
    let process = ProcessDirectory::open(std::process::id()).ok()?;
    let own = process.link(c"ns/mnt").ok()?;
    Some(OWN.get_or_init(|| own))
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    use super::*;
    use crate::apps::linux::process::{Image, Program};

    /// Runs `script`, which prints a line and waits for the end of its input, in mounts of its own.
    fn path_in_own_mounts(script: &str) -> (PathBuf, PathBuf, u32) {
        let mut command = Command::new("unshare");
        command.args(["--mount", "/bin/sh", "-ec", script]);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let process = ProcessDirectory::open(child.id()).unwrap();
        let image = Image::read(&process).unwrap();
        let program = Program::read(&process, process.stat().unwrap(), &image);
        let noted = noted_path(&process, "/usr/bin/env".into());
        drop(child.stdin.take());
        child.wait().unwrap();
        // Of one that has ended nothing can be told.
        assert_eq!(noted_path(&process, "/x".into()), Path::new("/x"));
        (program.path, noted, child.id())
    }

    #[test]
    fn a_file_in_the_place_of_another_does_not_have_its_path() {
        const WAIT: &str = "-c 'echo ready; read end'";
        let shell = std::fs::canonicalize("/bin/sh").unwrap();
        let shell = shell.to_str().unwrap();
        let in_place = format!("mount --bind {shell} /usr/bin/env; exec /usr/bin/env {WAIT}");
        let (path, noted, pid) = path_in_own_mounts(&in_place);
        let own = PathBuf::from(format!("/proc/{pid}/root/usr/bin/env"));
        assert_eq!((&path, &noted), (&own, &own));

        let (path, ..) = path_in_own_mounts(&format!("exec {shell} {WAIT}"));
        assert_eq!(path.to_str(), Some(shell));
    }
}
