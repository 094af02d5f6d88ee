//! Programs that bring their own files along: snap, flatpak, AppImage.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use tidegate_policy::Fact;

use super::Found;
use crate::apps::linux::descriptors::ProcessDirectory;
use crate::apps::linux::mounts;

/// Where snaps are mounted, each revision in a folder of its own.
const SNAPS: [&str; 2] = ["/snap", "/var/lib/snapd/snap"];
/// Where flatpaks for all users are.
const FLATPAKS: &str = "var/lib/flatpak/app";
/// Where a flatpak sees its own files.
const INSIDE_FLATPAK: &str = "/app";
/// Numbers of file systems that another machine or a user's program serves, as statfs(2) tells them: FUSE, NFS, CIFS, SMB2, 9P,
/// Ceph, AFS, Coda.
const SERVED: [i64; 8] = [
    0x6573_5546,
    0x6969,
    0xff53_4d42,
    0xfe53_4d42,
    0x0102_1997,
    0x00c3_6400,
    0x5346_414f,
    0x7375_7245,
];

/// Whether the files of such a file system come from elsewhere.
pub(super) fn is_served(kind: i64) -> bool {
    SERVED.contains(&kind)
}

/// The snap that a file lies in.
pub(super) fn snap(path: &Path) -> Option<&str> {
    let rest = SNAPS
        .iter()
        .find_map(|snaps| path.strip_prefix(snaps).ok())?;
    let mut parts = rest.components();
    let name = parts.next()?.as_os_str().to_str()?;
    let revision = parts.next()?.as_os_str();
    let is_file = parts.next().is_some();
    // Beside the snaps lies the folder of their commands.
    (is_file && name != "bin" && !revision.is_empty()).then_some(name)
}

/// The application id of the flatpak whose file a process runs. It says itself which it is, so that its file is the one that
/// this application has here is verified; `is_kept` tells whether only root may change that.
pub(super) fn flatpak(
    process: &ProcessDirectory,
    root: &Path,
    is_kept: impl FnOnce(&Path) -> bool,
) -> Found {
    let Ok(link) = process.link(c"exe") else {
        return Fact::Unknown;
    };
    let Ok(inside) = Path::new(OsStr::from_bytes(&link)).strip_prefix(INSIDE_FLATPAK) else {
        return Fact::Absent;
    };
    let Some((name, files)) = info(process) else {
        return Fact::Absent;
    };
    let own = root.join(FLATPAKS).join(&name);
    let executable = files.join(inside);
    let is_plain = executable
        .components()
        .all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    let is_its_own = is_plain
        && files.starts_with(own)
        && mounts::is_name_of(process, &executable)
        && is_kept(&executable);
    if is_its_own {
        Fact::Is(name.into())
    } else {
        Fact::Absent
    }
}

/// What the process says of itself: the application's id, and where its files are.
fn info(process: &ProcessDirectory) -> Option<(String, PathBuf)> {
    let text = std::fs::read(process.folder("root").join(".flatpak-info")).ok()?;
    let text = String::from_utf8(text).ok()?;
    let (mut section, mut name, mut files) = ("", None, None);
    for line in text.lines() {
        match (section, line.split_once('=')) {
            (_, None) => section = line.trim(),
            ("[Application]", Some(("name", value))) => name = Some(value.to_owned()),
            ("[Instance]", Some(("app-path", value))) => files = Some(PathBuf::from(value)),
            _ => {}
        }
    }
    let name = name.filter(|name| !name.is_empty() && !name.contains('/'))?;
    Some((name, files?))
}

/// What the mount says it comes from that the process's executable lies in, if it is one of FUSE, as AppImages are. The user
/// who runs it chooses that name.
pub(super) fn app_image(process: &ProcessDirectory) -> Found {
    let executable = process.executable().ok().and_then(|opened| opened.mount());
    let (Some(mount), Ok(table)) = (executable, process.read_table(c"mountinfo")) else {
        return Fact::Unknown;
    };
    match source(&String::from_utf8_lossy(&table), mount) {
        Some((kind, source)) if kind == "fuse" || kind.starts_with("fuse.") => {
            Fact::Is(source.into())
        }
        Some(_) => Fact::Absent,
        None => Fact::Unknown,
    }
}

/// The kind of a mount, and where it comes from: proc_pid_mountinfo(5).
fn source(table: &str, mount: u64) -> Option<(&str, String)> {
    let line = table.lines().find(|line| {
        let number = line.split(' ').next();
        number.and_then(|number| number.parse().ok()) == Some(mount)
    })?;
    let (_, rest) = line.split_once(" - ")?;
    let mut rest = rest.split(' ');
    Some((rest.next()?, unescape(rest.next()?)))
}

/// Spaces and the like stand as octal numbers behind a backslash.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let octal = (*first == b'\\').then(|| after.get(..3)).flatten();
        let code = octal.and_then(|octal| u8::from_str_radix(str::from_utf8(octal).ok()?, 8).ok());
        match code {
            Some(code) => {
                bytes.push(code);
                rest = after.get(3..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snap_is_the_folder_above_the_revision() {
        let of = |path: &str| snap(Path::new(path)).map(str::to_owned);
        assert_eq!(
            of("/snap/firefox/123/usr/lib/firefox/firefox").as_deref(),
            Some("firefox")
        );
        assert_eq!(
            of("/var/lib/snapd/snap/core/x1/bin/sh").as_deref(),
            Some("core")
        );
        for other in [
            "/snap/firefox/123",
            "/snap/bin/x/y",
            "/opt/snap/firefox/123/x",
            "/snap/a",
        ] {
            assert_eq!(of(other), None, "{other}");
        }
    }

    #[test]
    fn a_mount_says_where_it_comes_from() {
        let table = "21 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
                     77 21 0:60 / /tmp/.mount_ab ro - fuse.My.AppImage My\\040App.AppImage ro,user_id=7\n";
        assert_eq!(
            source(table, 77),
            Some(("fuse.My.AppImage", "My App.AppImage".to_owned()))
        );
        assert_eq!(source(table, 21), Some(("ext4", "/dev/sda1".to_owned())));
        assert_eq!(source(table, 2), None);
        assert_eq!(unescape("a\\04"), "a\\04");
    }

    #[test]
    fn what_a_users_program_or_another_machine_serves_is_known() {
        assert!(is_served(0x6969), "NFS, linux/magic.h");
        assert!(is_served(0x6573_5546), "FUSE, linux/magic.h");
        assert!(!is_served(0xef53), "ext4");
        assert!(!is_served(0x0102_1994), "tmpfs");
    }
}
