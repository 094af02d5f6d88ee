//! macOS has root or not, nothing between (setuid(2)). What is given up is what the gateway never uses.

use super::PrivilegeError;
use crate::sys::{debugging, resource, user};

/// What is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// All of root's power: devices and routes take it, to make and to undo.
    Root,
    /// An ordinary user's.
    OrdinaryUser,
}

pub(super) fn drop_to_needed() -> Result<Held, Vec<PrivilegeError>> {
    let held = if user::is_root() {
        Held::Root
    } else {
        Held::OrdinaryUser
    };
    let failed = |action| move |source| PrivilegeError { action, source };
    let mut errors = Vec::new();
    if held == Held::Root {
        // Only root may; an ordinary user's groups give him nothing that he does not have.
        errors.extend(
            user::leave_supplementary_groups()
                .map_err(failed("leave supplementary groups"))
                .err(),
        );
    }
    errors.extend(
        resource::forbid_core_dumps()
            .map_err(failed("forbid core dumps"))
            .err(),
    );
    errors.extend(
        debugging::deny()
            .map_err(failed("keep debuggers out"))
            .err(),
    );
    if errors.is_empty() {
        Ok(held)
    } else {
        Err(errors)
    }
}
