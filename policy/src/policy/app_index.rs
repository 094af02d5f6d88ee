//! From an application to the app conditions, of those that rules name, it may meet.
//!
//! A rule's app condition may have several fields. The rule is filed under the one field that fewest rules share (its
//! *anchor*); whoever finds it there checks the rest.

use rustc_hash::FxHashMap;

use super::text_index::TextIndex;
use crate::app_condition::{AppCondition, ContainerHead, ContainerPrefix};
use crate::facts::App;
use crate::facts::Fact;
use crate::glob::Landmark;
use crate::identity::Level;
use crate::pattern::Pattern;

/// The key of rules without app condition.
pub(super) const ANY_APP: u32 = 0;
/// The key of rules that no look-up finds, for instance those with the name `*x`: tried for every known app.
pub(super) const KNOWN_APP: u32 = 1;

/// One value of an app condition, in the form it is looked up by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Anchor {
    Path(Landmark),
    Name(Landmark),
    Unit(Landmark),
    Parent(Landmark),
    Container(ContainerHead),
    User(Box<str>),
    Uid(u32),
    Identity(Level, Landmark),
}

impl Anchor {
    fn text(&self) -> Option<&Landmark> {
        match self {
            Self::Path(text)
            | Self::Name(text)
            | Self::Unit(text)
            | Self::Parent(text)
            | Self::Identity(_, text) => Some(text),
            Self::Container(_) | Self::User(_) | Self::Uid(_) => None,
        }
    }

    fn is_nowhere(&self) -> bool {
        self.text() == Some(&Landmark::None)
    }

    /// Whether every app that is found by this anchor meets the condition that it stands for.
    fn is_whole_condition(&self) -> bool {
        match self {
            Self::User(_) | Self::Uid(_) => true,
            Self::Path(text)
            | Self::Name(text)
            | Self::Unit(text)
            | Self::Parent(text)
            | Self::Identity(_, text) => matches!(text, Landmark::Whole(_)),
            Self::Container(_) => false,
        }
    }
}

/// Where a rule is filed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Filing {
    pub(super) key: u32,
    /// Whether every app found under the key meets the rule's whole app condition.
    pub(super) settled: bool,
}

/// Gives each distinct anchor its key while the rules are read.
#[derive(Debug, Default)]
pub(super) struct AppKeys {
    popularity: FxHashMap<Anchor, u32>,
    index: AppIndex,
    count: u32,
}

/// From an application to the keys of the conditions it may meet.
#[derive(Debug, Default)]
pub(super) struct AppIndex {
    path: TextIndex,
    name: TextIndex,
    unit: TextIndex,
    parent: TextIndex,
    container: FxHashMap<ContainerHead, u32>,
    user: FxHashMap<Box<str>, u32>,
    uid: FxHashMap<u32, u32>,
    /// The levels that rules name.
    identity: Vec<(Level, TextIndex)>,
}

impl AppKeys {
    /// Counts the anchors of a rule. To be called for every rule before the first [`assign`](Self::assign).
    pub(super) fn count_anchors(&mut self, condition: &AppCondition) {
        for anchor in fields(condition).into_iter().flatten() {
            *self.popularity.entry(anchor).or_default() += 1;
        }
    }

    /// Where a rule with this condition is to be found.
    pub(super) fn assign(&mut self, condition: Option<&AppCondition>) -> Vec<Filing> {
        let Some(condition) = condition else {
            return vec![Filing {
                key: ANY_APP,
                settled: true,
            }];
        };
        let mut fields = fields(condition);
        fields.retain(|anchors| !anchors.is_empty());
        if fields.is_empty() {
            return vec![Filing {
                key: KNOWN_APP,
                settled: false,
            }];
        }
        let only_field = fields.len() == 1 && condition.except.is_none();
        let rarest = fields
            .into_iter()
            .min_by_key(|anchors| anchors.iter().map(|anchor| self.rules_with(anchor)).max());
        let mut filings: Vec<Filing> = rarest
            .unwrap_or_default()
            .into_iter()
            .map(|anchor| {
                let settled = only_field && anchor.is_whole_condition();
                Filing {
                    key: self.key_of(anchor),
                    settled,
                }
            })
            .collect();
        filings.sort_unstable_by_key(|filing| (filing.key, !filing.settled));
        filings.dedup_by_key(|filing| filing.key);
        filings
    }

    fn rules_with(&self, anchor: &Anchor) -> u32 {
        let counted = || self.popularity.get(anchor).copied().unwrap_or_default();
        if anchor.is_nowhere() {
            u32::MAX
        } else {
            counted()
        }
    }

    fn key_of(&mut self, anchor: Anchor) -> u32 {
        let next = self.count + KNOWN_APP + 1;
        let index = &mut self.index;
        let key = match anchor {
            Anchor::Path(landmark) => index.path.key_of(landmark, next),
            Anchor::Name(landmark) => index.name.key_of(landmark, next),
            Anchor::Unit(landmark) => index.unit.key_of(landmark, next),
            Anchor::Parent(landmark) => index.parent.key_of(landmark, next),
            Anchor::Container(head) => Some(*index.container.entry(head).or_insert(next)),
            Anchor::User(user) => Some(*index.user.entry(user).or_insert(next)),
            Anchor::Uid(uid) => Some(*index.uid.entry(uid).or_insert(next)),
            Anchor::Identity(level, landmark) => index.level(level).key_of(landmark, next),
        };
        let key = key.unwrap_or(KNOWN_APP);
        self.count += u32::from(key == next);
        key
    }

    /// The index, and how many keys there are.
    pub(super) fn build(self) -> (AppIndex, usize) {
        let count = self.count + KNOWN_APP + 1;
        (self.index, usize::try_from(count).unwrap_or(usize::MAX))
    }
}

/// The anchors of each field, the field that names a program most closely first: it wins among equals.
fn fields(condition: &AppCondition) -> Vec<Vec<Anchor>> {
    let identity = condition.identity.each();
    let identity =
        identity.map(|(level, values)| text_anchors(values, |text| Anchor::Identity(level, text)));
    let path = text_anchors(&condition.path, Anchor::Path);
    let others = [
        condition
            .container
            .iter()
            .map(|prefix| Anchor::Container(prefix.head()))
            .collect(),
        text_anchors(&condition.unit, Anchor::Unit),
        text_anchors(&condition.name, Anchor::Name),
        text_anchors(&condition.parent, Anchor::Parent),
        condition.user.iter().cloned().map(Anchor::User).collect(),
        condition.uid.iter().copied().map(Anchor::Uid).collect(),
    ];
    std::iter::once(path)
        .chain(identity)
        .chain(others)
        .collect()
}

fn text_anchors(patterns: &[Pattern], anchor: impl Fn(Landmark) -> Anchor) -> Vec<Anchor> {
    patterns
        .iter()
        .flat_map(Pattern::landmarks)
        .map(anchor)
        .collect()
}

impl AppIndex {
    fn level(&mut self, level: Level) -> &mut TextIndex {
        let known = self.identity.iter().position(|(own, _)| *own == level);
        let at = known.unwrap_or_else(|| {
            self.identity.push((level, TextIndex::default()));
            self.identity.len() - 1
        });
        &mut self.identity[at].1
    }

    /// Calls `visit` for every key whose rules may match `app`; a key may come twice.
    pub(super) fn each_key(&self, app: Option<&App>, visit: &mut impl FnMut(u32)) {
        visit(ANY_APP);
        let Some(app) = app else { return };
        visit(KNOWN_APP);
        self.path
            .each_key(app.path.as_os_str().as_encoded_bytes(), visit);
        self.name.each_key(app.name.as_bytes(), visit);
        if let Some(unit) = &app.unit {
            self.unit.each_key(unit.as_bytes(), visit);
        }
        if !self.parent.is_empty() {
            for parent in &app.parents {
                self.parent
                    .each_key(parent.as_os_str().as_encoded_bytes(), visit);
            }
        }
        for (level, index) in &self.identity {
            if let Fact::Is(value) = app.identity.at(*level) {
                index.each_key(value.as_bytes(), visit);
            }
        }
        let container = app.container.as_deref().and_then(ContainerPrefix::head_of);
        let found = [
            container.and_then(|head| self.container.get(&head)),
            app.user
                .as_ref()
                .and_then(|user| self.user.get(user.as_str())),
            self.uid.get(&app.uid),
        ];
        found.into_iter().flatten().for_each(|key| visit(*key));
    }
}
