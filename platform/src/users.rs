//! Login names and groups, read from `/etc/passwd` and `/etc/group`.
//!
//! The files are parsed here and `getpwuid` is never called: it may ask a network service for the name, from inside the
//! program that holds the network. Users who are in no file simply have no name.

use std::collections::hash_map::Entry;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use rustc_hash::FxHashMap;

/// A longer file is not read to its end.
const LONGEST_FILE: u64 = 4 << 20;
/// How long a look at the file's time stamp is trusted.
const RECHECK: Duration = Duration::from_secs(1);

/// Login names by user id, following changes of the file.
#[derive(Debug)]
pub struct Users {
    path: PathBuf,
    names: FxHashMap<u32, String>,
    stamp: Option<Stamp>,
    checked: Option<Instant>,
}

#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
}

impl From<&Metadata> for Stamp {
    fn from(metadata: &Metadata) -> Self {
        Self {
            modified: metadata.modified().ok(),
            length: metadata.len(),
        }
    }
}

impl Default for Users {
    fn default() -> Self {
        Self::in_file(PathBuf::from("/etc/passwd"))
    }
}

impl Users {
    /// Users of a file in the form of `/etc/passwd`. It is read when the first name is asked for.
    pub fn in_file(path: PathBuf) -> Self {
        Self {
            path,
            names: FxHashMap::default(),
            stamp: None,
            checked: None,
        }
    }

    /// The login name of `uid`, if the file has one. The first of several holds, as for the C library.
    pub fn name(&mut self, uid: u32) -> Option<&str> {
        self.refresh();
        self.names.get(&uid).map(String::as_str)
    }

    /// What cannot be read leaves the names as they were: a file that is being replaced is there again soon.
    fn refresh(&mut self) {
        let now = Instant::now();
        if self
            .checked
            .is_some_and(|checked| now.duration_since(checked) < RECHECK)
        {
            return;
        }
        self.checked = Some(now);
        let Ok(metadata) = std::fs::metadata(&self.path) else {
            return;
        };
        let stamp = Stamp::from(&metadata);
        if self.stamp.as_ref() == Some(&stamp) {
            return;
        }
        match read_bounded(&self.path) {
            Ok(text) => {
                self.names = parse_users(&text);
                self.stamp = Some(stamp);
            }
            Err(error) => tracing::warn!(path = %self.path.display(), %error, "cannot read users"),
        }
    }
}

fn read_bounded(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(LONGEST_FILE)
        .read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

pub(crate) fn parse_users(text: &str) -> FxHashMap<u32, String> {
    let mut names = FxHashMap::default();
    for line in text.lines() {
        let mut columns = line.split(':');
        let (Some(name), Some(uid)) = (columns.next(), columns.nth(1)) else {
            continue;
        };
        if let (false, Ok(uid)) = (name.is_empty(), uid.parse())
            && let Entry::Vacant(vacant) = names.entry(uid)
        {
            vacant.insert(name.to_owned());
        }
    }
    names
}

/// A group of `/etc/group`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Group id.
    pub gid: u32,
    /// Login names of those who are in it beside their own group.
    pub members: Vec<String>,
}

impl Group {
    /// Finds the group `name` in `/etc/group`.
    ///
    /// # Errors
    /// The system's, if the file is there but cannot be read.
    pub fn named(name: &str) -> io::Result<Option<Self>> {
        match read_bounded(Path::new("/etc/group")) {
            Ok(text) => Ok(Self::parse(name, &text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Finds the group `name` in a text of the form of `/etc/group`.
    pub fn parse(name: &str, text: &str) -> Option<Self> {
        text.lines().find_map(|line| {
            let mut columns = line.split(':');
            let gid = (columns.next()? == name)
                .then(|| columns.nth(1))??
                .parse()
                .ok()?;
            let members = columns.next().unwrap_or_default().split(',').map(str::trim);
            Some(Self {
                gid,
                members: members
                    .filter(|member| !member.is_empty())
                    .map(str::to_owned)
                    .collect(),
            })
        })
    }

    /// Whether a peer with this group id, or this user, belongs to the group.
    pub fn holds(&self, gid: u32, uid: u32, users: &mut Users) -> bool {
        self.gid == gid
            || users
                .name(uid)
                .is_some_and(|name| self.members.iter().any(|member| member == name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_found_by_id_and_broken_lines_are_passed_over() {
        let names = parse_users(
            "root:x:0:0:root:/root:/bin/sh\ntoor:x:0:0::/:\n\nbroken\n:x:7:7\nann:x:1000:1000:::\n+::::\n",
        );
        assert_eq!(names.get(&0).map(String::as_str), Some("root"));
        assert_eq!(names.get(&1000).map(String::as_str), Some("ann"));
        assert_eq!(names.len(), 2);
    }

    #[test]
    fn a_changed_file_is_read_again() {
        let path = std::env::temp_dir().join(format!("tidegate-users-{}", std::process::id()));
        std::fs::write(&path, "ann:x:1000:1000:::\n").unwrap();
        let mut users = Users::in_file(path.clone());
        assert_eq!(users.name(1000), Some("ann"));
        std::fs::write(&path, "berta:x:1000:1000:::\n").unwrap();
        users.checked = None;
        assert_eq!(users.name(1000), Some("berta"));
        std::fs::remove_file(&path).unwrap();
        users.checked = None;
        assert_eq!(users.name(1000), Some("berta"));
    }

    #[test]
    fn a_group_has_its_members() {
        let text = "root:x:0:\ntidegate:x:990:ann, berta\ntidegate2:x:991:eve\n";
        let group = Group::parse("tidegate", text).unwrap();
        assert_eq!(
            group,
            Group {
                gid: 990,
                members: vec!["ann".to_owned(), "berta".to_owned()]
            }
        );
        assert_eq!(Group::parse("tide", text), None);
    }

    #[test]
    fn a_peer_belongs_by_its_group_or_its_name() {
        let path = std::env::temp_dir().join(format!("tidegate-peers-{}", std::process::id()));
        std::fs::write(&path, "ann:x:1000:1000:::\neve:x:1001:1001:::\n").unwrap();
        let mut users = Users::in_file(path.clone());
        let group = Group {
            gid: 990,
            members: vec!["ann".to_owned()],
        };
        assert!(group.holds(990, 5000, &mut users));
        assert!(group.holds(1000, 1000, &mut users));
        assert!(!group.holds(1001, 1001, &mut users));
        std::fs::remove_file(path).unwrap();
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[a-z0-9:,\n ]{0,200}") {
            parse_users(&text);
            Group::parse("a", &text);
        }
    }
}
