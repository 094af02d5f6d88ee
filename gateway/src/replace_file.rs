//! A file that is replaced as a whole: who reads it sees the old text or the new one, also after a crash.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// Puts `bytes` in the place of what `path` holds, with the old file's permissions.
///
/// # Errors
/// The folder cannot be written; the file is as it was.
pub fn replace_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    // A dot before it: not taken for a rule file meanwhile.
    let mut hidden = OsString::from(".");
    hidden.push(name);
    hidden.push(".new");
    let new = path.with_file_name(hidden);
    let written = write_new(&new, path, bytes).and_then(|()| fs::rename(&new, path));
    if written.is_err() {
        // What went wrong first is what is told.
        let _ = fs::remove_file(&new);
        return written;
    }
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

fn write_new(new: &Path, old: &Path, bytes: &[u8]) -> io::Result<()> {
    // Left behind by who was killed between the two steps.
    match fs::remove_file(new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).open(new)?;
    if let Ok(old) = fs::metadata(old) {
        file.set_permissions(old.permissions())?;
    }
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::test_folder::TestFolder;

    #[test]
    fn the_new_text_has_the_old_permissions_and_nothing_is_left_beside_it() {
        let folder = TestFolder::new();
        let path = folder.write("a.toml", "old");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        folder.write(".a.toml.new", "left behind");
        replace_file(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o640);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_cannot_be_replaced_stays() {
        let folder = TestFolder::new();
        let path = folder.write("a/b", "old");
        assert!(replace_file(&folder.path().join("a"), b"new").is_err());
        assert!(replace_file(&folder.path().join("none/c"), b"new").is_err());
        assert_eq!(fs::read(path).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
