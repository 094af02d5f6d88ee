//! A name on each line: `name`, `*.name`, or `.name`, which means it and all beneath it.

use super::super::{Effect, Reach};
use super::taking::{Taking, without_comment};

pub(super) fn line(text: &str, bare: Reach, taking: &mut Taking<'_>) {
    let text = without_comment(text, &['#', '!', ';']);
    if text.is_empty() || text.starts_with("//") {
        return taking.comment();
    }
    let (name, reach) = if let Some(name) = text.strip_prefix("*.") {
        (name, taking.settings.asterisk)
    } else if let Some(name) = text.strip_prefix('.') {
        (name, Reach::Within)
    } else {
        (text, bare)
    };
    taking.name(name, reach, Effect::Block);
}
