//! Which profile is to be active.

use std::sync::Arc;

use tidegate_policy::{Profile, ProfileChoice};

use crate::audit::Author;
use crate::control::status::Profiles;
use crate::shared::Shared;

/// Makes this profile active, or with `auto` each by its own conditions; as they are then, or why not.
pub(super) fn choose(shared: &Shared, name: &str, author: Author) -> Result<Profiles, String> {
    let policy = Arc::clone(&shared.policy.load().policy);
    let mut known = policy.profiles().iter().map(|profile| &profile.name);
    let choice = match known.find(|own| ***own == *name) {
        Some(known) => ProfileChoice::Named(Arc::clone(known)),
        None if name == Profile::BY_CONTEXT => ProfileChoice::ByContext,
        None => {
            return Err(format!(
                "there is no profile {name:?}: `tidegate profile list` shows all"
            ));
        }
    };
    match shared.choose_profile(choice, author) {
        Ok(()) => Ok(Profiles::of(shared)),
        Err(error) => Err(format!("the choice cannot be kept: {error}")),
    }
}
