//! Who may put another file where a path leads.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

const WRITABLE_BY_GROUP: u32 = 0o020;
const WRITABLE_BY_ALL: u32 = 0o002;
const STICKY: u32 = 0o1000;
const ROOT: u32 = 0;

/// The first, from the root on, of the folders above a file and the file itself that somebody beside these users may write, or
/// owns. What is not there leaves its folders to be judged. Links are not followed: programs are known by their files' own paths.
///
/// A sticky folder that a group may write, as Nix has one for its store, counts as safe: what is in there is its owner's alone.
///
/// # Errors
/// The system's, where one of them may not be looked at.
pub fn writable_by_others(path: &Path, trusted: &[u32]) -> io::Result<Option<PathBuf>> {
    let mut above: Vec<&Path> = path.ancestors().collect();
    above.reverse();
    for part in above {
        if part.as_os_str().is_empty() {
            continue;
        }
        match is_open(part, trusted) {
            Ok(true) => return Ok(Some(part.to_owned())),
            Ok(false) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// Whether somebody beside these users may write this file or folder, or owns it.
pub(crate) fn is_open(path: &Path, trusted: &[u32]) -> io::Result<bool> {
    Ok(is_open_to_others(&fs::symlink_metadata(path)?, trusted))
}

fn is_open_to_others(found: &Metadata, trusted: &[u32]) -> bool {
    if !trusted.contains(&found.uid()) {
        return true;
    }
    // A link's own mode says nothing.
    if found.is_symlink() {
        return false;
    }
    let is_kept_apart = found.is_dir() && found.mode() & STICKY != 0;
    let by_group = found.mode() & WRITABLE_BY_GROUP != 0 && found.gid() != ROOT && !is_kept_apart;
    by_group || found.mode() & WRITABLE_BY_ALL != 0
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, chown};

    use super::*;

    /// A folder that only we and root may write into, with a program in it.
    struct Place {
        folder: PathBuf,
        program: PathBuf,
        /// Us.
        owner: u32,
    }

    impl Place {
        fn new(name: &str) -> Self {
            // Not in a folder for temporary files, which everybody may write into.
            let own = std::env::current_exe().unwrap();
            let name = format!("ownership-{name}-{}", std::process::id());
            let folder = own.parent().unwrap().join(name);
            fs::create_dir_all(&folder).unwrap();
            let program = folder.join("program");
            fs::write(&program, "").unwrap();
            mode(&folder, 0o755);
            mode(&program, 0o755);
            let owner = fs::metadata(&program).unwrap().uid();
            Self {
                folder,
                program,
                owner,
            }
        }

        fn open(&self) -> Option<PathBuf> {
            writable_by_others(&self.program, &[ROOT, self.owner]).unwrap()
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.folder).unwrap();
        }
    }

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn what_others_may_write_is_named_be_it_the_file_or_a_folder_above() {
        let place = Place::new("modes");
        assert_eq!(place.open(), None);
        mode(&place.program, 0o757);
        assert_eq!(place.open().as_ref(), Some(&place.program));
        mode(&place.folder, 0o777);
        assert_eq!(place.open().as_ref(), Some(&place.folder));
        mode(&place.folder, 0o1777);
        assert_eq!(
            place.open().as_ref(),
            Some(&place.folder),
            "others may add to it"
        );
        mode(&place.folder, 0o755);
        fs::remove_file(&place.program).unwrap();
        assert_eq!(place.open(), None, "nobody else may put one there");
    }

    #[test]
    fn what_another_owns_or_his_group_may_write_is_named() {
        let place = Place::new("owners");
        if chown(&place.program, None, Some(54_321)).is_err() {
            return assert_ne!(place.owner, ROOT);
        }
        assert_eq!(place.open(), None);
        mode(&place.program, 0o775);
        assert_eq!(place.open().as_ref(), Some(&place.program));
        chown(&place.program, None, Some(ROOT)).unwrap();
        assert_eq!(place.open(), None, "root's own group");
        chown(&place.folder, None, Some(54_321)).unwrap();
        mode(&place.folder, 0o1775);
        assert_eq!(place.open(), None, "what is in there is kept apart");
        chown(&place.folder, Some(54_321), None).unwrap();
        assert_eq!(place.open().as_ref(), Some(&place.folder));
    }
}
