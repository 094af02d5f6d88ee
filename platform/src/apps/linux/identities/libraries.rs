//! Whether a program runs code from where an ordinary user may write: a library that was put before its own.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustc_hash::FxHashSet;

use crate::apps::linux::descriptors::ProcessDirectory;
use crate::apps::linux::mounts;
use crate::ownership;

/// Variables that name libraries for the dynamic linker to load before all others.
const VARIABLES: [&[u8]; 2] = [b"LD_PRELOAD=", b"LD_AUDIT="];
/// Files of memory that a program makes for itself.
const MEMORY: &[u8] = b"/memfd:";
const DELETED: &[u8] = b" (deleted)";

/// Whether its linker was told to load, or it has mapped, code that somebody beside `trusted` may have written. Its executable
/// does not count, nor what lies in one folder with an executable that such a user may write: that is all his.
pub(super) fn is_open_to_others(process: &ProcessDirectory, trusted: &[u32]) -> Option<bool> {
    let root = process.folder("root");
    let is_open = |path: &Path| is_open_beneath(&root, path, trusted);
    let executable = process.link(c"exe").ok()?;
    let executable = executable.strip_suffix(DELETED).unwrap_or(&executable);
    let environment = process.read(c"environ").ok()?;
    let told = named(&environment).any(|path| is_open(Path::new(OsStr::from_bytes(path))));
    if told {
        return Some(true);
    }
    let table = process.read_table(c"maps").ok()?;
    let own = Path::new(OsStr::from_bytes(executable));
    let is_users_own = !mounts::is_of_memory(own) && is_open(own);
    let mut seen = FxHashSet::default();
    let mut mapped = table.split(|byte| *byte == b'\n').filter_map(code);
    Some(mapped.any(|file| {
        if file == executable || !seen.insert(file) {
            return false;
        }
        let path = Path::new(OsStr::from_bytes(file));
        let is_beside = is_users_own && path.parent() == own.parent();
        !is_beside && (file.starts_with(MEMORY) || is_open(path))
    }))
}

/// The libraries that the linker was told to load, by path. One without a slash is looked for among the system's.
fn named(environment: &[u8]) -> impl Iterator<Item = &[u8]> {
    let variables = environment.split(|byte| *byte == 0);
    let values = variables.filter_map(|variable| {
        let mut names = VARIABLES.into_iter();
        names.find_map(|name| variable.strip_prefix(name))
    });
    let paths = values.flat_map(|value| value.split(|byte| matches!(byte, b' ' | b':')));
    paths.filter(|path| path.contains(&b'/'))
}

/// The file of a mapping that may be executed: proc_pid_maps(5).
fn code(line: &[u8]) -> Option<&[u8]> {
    let mut columns = line.splitn(6, |byte| *byte == b' ');
    let is_code = columns.nth(1)?.get(2) == Some(&b'x');
    let file = columns.nth(3)?.trim_ascii_start();
    let file = file.strip_suffix(DELETED).unwrap_or(file);
    (is_code && file.starts_with(b"/")).then_some(file)
}

/// As [`ownership::writable_by_others`], of a path as the process sees it. What cannot be looked at may be anybody's.
fn is_open_beneath(root: &Path, path: &Path, trusted: &[u32]) -> bool {
    let Ok(inside) = path.strip_prefix("/") else {
        return true;
    };
    // Itself, not the link to it that `/proc` has.
    let mut at = root.join(".");
    let mut parts = inside.components();
    loop {
        match ownership::is_open(&at, trusted) {
            Ok(false) => {}
            // Removed, or replaced when its package was.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return false,
            Ok(true) | Err(_) => return true,
        }
        match parts.next() {
            Some(part) => at.push(part),
            None => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_that_the_linker_is_told_of_are_read_from_the_environment() {
        let environment =
            b"A=1\0LD_PRELOAD=/tmp/a.so libm.so:./b.so\0LD_AUDIT=/c.so\0LD_PRELOADED=/d";
        let found: Vec<&[u8]> = named(environment).collect();
        assert_eq!(found, [&b"/tmp/a.so"[..], b"./b.so", b"/c.so"]);
    }

    #[test]
    fn the_files_of_mapped_code_are_read() {
        let of = |line: &str| {
            code(line.as_bytes()).map(|file| String::from_utf8_lossy(file).into_owned())
        };
        let line = |mode: &str, file: &str| format!("7f00-7f01 {mode} 0000 fe:01 123    {file}");
        assert_eq!(
            of(&line("r-xp", "/lib/a b.so")).as_deref(),
            Some("/lib/a b.so")
        );
        assert_eq!(
            of(&line("r-xp", "/lib/a.so (deleted)")).as_deref(),
            Some("/lib/a.so")
        );
        assert_eq!(of(&line("r--p", "/lib/a.so")), None);
        assert_eq!(of(&line("r-xp", "[vdso]")), None);
        assert_eq!(of("7f00-7f01 r-xp 0000 00:00 0"), None);
        assert_eq!(of("nonsense"), None);
    }
}
