//! Lines of dnsmasq's configuration: `address=/name/name/target`, `server=` and `local=` alike.

use super::super::{Effect, Reach};
use super::Reason;
use super::taking::{Taking, is_null, without_comment};

pub(super) fn line(text: &str, taking: &mut Taking<'_>) {
    let text = without_comment(text, &['#']);
    if text.is_empty() {
        return taking.comment();
    }
    let Some((option, value)) = text.split_once('=') else {
        return taking.ignore(Reason::Unsupported);
    };
    let option = option.trim().trim_start_matches("--");
    let value = value.trim();
    if !matches!(option, "address" | "server" | "local") {
        return taking.ignore(Reason::Unsupported);
    }
    let Some((names, target)) = value
        .strip_prefix('/')
        .and_then(|value| value.rsplit_once('/'))
    else {
        return taking.ignore(Reason::Syntax);
    };
    // No target: the name does not exist. `#`: as an address the null address, as a server the usual ones.
    let effect = match (option, target) {
        (_, "") => Effect::Block,
        ("address", "#") => Effect::Block,
        ("address", target) if is_null(target) => Effect::Block,
        ("server", "#") => Effect::Allow,
        _ => return taking.ignore(Reason::Rewrite),
    };
    for name in names.split('/') {
        match name {
            "#" => taking.ignore(Reason::TooWide),
            name if name.contains('*') => taking.ignore(Reason::Unsupported),
            name => taking.name(name.trim_start_matches('.'), Reach::Within, effect),
        }
    }
}
