//! What is kept of flows' programs, bounded in bytes.
//!
//! A description may be long: paths of four kilobytes, sixteen ancestors, sixteen holders of one socket, four kilobytes of
//! arguments; and records keep it when its flow has ended. So flows with equal descriptions share one, and all of them together
//! have a budget. A flow beyond it is judged by all that is known, and keeps a short form: the first program, without
//! arguments and ancestors. A later policy judges it as one whose program is lost, since what its rules ask may be gone.

use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use rustc_hash::{FxHashMap, FxHasher};
use tidegate_policy::{App, Identity};

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
    /// By what is quickly compared.
    known: FxHashMap<u64, Vec<Known>>,
    count: usize,
    bytes: usize,
    budget: usize,
    /// How many there may be before it is looked which are gone.
    most: usize,
    looked: Option<Instant>,
}

#[derive(Debug)]
struct Known {
    apps: Weak<[App]>,
    bytes: usize,
}

/// What a flow may keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    Whole(Arc<[App]>),
    Short(Arc<[App]>),
}

impl Default for Descriptions {
    fn default() -> Self {
        Self::within(BUDGET)
    }
}

impl Descriptions {
    fn within(budget: usize) -> Self {
        Self {
            known: FxHashMap::default(),
            count: 0,
            bytes: 0,
            budget,
            most: FEW,
            looked: None,
        }
    }

    /// What a flow of these programs keeps.
    pub(super) fn keep(&mut self, now: Instant, apps: Arc<[App]>) -> Kept {
        let key = key(&apps);
        let alike = self.known.get(&key).into_iter().flatten();
        let mut alike = alike.filter_map(|known| known.apps.upgrade());
        if let Some(known) = alike.find(|known| Arc::ptr_eq(known, &apps) || **known == *apps) {
            return Kept::Whole(known);
        }
        let bytes = bytes_of(&apps);
        if self.count >= self.most || (self.bytes + bytes > self.budget && self.may_look(now)) {
            self.forget_those_gone(now);
        }
        if self.bytes + bytes > self.budget {
            return Kept::Short(short(&apps));
        }
        self.known.entry(key).or_default().push(Known {
            apps: Arc::downgrade(&apps),
            bytes,
        });
        self.count += 1;
        self.bytes += bytes;
        Kept::Whole(apps)
    }

    fn may_look(&self, now: Instant) -> bool {
        self.looked
            .is_none_or(|looked| now.saturating_duration_since(looked) >= PAUSE)
    }

    fn forget_those_gone(&mut self, now: Instant) {
        (self.count, self.bytes) = (0, 0);
        self.known.retain(|_, alike| {
            alike.retain(|known| known.apps.strong_count() > 0);
            self.count += alike.len();
            self.bytes += alike.iter().map(|known| known.bytes).sum::<usize>();
            !alike.is_empty()
        });
        self.most = FEW + 2 * self.count;
        self.looked = Some(now);
    }
}

/// Equal for equal descriptions, and seldom else.
fn key(apps: &[App]) -> u64 {
    let mut hasher = FxHasher::default();
    for app in apps {
        (app.pid, app.uid, app.parents.len(), app.command_line.len()).hash(&mut hasher);
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
            path: path.to_owned(),
            name: app.name.clone(),
            pid: app.pid,
            uid: app.uid,
            user: app.user.clone(),
            command_line: Vec::new(),
            parents: Vec::new(),
            unit: app.unit.clone(),
            container: app.container.clone(),
            identity: Identity::default(),
        }
    };
    apps.first().map(of_one).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A socket's holders, whose processes have these ids.
    fn holders(pids: std::ops::Range<u32>) -> Arc<[App]> {
        let long = PathBuf::from(format!("/{}", "x".repeat(3_800)));
        let holder = |pid| App {
            path: long.clone(),
            name: "x".repeat(200),
            pid,
            uid: 1000,
            user: Some("alice".to_owned()),
            command_line: vec!["x".repeat(1_000); 4],
            parents: vec![long.clone(); 16],
            unit: None,
            container: None,
            identity: Identity::default(),
        };
        pids.map(holder).collect()
    }

    #[test]
    fn flows_of_equal_descriptions_share_one() {
        let mut descriptions = Descriptions::default();
        let now = Instant::now();
        let Kept::Whole(first) = descriptions.keep(now, holders(1..16)) else {
            panic!("there is room");
        };
        for _ in 0..8_000 {
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
        let mut descriptions = Descriptions::within(8 << 20);
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
    fn descriptions_that_nobody_has_are_not_remembered() {
        let mut descriptions = Descriptions::default();
        for pid in 0..10_000 {
            descriptions.keep(Instant::now(), holders(pid..pid + 1));
        }
        assert!(descriptions.count <= FEW && descriptions.known.len() <= FEW);
    }
}
