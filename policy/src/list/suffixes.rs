//! Public suffixes: names beneath which everyone can have one of his own, such as `com` and `co.uk`.
//!
//! An entry that reaches below one would be about the names of all who live there, and is nearly always a mistake, so
//! [`parse`](super::parse) refuses it unless told otherwise. Which names these are is data of another project, which
//! systems bring along (`public_suffix_list.dat`); the caller reads it, [`SuffixList`] understands it.

use rustc_hash::FxHashSet;

/// Knows which names are public suffixes.
pub trait PublicSuffixes {
    /// Whether `name`, in its one form, is one.
    fn contains(&self, name: &str) -> bool;
}

/// Knows only the uppermost: every name of one label.
#[derive(Clone, Copy, Debug, Default)]
pub struct TopLevel;

impl PublicSuffixes for TopLevel {
    fn contains(&self, name: &str) -> bool {
        !name.contains('.')
    }
}

/// The rules of a public suffix list.
///
/// ```
/// use tidegate_policy::list::suffixes::{PublicSuffixes, SuffixList};
///
/// let list = SuffixList::parse("// comment\nco.uk\n*.ck\n!www.ck\n");
/// assert!(list.contains("co.uk") && list.contains("any.ck") && list.contains("unheard-of"));
/// assert!(!list.contains("www.ck") && !list.contains("example.co.uk"));
/// ```
#[derive(Clone, Debug, Default)]
pub struct SuffixList {
    /// The rules as they are written, names in their one form.
    rules: FxHashSet<Box<str>>,
}

/// How many rules are kept; the list has 10,000.
const MOST: usize = 1 << 17;

impl SuffixList {
    /// Reads the list's text; lines that are no rule are passed over.
    pub fn parse(text: &str) -> Self {
        let mut rules = FxHashSet::default();
        let lines = text
            .lines()
            .filter_map(|line| line.split_whitespace().next());
        for rule in lines.filter(|line| !line.starts_with("//")).take(MOST) {
            let mark = rule
                .find(|next| !matches!(next, '*' | '.' | '!'))
                .unwrap_or(0);
            if let Ok(name) = crate::Name::parse(&rule[mark..])
                && matches!(&rule[..mark], "" | "*." | "!")
            {
                rules.insert(format!("{}{name}", &rule[..mark]).into());
            }
        }
        Self { rules }
    }

    /// How many rules there are.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether there is no rule: the text was none of this kind.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }
}

impl PublicSuffixes for SuffixList {
    fn contains(&self, name: &str) -> bool {
        let Some((_, above)) = name.split_once('.') else {
            return true;
        };
        let has = |mark: &str, name: &str| self.rules.contains(&*format!("{mark}{name}"));
        !has("!", name) && (has("", name) || has("*.", above))
    }
}
