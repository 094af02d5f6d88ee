//! Conditions on the levels of a program's identity.

use crate::app_condition::one_of;
use crate::facts::Fact;
use crate::identity::{Identity, Level, Levels};
use crate::pattern::Pattern;
use crate::truth::Truth;

/// Conditions on the levels of a program's identity, at most one for each: all must hold, of each one value is enough.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct IdentityCondition {
    each: Vec<(Level, Vec<Pattern>)>,
}

impl IdentityCondition {
    /// Adds a condition; one without values is none.
    pub fn require(&mut self, level: Level, values: Vec<Pattern>) {
        if !values.is_empty() {
            self.each.push((level, values));
        }
    }

    /// Whether any identity meets it.
    pub fn is_empty(&self) -> bool {
        self.each.is_empty()
    }

    /// The levels that must be known.
    pub fn levels(&self) -> Levels {
        self.each.iter().map(|(level, _)| *level).collect()
    }

    /// The values of each level.
    pub(crate) fn each(&self) -> impl Iterator<Item = (Level, &[Pattern])> {
        let each = self.each.iter();
        each.map(|(level, values)| (*level, values.as_slice()))
    }

    /// The first level at which it does not hold, and whether it fails there or is not known. What fails comes first.
    pub(crate) fn first_mismatch(&self, identity: &Identity) -> Option<(Level, Truth)> {
        let truths = || {
            let each = self.each.iter();
            each.map(|(level, values)| (*level, truth(values, identity.at(*level))))
        };
        let first = |wanted| truths().find(|(_, truth)| *truth == wanted);
        first(Truth::Fails).or_else(|| first(Truth::Unknown))
    }

    /// Why it does not hold at `level`, as a sentence.
    pub(crate) fn mismatch_reason(&self, level: Level, identity: &Identity) -> String {
        let mut each = self.each.iter();
        let values = each.find(|(own, _)| *own == level);
        let wanted = values.map_or_else(String::new, |(_, values)| one_of(values));
        match identity.at(level) {
            Fact::Is(value) => format!("app {level} {value} is not {wanted}"),
            Fact::Absent => format!("app has no {level}, so it is not {wanted}"),
            Fact::Unknown => format!("the app's {level} is not known, so it is not {wanted}"),
        }
    }
}

fn truth(values: &[Pattern], known: Fact<&str>) -> Truth {
    match known {
        Fact::Unknown => Truth::Unknown,
        Fact::Absent => Truth::Fails,
        Fact::Is(value) => Truth::of(
            values
                .iter()
                .any(|pattern| pattern.matches(value.as_bytes())),
        ),
    }
}
