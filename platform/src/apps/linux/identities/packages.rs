//! Which package a file belongs to: what the package managers have written down of their files.
//!
//! A name in a list says little where anybody may put a file under that name, so [`super`] looks at that first.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use super::dpkg::Dpkg;
use super::pacman::Pacman;
use crate::ownership;

/// A database that grows beyond this is left out.
pub(super) const MOST_FILES: usize = 8 << 20;
/// A longer list of a package is left out.
pub(super) const LONGEST_LIST: u64 = 64 << 20;
/// How long a look at a database's time stamp is trusted.
const RECHECK: Duration = Duration::from_secs(1);

/// The packages of this host.
#[derive(Debug)]
pub(super) struct Packages {
    databases: [Database; 2],
}

/// The files of one manager's packages.
#[derive(Debug)]
struct Database {
    folder: PathBuf,
    manager: &'static str,
    read: fn(&Path) -> Box<dyn Owners>,
    checked: Option<Instant>,
    stamp: Option<SystemTime>,
    owners: Option<Box<dyn Owners>>,
}

/// Finds a file's package.
pub(super) trait Owners: std::fmt::Debug + Send {
    /// The name of the package that `path` is listed in.
    fn of(&self, path: &Path) -> Option<&str>;
}

impl Packages {
    /// Of the databases beneath `root`.
    pub(super) fn beneath(root: &Path) -> Self {
        let database = |manager, folder: &str, read| Database {
            folder: root.join(folder),
            manager,
            read,
            checked: None,
            stamp: None,
            owners: None,
        };
        Self {
            databases: [
                database("deb", "var/lib/dpkg", |folder| Box::new(Dpkg::read(folder))),
                database("pacman", "var/lib/pacman/local", |folder| {
                    Box::new(Pacman::read(folder))
                }),
            ],
        }
    }

    /// The package that owns the file, and its manager: `deb:curl`.
    pub(super) fn owner(&mut self, path: &Path) -> Option<Box<str>> {
        let mut databases = self.databases.iter_mut();
        databases.find_map(|database| {
            let manager = database.manager;
            let name = database.fresh()?.of(path)?;
            Some(format!("{manager}:{name}").into())
        })
    }
}

impl Database {
    /// As it stands on the disk now.
    fn fresh(&mut self) -> Option<&dyn Owners> {
        let is_due = self
            .checked
            .is_none_or(|checked| checked.elapsed() >= RECHECK);
        if is_due {
            self.checked = Some(Instant::now());
            let stamp = self.stamp();
            if stamp.is_none() {
                self.owners = None;
            } else if self.owners.is_none() || self.stamp != stamp {
                self.owners = Some((self.read)(&self.folder));
            }
            self.stamp = stamp;
        }
        self.owners.as_deref()
    }

    /// When its packages changed last. `dpkg` puts its lists into a folder beneath.
    fn stamp(&self) -> Option<SystemTime> {
        let changed = |name| {
            let metadata = std::fs::metadata(self.folder.join(name)).ok()?;
            metadata.modified().ok()
        };
        ["", "info", "status", "diversions"]
            .into_iter()
            .filter_map(changed)
            .max()
    }
}

/// The package whose folder in Nix's store the file lies in: `nix:curl`. The folder's name begins with a digest and ends with
/// the version.
pub(super) fn of_nix(path: &Path) -> Option<Box<str>> {
    let mut parts = path.strip_prefix("/nix/store").ok()?.components();
    let folder = parts.next()?.as_os_str().to_str()?;
    parts.next()?;
    let (digest, name) = folder.split_once('-')?;
    if digest.len() != 32 {
        return None;
    }
    let version = name.char_indices().find(|(at, letter)| {
        *letter == '-' && name[at + 1..].starts_with(|next: char| next.is_ascii_digit())
    });
    let name = version.map_or(name, |(at, _)| &name[..at]);
    (!name.is_empty()).then(|| format!("nix:{name}").into())
}

/// Whether only these users may put another file where this path leads.
pub(super) fn is_kept_by(path: &Path, trusted: &[u32]) -> bool {
    matches!(ownership::writable_by_others(path, trusted), Ok(None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_of_nix_is_its_folder_without_digest_and_version() {
        let digest = "a".repeat(32);
        let of = |folder: &str, rest: &str| {
            of_nix(Path::new(&format!("/nix/store/{folder}{rest}")))
                .as_deref()
                .map(str::to_owned)
        };
        let named = |name: &str| of(&format!("{digest}-{name}"), "/bin/x");
        assert_eq!(named("curl-8.5.0").as_deref(), Some("nix:curl"));
        assert_eq!(named("python3-3.11.9-env").as_deref(), Some("nix:python3"));
        assert_eq!(named("coreutils").as_deref(), Some("nix:coreutils"));
        assert_eq!(of("short-curl-8", "/bin/x"), None);
        assert_eq!(
            of(&format!("{digest}-curl-8"), ""),
            None,
            "a file of the store itself"
        );
        assert_eq!(of_nix(Path::new("/usr/bin/curl")), None);
    }
}
