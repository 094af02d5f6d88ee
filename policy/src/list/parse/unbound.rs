//! Lines of unbound's configuration: `local-zone: "name" always_null`.

use super::super::{Effect, Reach};
use super::Reason;
use super::taking::{Taking, is_null, without_comment};
use crate::Name;

/// The zone that was last said to be answered from `local-data`, all beneath it too.
#[derive(Debug, Default)]
pub(super) struct Zone {
    redirected: Option<Name>,
}

pub(super) fn line(text: &str, zone: &mut Zone, taking: &mut Taking<'_>) {
    let text = without_comment(text, &['#']);
    if matches!(text, "" | "server:") {
        return taking.comment();
    }
    let Some((option, value)) = text.split_once(':') else {
        return taking.ignore(Reason::Syntax);
    };
    match option.trim() {
        "local-zone" => local_zone(value.trim(), zone, taking),
        "local-data" => local_data(value.trim(), zone, taking),
        _ => taking.ignore(Reason::Unsupported),
    }
}

fn local_zone(value: &str, zone: &mut Zone, taking: &mut Taking<'_>) {
    let Some((name, kind)) = value.rsplit_once(char::is_whitespace) else {
        return taking.ignore(Reason::Syntax);
    };
    let name = unquoted(name.trim());
    match unquoted(kind) {
        "always_null" | "always_nxdomain" | "always_nodata" | "always_refuse" | "always_deny"
        | "refuse" | "deny" | "static" | "inform_deny" => {
            taking.name(name, Reach::Within, Effect::Block);
        }
        "transparent" | "always_transparent" | "nodefault" => {
            taking.name(name, Reach::Within, Effect::Allow);
        }
        "redirect" => {
            zone.redirected = Name::parse(name).ok();
            taking.comment();
        }
        _ => taking.ignore(Reason::Unsupported),
    }
}

/// `"name A 0.0.0.0"`, with a time to live and a class before the type or not.
fn local_data(value: &str, zone: &Zone, taking: &mut Taking<'_>) {
    let mut words = unquoted(value).split_whitespace();
    let (Some(name), Some(answer)) = (words.next(), words.next_back()) else {
        return taking.ignore(Reason::Syntax);
    };
    if !is_null(answer) {
        return taking.ignore(Reason::Rewrite);
    }
    let redirected = zone.redirected.as_ref();
    let reach = if redirected.is_some() && Name::parse(name).ok().as_ref() == redirected {
        Reach::Within
    } else {
        Reach::Exact
    };
    taking.name(name, reach, Effect::Block);
}

fn unquoted(text: &str) -> &str {
    ['"', '\'']
        .into_iter()
        .find_map(|quote| text.strip_prefix(quote)?.strip_suffix(quote))
        .unwrap_or(text)
}
