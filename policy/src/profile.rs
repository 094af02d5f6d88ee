//! Named groups of rules: `[[profile]]`.

use std::sync::Arc;

use crate::context::{Context, ProfileChoice};
use crate::definitions::Definitions;
use crate::rule::Origin;
use crate::truth::Truth;
use crate::when::When;

/// Profiles that a configuration may hold.
pub(crate) const MOST_PROFILES: usize = 64;

/// A named group of rules, which count only while it is active.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// The name that rules refer to it by.
    pub name: Arc<str>,
    /// Where it was written.
    pub origin: Origin,
    /// When it is active, unless the user says which one is; absent: only if the user says so.
    pub when: Option<When>,
}

impl Profile {
    /// What stands for no profile's name: each is active by its own conditions.
    pub const BY_CONTEXT: &'static str = "auto";

    pub(crate) fn is_active(&self, context: &Context, definitions: &Definitions) -> bool {
        self.truth(context, definitions) == Truth::Holds
    }

    pub(crate) fn truth(&self, context: &Context, definitions: &Definitions) -> Truth {
        match (&context.profile, &self.when) {
            (ProfileChoice::Named(chosen), _) => Truth::of(*chosen == self.name),
            (ProfileChoice::ByContext, None) => Truth::Fails,
            (ProfileChoice::ByContext, Some(when)) => when.truth(context, definitions),
        }
    }
}
