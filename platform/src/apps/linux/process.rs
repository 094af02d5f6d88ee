//! What identifies a program, read from its open `/proc/PID`.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::descriptors::ProcessDirectory;
use super::mounts;
use crate::apps::process_stat::ProcessStat;
use crate::apps::{MOST_PARENTS, cgroup, command_line, file_name};

/// A program as it was read: all that is known of it but whose socket it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Program {
    pub(super) path: PathBuf,
    pub(super) name: String,
    pub(super) command_line: Vec<String>,
    pub(super) parents: Vec<PathBuf>,
    pub(super) unit: Option<String>,
    pub(super) container: Option<String>,
}

const DELETED: &[u8] = b" (deleted)";

/// What changes when a process becomes another program: `exec` keeps its id and start time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Image {
    executable: Vec<u8>,
    /// As it is called here: the file behind one name may be another in other mounts.
    path: PathBuf,
    command_line: Vec<u8>,
}

impl Image {
    pub(super) fn read(process: &ProcessDirectory) -> io::Result<Self> {
        let executable = process.link(c"exe")?;
        Ok(Self {
            path: executable_path(process, executable.clone())?,
            executable,
            command_line: process.read(c"cmdline")?,
        })
    }

    /// The executable, as it is called here.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether this is what the process runs now. `command_line` is its file of that name, which follows it through `exec`.
    pub(super) fn is_now_of(
        &self,
        process: &ProcessDirectory,
        command_line: &File,
    ) -> io::Result<bool> {
        let executable = process.link(c"exe")?;
        if executable != self.executable || executable_path(process, executable)? != self.path {
            return Ok(false);
        }
        // A byte more than there should be.
        let mut now = vec![0; self.command_line.len() + 1];
        let length = command_line.read_at(&mut now, 0)?;
        Ok(now.get(..length) == Some(self.command_line.as_slice()))
    }

    /// How much memory it takes.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.executable.capacity()
            + self.path.capacity()
            + self.command_line.capacity()
    }

    /// Whether the process still runs this executable.
    pub(super) fn is_still_of(&self, process: &ProcessDirectory) -> io::Result<bool> {
        Ok(process.link(c"exe")? == self.executable)
    }
}

impl Program {
    /// How much memory it takes.
    pub(super) fn bytes(&self) -> usize {
        let words = self.command_line.iter();
        let words = words.map(|word| size_of::<String>() + word.capacity());
        let parents = self.parents.iter();
        let parents = parents.map(|path| size_of::<PathBuf>() + path.capacity());
        size_of::<Self>()
            + self.path.capacity()
            + self.name.capacity()
            + words.sum::<usize>()
            + parents.sum::<usize>()
    }

    /// Reads the rest around `image`.
    pub(super) fn read(process: &ProcessDirectory, stat: ProcessStat, image: &Image) -> Self {
        let path = image.path.clone();
        let membership = process
            .read(c"cgroup")
            .map(|text| cgroup::parse(&String::from_utf8_lossy(&text)));
        let membership = membership.unwrap_or_default();
        Self {
            name: file_name(&path),
            path,
            command_line: command_line::split(&image.command_line),
            parents: parents(stat.parent),
            unit: membership.unit,
            container: membership.container,
        }
    }
}

/// The kernel appends ` (deleted)` to a name that is no longer the file's, which may have others; a file may also be called so.
pub(super) fn is_deleted(process: &ProcessDirectory, executable: &[u8]) -> bool {
    executable.ends_with(DELETED)
        && !mounts::is_name_of(process, Path::new(OsStr::from_bytes(executable)))
}

/// The name is the process's own: whether it means the same file here is verified.
fn executable_path(process: &ProcessDirectory, mut link: Vec<u8>) -> io::Result<PathBuf> {
    if is_deleted(process, &link) {
        link.truncate(link.len() - DELETED.len());
    }
    mounts::path_here(process, OsString::from_vec(link).into())
}

/// Executables of the ancestors. The chain ends at the first whose executable may not be read, or that has none: the
/// kernel's own.
fn parents(mut parent: u32) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    while parent != 0 && paths.len() < MOST_PARENTS {
        let read = || {
            let process = ProcessDirectory::open(parent)?;
            let link = process.link(c"exe")?;
            let path = executable_path(&process, link)?;
            Ok::<_, io::Error>((path, process.stat()?.parent))
        };
        let Ok((path, next)) = read() else { break };
        paths.push(path);
        parent = next;
    }
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_test_knows_itself_and_who_started_it() {
        let process = ProcessDirectory::open(std::process::id()).unwrap();
        let image = Image::read(&process).unwrap();
        let program = Program::read(&process, process.stat().unwrap(), &image);
        assert_eq!(program.path, std::env::current_exe().unwrap());
        let arguments: Vec<_> = std::env::args().collect();
        assert_eq!(program.command_line, arguments);
        let parent =
            std::fs::read_link(format!("/proc/{}/exe", std::os::unix::process::parent_id()))
                .unwrap();
        assert_eq!(program.parents.first(), Some(&parent));
    }
}
