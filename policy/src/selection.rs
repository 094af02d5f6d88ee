//! One of several values, or none of them: what stands behind `to` and `port`.

use std::fmt;

use crate::app_condition::one_of;
use crate::truth::Truth;

/// One of some values, and none of others.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Selection<T> {
    /// One of these; absent: whatever it is.
    pub within: Option<Vec<T>>,
    /// And none of these.
    pub except: Vec<T>,
}

impl<T> Selection<T> {
    /// One of these.
    pub fn of(values: Vec<T>) -> Self {
        Self {
            within: Some(values),
            except: Vec::new(),
        }
    }

    /// All values that are named.
    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.within.iter().flatten().chain(&self.except)
    }

    /// Whether the selection holds, where `truth` says it of one value.
    pub(crate) fn truth(&self, truth: impl Fn(&T) -> Truth) -> Truth {
        let within = self
            .within
            .as_ref()
            .map_or(Truth::Holds, |values| Truth::any(values.iter().map(&truth)));
        within.and(Truth::any(self.except.iter().map(truth)).negated())
    }
}

impl<T: fmt::Display> fmt::Display for Selection<T> {
    /// `lan or 10.0.0.1`, `not lan`, `lan but not 10.0.0.1 or 10.0.0.2`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.within, &self.except[..]) {
            (Some(within), []) => f.write_str(&one_of(within)),
            (Some(within), except) => write!(f, "{} but not {}", one_of(within), one_of(except)),
            (None, except) => write!(f, "not {}", one_of(except)),
        }
    }
}
