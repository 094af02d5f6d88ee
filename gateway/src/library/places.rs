//! Databases of places: where an address is, and whose network it is in.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidegate_platform::mapped_file::MappedFile;
use tidegate_policy::geo::{Database, Place};
use tidegate_policy::{Continent, Country, Fact, Scope};

use super::folder;
use super::state::PlacesState;
use crate::config::Geo;

/// What a database has at most: the largest that are sold have one gigabyte.
const LARGEST: u64 = 2 << 30;

/// The databases that are loaded.
#[derive(Debug, Default)]
pub struct Places {
    databases: Vec<Loaded>,
}

#[derive(Clone, Debug)]
struct Loaded {
    path: PathBuf,
    stamp: Stamp,
    database: Arc<Database<MappedFile>>,
}

/// Tells whether a file was replaced or written: device, inode, length, last change.
type Stamp = (u64, u64, u64, i64, i64);

/// What is known of the place of an address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlaceFacts {
    /// The country in which it is in use.
    pub country: Fact<Country>,
    /// The continent.
    pub continent: Fact<Continent>,
    /// The autonomous system that announces it.
    pub system: Fact<u32>,
}

impl Places {
    /// Opens the databases that are named, but for those that did not change. Of one that cannot be opened the one before
    /// stays.
    pub(super) fn load(
        geo: &Geo,
        folder: Option<&Path>,
        before: &Self,
    ) -> (Self, Vec<PlacesState>) {
        let mut places = Self::default();
        let mut states = Vec::new();
        for path in geo.files() {
            let old = before.databases.iter().find(|old| old.path == *path);
            let loaded = load_one(path, folder, old);
            let problem = loaded.as_ref().err().cloned();
            let usable = loaded.ok().or(old.cloned());
            states.push(PlacesState {
                file: path.display().to_string(),
                kind: usable
                    .as_ref()
                    .map(|loaded| loaded.database.kind().to_owned()),
                problem,
            });
            places.databases.extend(usable);
        }
        (places, states)
    }

    /// Whether these are the same files, unchanged.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let stamps = |places: &Self| -> Vec<(PathBuf, Stamp)> {
            let loaded = places.databases.iter();
            loaded
                .map(|loaded| (loaded.path.clone(), loaded.stamp))
                .collect()
        };
        stamps(self) == stamps(other)
    }

    /// What is known of the place of an address. Allocates nothing.
    ///
    /// Only addresses of the internet have a place. Without a database nothing is known of any.
    pub fn of(&self, address: IpAddr) -> PlaceFacts {
        if self.databases.is_empty() {
            return PlaceFacts::default();
        }
        if Scope::of(address) != Scope::Internet {
            return PlaceFacts {
                country: Fact::Absent,
                continent: Fact::Absent,
                system: Fact::Absent,
            };
        }
        let mut place = Place::default();
        for loaded in &self.databases {
            // Of a damaged record nothing is known.
            place = place.or(loaded.database.place(address).unwrap_or_default());
        }
        PlaceFacts {
            country: place.country.map_or(Fact::Unknown, Fact::Is),
            continent: place.continent.map_or(Fact::Unknown, Fact::Is),
            system: place.system.map_or(Fact::Unknown, Fact::Is),
        }
    }
}

fn load_one(path: &Path, folder: Option<&Path>, old: Option<&Loaded>) -> Result<Loaded, String> {
    let text = |error: std::io::Error| error.to_string();
    let metadata = fs::metadata(path).map_err(text)?;
    let stamp = (
        metadata.dev(),
        metadata.ino(),
        metadata.len(),
        metadata.ctime(),
        metadata.ctime_nsec(),
    );
    if let Some(old) = old.filter(|old| old.stamp == stamp) {
        return Ok(old.clone());
    }
    let folder = folder.ok_or("there is no folder for a copy: set HOME or STATE_DIRECTORY")?;
    folder::make(folder).map_err(text)?;
    let bytes = MappedFile::copy_of(path, folder, LARGEST).map_err(text)?;
    let database = Database::open(bytes).map_err(|error| error.to_string())?;
    Ok(Loaded {
        path: path.to_owned(),
        stamp,
        database: Arc::new(database),
    })
}
