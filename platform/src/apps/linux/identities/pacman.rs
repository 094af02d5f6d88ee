//! Packages of pacman: a folder each, with a list of files.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustc_hash::FxHashMap;

use super::packages::{LONGEST_LIST, MOST_FILES, Owners};

/// The files of all packages.
#[derive(Debug, Default)]
pub(super) struct Pacman {
    names: Vec<Box<str>>,
    /// Paths as the lists have them, without the slash before them.
    packages: FxHashMap<Box<[u8]>, usize>,
}

impl Pacman {
    /// Reads the database in this folder, `/var/lib/pacman/local` on a host. What cannot be read is passed over.
    pub(super) fn read(folder: &Path) -> Self {
        let mut pacman = Self::default();
        for package in fs::read_dir(folder).into_iter().flatten().flatten() {
            let file_name = package.file_name();
            let list = package.path().join("files");
            let is_bounded = fs::metadata(&list).is_ok_and(|list| list.len() <= LONGEST_LIST);
            let name = file_name.to_str().and_then(name);
            let (Some(name), true, Ok(text)) = (name, is_bounded, fs::read(&list)) else {
                continue;
            };
            pacman.add(name, &text);
            if pacman.packages.len() > MOST_FILES {
                tracing::warn!(folder = %folder.display(), "too many files of packages: the rest is left out");
                break;
            }
        }
        pacman
    }

    fn add(&mut self, name: &str, text: &[u8]) {
        let mut is_files = false;
        for line in text.split(|byte| *byte == b'\n') {
            if line.starts_with(b"%") {
                is_files = line == b"%FILES%";
            } else if is_files && !line.is_empty() && !line.ends_with(b"/") {
                self.packages.insert(line.into(), self.names.len());
            }
        }
        self.names.push(name.into());
    }
}

/// `curl` of `curl-8.5.0-1`: version and release hold no hyphen.
fn name(folder: &str) -> Option<&str> {
    let (rest, _release) = folder.rsplit_once('-')?;
    let (name, _version) = rest.rsplit_once('-')?;
    (!name.is_empty()).then_some(name)
}

impl Owners for Pacman {
    fn of(&self, path: &Path) -> Option<&str> {
        let path = path.strip_prefix("/").ok()?;
        let place = self.packages.get(path.as_os_str().as_bytes())?;
        self.names.get(*place).map(|name| &**name)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::Root;
    use super::*;

    #[test]
    fn a_file_belongs_to_the_package_that_lists_it() {
        let root = Root::new();
        let list = "%FILES%\nusr/\nusr/bin/\nusr/bin/curl\n\n%BACKUP%\netc/curlrc\t0\n";
        root.write("var/lib/pacman/local/lib-curl-8.5.0-1/files", list);
        root.write("var/lib/pacman/local/ALPM_DB_VERSION", "9\n");
        let pacman = Pacman::read(&root.path().join("var/lib/pacman/local"));
        let of = |path: &str| pacman.of(Path::new(path));
        assert_eq!(of("/usr/bin/curl"), Some("lib-curl"));
        for nobody_s in ["/usr/bin", "/etc/curlrc\t0", "/etc/curlrc", "/usr/bin/wget"] {
            assert_eq!(of(nobody_s), None, "{nobody_s}");
        }
    }
}
