//! What is kept of flows' programs, bounded in bytes.
//!
//! A description may be long: paths of four kilobytes, sixteen ancestors, sixteen holders of one socket, four kilobytes of
//! arguments; and records keep it when its flow has ended. So flows with equal descriptions share one, and all of them together
//! have a budget. A flow beyond it is judged by all that is known, and keeps a short form: the first program, without
//! arguments and ancestors. A later policy judges it as one whose program is lost, since what its rules ask may be gone.
//!
//! A user's descriptions are kept whole while they are fewer bytes than are free: one user takes half of the budget at most, two
//! take two thirds, and who comes then finds room.

use std::hash::{BuildHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tidegate_netstack::keyed::{KeyedHash, KeyedMap};
use tidegate_policy::App;

/// Bytes of whole descriptions.
const BUDGET: usize = 64 << 20;
/// A short form names the file of a longer path only.
const LONGEST_PATH: usize = 512;
/// How often it is looked for room that has come free.
const PAUSE: Duration = Duration::from_secs(1);
/// So few descriptions are not worth a look for those that nobody has any more.
const FEW: usize = 64;

/// The descriptions that a worker's flows have.
#[derive(Debug)]
pub(super) struct Descriptions {
    hash: KeyedHash,
    /// By a hash of the whole: programs choose what it says, and many alike in part would be compared with each other.
    known: KeyedMap<u64, Vec<Known>>,
    count: usize,
    bytes: usize,
    /// Of the bytes each user's.
    of_user: KeyedMap<u32, usize>,
    budget: usize,
    /// How many there may be before it is looked which are gone.
    most: usize,
    looked: Option<Instant>,
}

#[derive(Debug)]
struct Known {
    apps: Weak<[App]>,
    bytes: usize,
    user: Option<u32>,
}

/// What a flow may keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    Whole(Arc<[App]>),
    Short(Arc<[App]>),
}

impl Descriptions {
    pub(super) fn new(hash: KeyedHash) -> Self {
        Self::within(BUDGET, hash)
    }

    fn within(budget: usize, hash: KeyedHash) -> Self {
        Self {
            known: KeyedMap::with_hasher(hash.clone()),
            of_user: KeyedMap::with_hasher(hash.clone()),
            hash,
            count: 0,
            bytes: 0,
            budget,
            most: FEW,
            looked: None,
        }
    }

    /// What a flow of these programs keeps.
    pub(super) fn keep(&mut self, now: Instant, apps: Arc<[App]>) -> Kept {
        let key = key(&self.hash, &apps);
        let alike = self.known.get(&key).into_iter().flatten();
        let mut alike = alike.filter_map(|known| known.apps.upgrade());
        if let Some(known) = alike.find(|known| Arc::ptr_eq(known, &apps) || **known == *apps) {
            return Kept::Whole(known);
        }
        let bytes = bytes_of(&apps);
        // All that hold a socket have it of one user.
        let user = apps.first().map(|app| app.uid);
        if self.count >= self.most || (!self.has_room(user, bytes) && self.may_look(now)) {
            self.forget_those_gone(now);
        }
        if !self.has_room(user, bytes) {
            return Kept::Short(short(&apps));
        }
        self.known.entry(key).or_default().push(Known {
            apps: Arc::downgrade(&apps),
            bytes,
            user,
        });
        self.count += 1;
        self.bytes += bytes;
        if let Some(user) = user {
            *self.of_user.entry(user).or_default() += bytes;
        }
        Kept::Whole(apps)
    }

    fn has_room(&self, user: Option<u32>, bytes: usize) -> bool {
        let own = user.and_then(|user| self.of_user.get(&user));
        own.copied().unwrap_or_default() + bytes <= self.budget.saturating_sub(self.bytes)
    }

    fn may_look(&self, now: Instant) -> bool {
        self.looked
            .is_none_or(|looked| now.saturating_duration_since(looked) >= PAUSE)
    }

    fn forget_those_gone(&mut self, now: Instant) {
        (self.count, self.bytes) = (0, 0);
        self.of_user.clear();
        self.known.retain(|_, alike| {
            alike.retain(|known| known.apps.strong_count() > 0);
            self.count += alike.len();
            for known in alike.iter() {
                self.bytes += known.bytes;
                if let Some(user) = known.user {
                    *self.of_user.entry(user).or_default() += known.bytes;
                }
            }
            !alike.is_empty()
        });
        self.most = FEW + 2 * self.count;
        self.looked = Some(now);
    }
}

/// Equal for equal descriptions, and seldom else.
fn key(hash: &KeyedHash, apps: &[App]) -> u64 {
    let mut hasher = hash.build_hasher();
    for app in apps {
        let App {
            path,
            name,
            pid,
            uid,
            user,
            command_line,
            parents,
            unit,
            container,
            identity,
        } = app;
        (
            pid,
            uid,
            name,
            user,
            command_line,
            unit,
            container,
            identity,
        )
            .hash(&mut hasher);
        // By bytes: to hash a path takes it apart, which is slow.
        path.as_os_str().hash(&mut hasher);
        parents.len().hash(&mut hasher);
        for parent in parents {
            parent.as_os_str().hash(&mut hasher);
        }
    }
    hasher.finish()
}

fn bytes_of(apps: &[App]) -> usize {
    let text = |text: &Option<String>| text.as_ref().map_or(0, String::capacity);
    let of_one = |app: &App| {
        let words = app.command_line.iter();
        let words = words.map(|word| size_of::<String>() + word.capacity());
        let parents = app.parents.iter();
        let parents = parents.map(|path| size_of::<PathBuf>() + path.capacity());
        let texts = [&app.user, &app.unit, &app.container].map(text);
        size_of::<App>()
            + app.path.capacity()
            + app.name.capacity()
            + words.sum::<usize>()
            + parents.sum::<usize>()
            + texts.iter().sum::<usize>()
            + app.identity.bytes()
    };
    apps.iter().map(of_one).sum()
}

fn short(apps: &[App]) -> Arc<[App]> {
    let of_one = |app: &App| {
        let whole = app.path.as_os_str().len() <= LONGEST_PATH;
        let path: &Path = if whole { &app.path } else { app.name.as_ref() };
        App {
            name: app.name.clone(),
            pid: app.pid,
            user: app.user.clone(),
            unit: app.unit.clone(),
            container: app.container.clone(),
            ..App::new(path.to_owned(), app.uid)
        }
    };
    apps.first().map(of_one).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use tidegate_netstack::keyed::keyed_hash;

    use super::*;

    fn descriptions() -> Descriptions {
        Descriptions::new(keyed_hash(1))
    }

    /// A socket's holders, whose processes have these ids.
    fn holders(pids: std::ops::Range<u32>) -> Arc<[App]> {
        holders_of(1000, pids)
    }

    fn holders_of(uid: u32, pids: std::ops::Range<u32>) -> Arc<[App]> {
        let long = PathBuf::from(format!("/{}", "x".repeat(3_800)));
        let holder = |pid| App {
            name: "x".repeat(200),
            pid,
            user: Some("alice".to_owned()),
            command_line: vec!["x".repeat(1_000); 4],
            parents: vec![long.clone(); 16],
            ..App::new(long.clone(), uid)
        };
        pids.map(holder).collect()
    }

    #[test]
    fn flows_of_equal_descriptions_share_one() {
        let mut descriptions = descriptions();
        let now = Instant::now();
        let Kept::Whole(first) = descriptions.keep(now, holders(1..16)) else {
            panic!("there is room");
        };
        for _ in 0..200 {
            let kept = descriptions.keep(now, holders(1..16));
            assert!(matches!(kept, Kept::Whole(again) if Arc::ptr_eq(&again, &first)));
        }
        assert!(descriptions.bytes < 2 << 20);
        let Kept::Whole(other) = descriptions.keep(now, holders(2..17)) else {
            panic!("there is room");
        };
        assert_ne!(first, other);
    }

    #[test]
    fn beyond_the_budget_a_short_form_is_kept_and_the_budget_is_free_again_with_the_flows() {
        const MANY: u32 = 2_000;
        let mut descriptions = Descriptions::within(8 << 20, keyed_hash(1));
        let now = Instant::now();
        let keep = |descriptions: &mut Descriptions, now| -> Vec<Kept> {
            let apps = (0..MANY).map(|pid| holders(pid..pid + 1));
            apps.map(|apps| descriptions.keep(now, apps)).collect()
        };
        let kept = keep(&mut descriptions, now);
        let bytes = |kept: &Kept| match kept {
            Kept::Whole(apps) | Kept::Short(apps) => bytes_of(apps),
        };
        let whole = kept.iter().filter(|kept| matches!(kept, Kept::Whole(_)));
        assert!((50..200).contains(&whole.count()));
        let sum: usize = kept.iter().map(bytes).sum();
        assert!(sum < (8 << 20) + 2_000 * 1_000, "{sum}");
        let Some(Kept::Short(last)) = kept.last() else {
            panic!("the budget is spent");
        };
        assert_eq!((last[0].pid, last[0].uid), (MANY - 1, 1000));
        assert!(last[0].command_line.is_empty() && last[0].parents.is_empty());
        drop(kept);
        let again = keep(&mut descriptions, now + PAUSE);
        assert!(matches!(again.first(), Some(Kept::Whole(_))));
    }

    #[test]
    fn one_user_takes_half_of_the_budget_and_others_find_room() {
        const BUDGET: usize = 8 << 20;
        let mut descriptions = Descriptions::within(BUDGET, keyed_hash(1));
        let now = Instant::now();
        let mut kept = Vec::new();
        let mut fill = |descriptions: &mut Descriptions, uid| {
            let before = descriptions.bytes;
            for pid in 0..500 {
                kept.push(descriptions.keep(now, holders_of(uid, pid..pid + 1)));
            }
            descriptions.bytes - before
        };
        let one = fill(&mut descriptions, 1);
        assert!((BUDGET * 4 / 10..=BUDGET / 2).contains(&one), "{one}");
        let two = fill(&mut descriptions, 2);
        assert!((BUDGET * 2 / 10..=BUDGET / 4).contains(&two), "{two}");
        for uid in 3..6 {
            assert!(fill(&mut descriptions, uid) > 0, "user {uid}");
        }
        drop(kept);
        descriptions.forget_those_gone(now);
        assert!(descriptions.bytes == 0 && descriptions.of_user.is_empty());
    }

    #[test]
    fn descriptions_that_differ_in_what_they_say_only_have_keys_of_their_own() {
        let hash = keyed_hash(1);
        let apps = holders(1..2);
        let with = |change: fn(&mut App)| {
            let mut apps = apps.to_vec();
            apps.iter_mut().for_each(change);
            key(&hash, &apps)
        };
        let plain = with(|_| {});
        assert_eq!(plain, key(&hash, &apps));
        assert_ne!(
            plain,
            with(|app| app.command_line[3].replace_range(..1, "y"))
        );
        assert_ne!(plain, with(|app| app.path.push("y")));
        assert_ne!(plain, with(|app| app.parents[15].push("y")));
    }

    #[test]
    fn descriptions_that_nobody_has_are_not_remembered() {
        let mut descriptions = descriptions();
        for pid in 0..10_000 {
            descriptions.keep(Instant::now(), holders(pid..pid + 1));
        }
        assert!(descriptions.count <= FEW && descriptions.known.len() <= FEW);
    }
}
