//! An address, a network or a range on each line.

use super::super::{AddressRange, Effect};
use super::Reason;
use super::taking::{Taking, without_comment};

pub(super) fn line(text: &str, taking: &mut Taking<'_>) {
    // `192.0.2.0/24 ; SBL1`, `192.0.2.7 # a name`, `192.0.2.7#name`.
    let text = text.split(['#', ';']).next().unwrap_or("");
    let text = without_comment(text, &['!']).trim();
    if text.is_empty() || text.starts_with("//") {
        return taking.comment();
    }
    match AddressRange::parse(text) {
        Some(range) => taking.addresses(range, Effect::Block),
        None => taking.ignore(Reason::NotAnAddress),
    }
}
