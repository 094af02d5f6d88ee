//! One rule of the original, and what becomes of it.

use super::draft::{Draft, Values};
use crate::verdict::Verdict;

/// One rule of the original.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    /// What the original calls it.
    pub(crate) label: String,
    /// Where it stands.
    pub(crate) place: String,
    /// What it does; asking counts as blocking.
    pub(crate) action: Verdict,
    /// Whether it is turned off in the original.
    pub(crate) disabled: bool,
    /// How many entries of the original it is.
    pub(crate) lines: usize,
    /// The rules that stand for it, or why there are none.
    pub(crate) drafts: Result<Vec<Draft>, String>,
    /// In what these let less pass than the original.
    pub(crate) narrowed: Vec<String>,
    /// How the original ranks it, the highest first, where its order is not that of writing.
    pub(crate) rank: Rank,
    /// The executables that it is about, where it names them; none: it may be about any.
    pub(crate) apps: Option<Vec<String>>,
}

/// How an original prefers one rule to another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rank {
    /// Compared first; the greater is preferred.
    pub(crate) class: (u8, u8),
    /// What is compared within a class: each part must be at least as special, and one more so. Parts that cannot be
    /// compared are different texts.
    pub(crate) parts: Vec<Part>,
}

/// One condition as the ranks compare it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// No condition.
    Any,
    /// This one.
    Is(String),
}

impl Rank {
    /// Whether the original certainly prefers a rule of this rank to one of the other.
    pub(crate) fn is_above(&self, other: &Self) -> bool {
        if self.class != other.class {
            return self.class > other.class;
        }
        let mut pairs = self.parts.iter().zip(&other.parts);
        let at_least =
            pairs.all(|(own, other)| own == other || (*other == Part::Any && *own != Part::Any));
        at_least && self.parts.len() == other.parts.len() && self.parts != other.parts
    }

    /// How many conditions it has.
    pub(crate) fn special(&self) -> usize {
        self.parts.iter().filter(|part| **part != Part::Any).count()
    }
}

impl Piece {
    pub(crate) fn new(label: impl Into<String>, place: impl Into<String>, action: Verdict) -> Self {
        Self {
            label: label.into(),
            place: place.into(),
            action,
            disabled: false,
            lines: 1,
            drafts: Ok(Vec::new()),
            narrowed: Vec::new(),
            rank: Rank::default(),
            apps: None,
        }
    }

    pub(crate) fn allows(&self) -> bool {
        self.action == Verdict::Allow
    }

    /// Refuses the rule.
    pub(crate) fn refused(mut self, reason: impl Into<String>) -> Self {
        self.drafts = Err(reason.into());
        self
    }

    /// A condition that our language does not have: a rule that blocks does without it, one that allows is refused.
    ///
    /// # Errors
    /// The reason, for rules that allow.
    pub(crate) fn without(&mut self, reason: impl Into<String>) -> Result<(), String> {
        let reason = reason.into();
        if self.allows() {
            return Err(reason);
        }
        self.narrowed
            .push(format!("{reason}, so it blocks whatever that is"));
        Ok(())
    }

    /// These rules, if our language takes each of them, and if one that does without a condition still has another.
    pub(crate) fn with(mut self, drafts: Result<Vec<Draft>, String>) -> Self {
        self.drafts = drafts.and_then(|drafts| {
            if let Some(objection) = drafts.iter().find_map(Draft::objection) {
                return Err(objection);
            }
            match self.narrowed.first() {
                Some(reason) if drafts.iter().any(Draft::is_everything) => Err(format!(
                    "{}; without that it would block everything",
                    reason.split(", so it").next().unwrap_or_default()
                )),
                _ => Ok(drafts),
            }
        });
        if self.drafts.is_err() {
            self.narrowed.clear();
        }
        if let Ok(drafts) = &self.drafts {
            self.apps = apps(drafts);
        }
        self
    }

    /// Whether both may be about one flow.
    pub(crate) fn may_meet(&self, other: &Self) -> bool {
        match (&self.apps, &other.apps) {
            (Some(own), Some(other)) => own.iter().any(|path| other.contains(path)),
            _ => true,
        }
    }
}

/// The executables that the rules are about, where all name them without wildcards.
fn apps(drafts: &[Draft]) -> Option<Vec<String>> {
    let mut all = Vec::new();
    for draft in drafts {
        let (_, values) = draft.app.iter().find(|(key, _)| *key == "path")?;
        let Values::Texts(paths) = values else {
            return None;
        };
        if paths.iter().any(|path| path.contains(['*', '?', '[', '{'])) {
            return None;
        }
        all.extend(paths.iter().cloned());
    }
    Some(all)
}
