//! What lists say about a name or an address, and which of them.

use super::super::{Effect, RecordType};

/// How many lists one file holds.
pub const MOST_LISTS: usize = 64;

/// A list within one file. What rules call a list ([`ListId`](crate::ListId)) is a name or a category, so it may be several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListNumber(pub(super) u8);

/// Some of a file's lists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ListSet(pub(super) u64);

impl ListSet {
    /// None.
    pub const EMPTY: Self = Self(0);

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether `list` is among them.
    pub fn contains(self, list: ListNumber) -> bool {
        self.0 & Self::from(list).0 != 0
    }

    /// Those in both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Those in either.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Each, in the order in which they were added.
    pub fn iter(self) -> impl Iterator<Item = ListNumber> {
        let all = 0..u8::try_from(MOST_LISTS).unwrap_or(u8::MAX);
        all.map(ListNumber).filter(move |list| self.contains(*list))
    }
}

impl From<ListNumber> for ListSet {
    fn from(list: ListNumber) -> Self {
        Self(1_u64.checked_shl(list.0.into()).unwrap_or(0))
    }
}

impl FromIterator<ListNumber> for ListSet {
    fn from_iter<I: IntoIterator<Item = ListNumber>>(lists: I) -> Self {
        lists
            .into_iter()
            .fold(Self::EMPTY, |all, list| all.or(list.into()))
    }
}

/// How strongly something is said; the later win over the earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tier {
    Block,
    Allow,
    ImportantBlock,
    ImportantAllow,
}

impl Tier {
    pub(super) const ALL: [Self; 4] = [
        Self::Block,
        Self::Allow,
        Self::ImportantBlock,
        Self::ImportantAllow,
    ];

    pub(super) fn new(effect: Effect, important: bool) -> Self {
        match (effect, important) {
            (Effect::Block, false) => Self::Block,
            (Effect::Allow, false) => Self::Allow,
            (Effect::Block, true) => Self::ImportantBlock,
            (Effect::Allow, true) => Self::ImportantAllow,
        }
    }

    pub(super) fn effect(self) -> Effect {
        match self {
            Self::Block | Self::ImportantBlock => Effect::Block,
            Self::Allow | Self::ImportantAllow => Effect::Allow,
        }
    }

    pub(super) fn is_important(self) -> bool {
        self >= Self::ImportantBlock
    }
}

/// What a file's lists say about a name or an address.
///
/// Important entries win over the others, then what allows wins over what blocks; the lists asked for decide, no matter
/// which of them says what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    pub(super) tiers: [ListSet; 4],
}

impl Answer {
    /// What the lists `among` say together; nothing where none of them has it.
    pub fn effect(&self, among: ListSet) -> Option<Effect> {
        self.decided(among).map(|(effect, _)| effect)
    }

    /// What the lists `among` say together, and which of them say it the strongest.
    pub fn decided(&self, among: ListSet) -> Option<(Effect, ListSet)> {
        Tier::ALL.into_iter().rev().find_map(|tier| {
            let lists = self.tiers[tier as usize].and(among);
            (!lists.is_empty()).then_some((tier.effect(), lists))
        })
    }

    /// The lists that have it, whatever they say.
    pub fn lists(&self) -> ListSet {
        self.tiers
            .iter()
            .fold(ListSet::EMPTY, |all, lists| all.or(*lists))
    }

    pub(super) fn add(&mut self, tier: Tier, lists: ListSet) {
        let own = &mut self.tiers[tier as usize];
        *own = own.or(lists);
    }
}

/// Who asks, and for what: what entries with conditions look at.
#[derive(Clone, Copy, Default)]
pub struct Context<'a> {
    /// The type of the record asked for; absent where DNS was not asked: entries about types do not count then.
    pub record_type: Option<RecordType>,
    /// Whether the asker answers to an app selector; absent: to none.
    pub client: Option<&'a dyn Fn(&str) -> bool>,
}

impl std::fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context")
            .field("record_type", &self.record_type)
            .finish_non_exhaustive()
    }
}
