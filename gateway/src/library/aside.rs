//! What a daemon keeps of lists, for someone who must not change it.
//!
//! A folder of our own with links to the daemon's files: what is taken, compiled or removed is so in that folder only.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};

use tidegate_platform::random;

use super::Library;

/// A library whose files go when it does.
#[derive(Debug)]
pub struct Aside {
    library: Library,
    folder: PathBuf,
}

impl Aside {
    /// Knows what the library beneath `state_folder` keeps.
    ///
    /// # Errors
    /// The folder for temporary files cannot be written.
    pub fn of(state_folder: Option<&Path>) -> io::Result<Self> {
        let name = format!("tidegate-{:016x}", random::seed()?);
        let folder = std::env::temp_dir().join(name);
        // It must not be there: others may write where it is made.
        DirBuilder::new().mode(0o700).create(&folder)?;
        let own = Self {
            library: Library::new(Some(folder.clone())),
            folder,
        };
        if let Some(theirs) = state_folder {
            for part in ["lists", "lists/texts"] {
                link_all(&theirs.join(part), &own.folder.join(part))?;
            }
        }
        Ok(own)
    }

    /// The library, to be brought up to date.
    pub fn library(&self) -> &Library {
        &self.library
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        // Of a link only the link is removed.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// What cannot be read is not known.
fn link_all(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    let Ok(entries) = fs::read_dir(from) else {
        return Ok(());
    };
    for entry in entries.flatten() {
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        let name = entry.file_name();
        // Others begin with a dot while they are written.
        if is_file && !name.to_string_lossy().starts_with('.') {
            symlink(std::path::absolute(entry.path())?, to.join(name))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tidegate_policy::{Document, PolicySource};

    use super::*;
    use crate::config::Geo;
    use crate::test_folder::TestFolder;

    /// Refreshes by a list of this name from this file. Whether it is loaded, and how many entries there are.
    fn refresh(library: &Library, file: &Path) -> (bool, usize) {
        let text = format!(
            "[[list]]\nname = \"one\"\nsource = \"{}\"\n",
            file.display()
        );
        let document = Document::parse("t.toml", &text).unwrap();
        let mut source = PolicySource::default();
        source.read_main(&document);
        assert_eq!(document.finish(), []);
        library.refresh(&source.lists, &Geo::default());
        let list = library.state().lists.remove(0);
        (list.loaded, list.entries)
    }

    fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut all = BTreeMap::new();
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                all.append(&mut files(&path));
            } else {
                all.insert(path.clone(), fs::read(&path).unwrap());
            }
        }
        all
    }

    #[test]
    fn what_is_kept_is_known_and_nothing_of_it_changes() {
        let folder = TestFolder::new();
        let one = folder.write("one.txt", "192.0.2.1\n192.0.2.2\n");
        let other = folder.write("other.txt", "192.0.2.9\n");
        let state = folder.path().join("state");
        assert_eq!(refresh(&Library::new(Some(state.clone())), &one), (true, 2));
        let before = files(&state);
        let aside = Aside::of(Some(&state)).unwrap();
        assert_eq!(refresh(aside.library(), &other), (true, 1));
        drop(aside);
        // The text that is kept counts where the file is gone.
        fs::remove_file(&one).unwrap();
        let aside = Aside::of(Some(&state)).unwrap();
        assert_eq!(refresh(aside.library(), &one), (true, 2));
        let own = aside.folder.clone();
        drop(aside);
        assert!(!own.exists());
        assert_eq!(files(&state), before);
    }
}
