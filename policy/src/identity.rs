//! What identifies a program beyond its path and its owner.
//!
//! Each level is looked up once somebody asks for it, for most of them take longer than a flow should wait. So a level may
//! be not looked at yet, which the caller mends ([`Policy::levels`](crate::Policy::levels)); looked at in vain; known to be
//! absent; or known.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::facts::Fact;

/// One thing that a program may be known by. Its value is a text, of a signal `true` or `false`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Level {
    /// The package that owns the executable: its manager and name, `deb:curl`.
    Package,
    /// The snap that the executable lies in.
    Snap,
    /// The flatpak that the executable lies in, by its application id.
    Flatpak,
    /// The AppImage that the executable lies in: what its mount says it comes from.
    AppImage,
    /// The file that an interpreter was told to run.
    Script,
    /// The unit of a user's own service manager.
    UserUnit,
    /// The systemd slice.
    Slice,
    /// What the container is called.
    ContainerName,
    /// The group that it runs as, by number.
    Gid,
    /// The same by name.
    Group,
    /// The executable's SHA-256.
    Sha256,
    /// Signal: another process traces it.
    Traced,
    /// Signal: its executable is no longer where it was started.
    Deleted,
    /// Signal: it runs code from where an ordinary user may write.
    Preload,
}

impl Level {
    /// All levels.
    pub const ALL: [Self; 14] = [
        Self::Package,
        Self::Snap,
        Self::Flatpak,
        Self::AppImage,
        Self::Script,
        Self::UserUnit,
        Self::Slice,
        Self::ContainerName,
        Self::Gid,
        Self::Group,
        Self::Sha256,
        Self::Traced,
        Self::Deleted,
        Self::Preload,
    ];

    /// What rules, tests and records call it.
    pub fn key(self) -> &'static str {
        match self {
            Self::Package => "package",
            Self::Snap => "snap",
            Self::Flatpak => "flatpak",
            Self::AppImage => "appimage",
            Self::Script => "script",
            Self::UserUnit => "user_unit",
            Self::Slice => "slice",
            Self::ContainerName => "container_name",
            Self::Gid => "gid",
            Self::Group => "group",
            Self::Sha256 => "sha256",
            Self::Traced => "traced",
            Self::Deleted => "deleted",
            Self::Preload => "preload",
        }
    }

    /// The level that is called so.
    pub fn parse(key: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.key() == key)
    }

    /// The stable id of the reason that it does not match.
    pub(crate) fn reason_id(self) -> &'static str {
        match self {
            Self::Package => "app-package",
            Self::Snap => "app-snap",
            Self::Flatpak => "app-flatpak",
            Self::AppImage => "app-appimage",
            Self::Script => "app-script",
            Self::UserUnit => "app-user-unit",
            Self::Slice => "app-slice",
            Self::ContainerName => "app-container-name",
            Self::Gid => "app-gid",
            Self::Group => "app-group",
            Self::Sha256 => "app-sha256",
            Self::Traced => "app-traced",
            Self::Deleted => "app-deleted",
            Self::Preload => "app-preload",
        }
    }

    fn position(self) -> usize {
        // In the order of `ALL`: a test holds it.
        self as usize
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.key())
    }
}

/// Some levels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Levels(u16);

impl Levels {
    /// None of them.
    pub const NONE: Self = Self(0);

    /// These and one more.
    #[must_use]
    pub fn with(self, level: Level) -> Self {
        Self(self.0 | 1 << level.position())
    }

    /// Whether this one is among them.
    pub fn contains(self, level: Level) -> bool {
        self.0 & (1 << level.position()) != 0
    }

    /// Those that are not among `others`.
    #[must_use]
    pub fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = Level> {
        let all = Level::ALL.into_iter();
        all.filter(move |level| self.contains(*level))
    }
}

impl FromIterator<Level> for Levels {
    fn from_iter<I: IntoIterator<Item = Level>>(levels: I) -> Self {
        levels.into_iter().fold(Self::NONE, Self::with)
    }
}

impl std::ops::BitOr for Levels {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// What is known of a program at each level. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Identity(Option<Arc<Known>>);

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Known {
    looked_at: Levels,
    values: [Fact<Box<str>>; Level::ALL.len()],
}

impl Identity {
    /// What is known at this level; a level that was not looked at is not known.
    pub fn at(&self, level: Level) -> Fact<&str> {
        let known = self.0.as_deref();
        match known.and_then(|known| known.values.get(level.position())) {
            None | Some(Fact::Unknown) => Fact::Unknown,
            Some(Fact::Absent) => Fact::Absent,
            Some(Fact::Is(value)) => Fact::Is(value),
        }
    }

    /// The levels that were looked at, also in vain.
    pub fn looked_at(&self) -> Levels {
        self.0
            .as_ref()
            .map_or(Levels::NONE, |known| known.looked_at)
    }

    /// Notes what was found at a level.
    pub fn note(&mut self, level: Level, found: Fact<Box<str>>) {
        let known = Arc::make_mut(self.0.get_or_insert_default());
        known.looked_at = known.looked_at.with(level);
        if let Some(value) = known.values.get_mut(level.position()) {
            *value = found;
        }
    }

    /// The memory that it takes beyond its own size, and shares with its clones.
    pub fn bytes(&self) -> usize {
        let texts: usize = self.known().map(|(_, text)| text.len()).sum();
        self.0.as_ref().map_or(0, |_| size_of::<Known>()) + texts
    }

    /// Each level that has a value, with it.
    pub fn known(&self) -> impl Iterator<Item = (Level, &str)> {
        Level::ALL
            .into_iter()
            .filter_map(|level| match self.at(level) {
                Fact::Is(value) => Some((level, value)),
                Fact::Unknown | Fact::Absent => None,
            })
    }
}

impl FromIterator<(Level, Fact<Box<str>>)> for Identity {
    fn from_iter<I: IntoIterator<Item = (Level, Fact<Box<str>>)>>(found: I) -> Self {
        let mut identity = Self::default();
        for (level, found) in found {
            identity.note(level, found);
        }
        identity
    }
}

/// A map from the keys of levels to values, or to null where it is known that there is none.
impl Serialize for Identity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(
            Level::ALL
                .into_iter()
                .filter_map(|level| match self.at(level) {
                    Fact::Unknown => None,
                    Fact::Absent => Some((level.key(), None)),
                    Fact::Is(value) => Some((level.key(), Some(value))),
                }),
        )
    }
}

impl<'de> Deserialize<'de> for Identity {
    /// Levels of a later version are passed over.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let map: BTreeMap<String, Option<Box<str>>> = BTreeMap::deserialize(deserializer)?;
        let found = map.into_iter().filter_map(|(key, value)| {
            Some((Level::parse(&key)?, value.map_or(Fact::Absent, Fact::Is)))
        });
        Ok(found.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_level_has_its_place_and_is_read_back_by_its_key() {
        for (place, level) in Level::ALL.into_iter().enumerate() {
            assert_eq!(level.position(), place);
            assert_eq!(Level::parse(level.key()), Some(level));
            assert_eq!(
                level.reason_id(),
                format!("app-{}", level.key().replace('_', "-"))
            );
            assert_eq!(Levels::NONE.with(level).iter().collect::<Vec<_>>(), [level]);
        }
        assert_eq!(Level::parse("path"), None);
    }

    #[test]
    fn what_was_looked_at_in_vain_is_told_from_what_was_not_looked_at() {
        let mut identity = Identity::default();
        assert_eq!(identity.at(Level::Snap), Fact::Unknown);
        assert!(identity.looked_at().is_empty());
        identity.note(Level::Snap, Fact::Unknown);
        identity.note(Level::Package, Fact::Is("deb:curl".into()));
        identity.note(Level::Flatpak, Fact::Absent);
        assert_eq!(identity.at(Level::Snap), Fact::Unknown);
        let looked: Levels = [Level::Snap, Level::Package, Level::Flatpak]
            .into_iter()
            .collect();
        assert_eq!(identity.looked_at(), looked);
        assert_eq!(
            identity.known().collect::<Vec<_>>(),
            [(Level::Package, "deb:curl")]
        );
    }

    #[test]
    fn it_is_written_as_a_map_and_read_back() {
        let identity: Identity = [
            (Level::Package, Fact::Is("deb:curl".into())),
            (Level::Snap, Fact::Absent),
        ]
        .into_iter()
        .collect();
        let text = serde_json::to_string(&identity).unwrap();
        assert_eq!(text, r#"{"package":"deb:curl","snap":null}"#);
        assert_eq!(serde_json::from_str::<Identity>(&text).unwrap(), identity);
        let later = r#"{"package":"deb:curl","snap":null,"star sign":"leo"}"#;
        assert_eq!(serde_json::from_str::<Identity>(later).unwrap(), identity);
    }
}
