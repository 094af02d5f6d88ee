//! From an entry to the line that says it.

use std::net::IpAddr;

use super::parse::{Format, Settings};
use super::{AddressRange, Effect, Entry, Purpose, Reach, Target};

/// The line that says this in a format, as [`parse`](super::parse) reads it with these settings; absent where the
/// format cannot say it, or says it only as several.
///
/// ```
/// use tidegate_policy::list::parse::{Format, Settings};
/// use tidegate_policy::list::{Effect, Entry, Reach, Target, write};
/// use tidegate_policy::Name;
///
/// let name = Name::parse("example.com").unwrap();
/// let entry = Entry::new(Target::Name(name, Reach::Within), Effect::Block);
/// let line = |format| write(&entry, format, &Settings::default());
/// assert_eq!(line(Format::AdGuard).as_deref(), Some("||example.com^"));
/// assert_eq!(line(Format::Dnsmasq).as_deref(), Some("local=/example.com/"));
/// assert_eq!(line(Format::Hosts), None);
/// ```
pub fn write(entry: &Entry, format: Format, settings: &Settings<'_>) -> Option<String> {
    if format == Format::AdGuard {
        return adguard(entry, settings);
    }
    if !entry.is_plain() {
        return None;
    }
    // A list of what is allowed can say nothing else.
    let all_allowed = settings.effect == Effect::Allow;
    let excepts = entry.effect == Effect::Allow && !all_allowed;
    if entry.effect == Effect::Block && all_allowed {
        return None;
    }
    match &entry.target {
        Target::Addresses(range) => addresses(*range, format, excepts),
        Target::Name(name, reach) => named(name.as_str(), *reach, format, settings, excepts),
        Target::Matching(_) => None,
    }
}

fn named(
    name: &str,
    reach: Reach,
    format: Format,
    settings: &Settings<'_>,
    excepts: bool,
) -> Option<String> {
    let bare = if format == Format::Domains {
        settings.bare
    } else {
        Reach::Exact
    };
    match (format, reach, excepts) {
        (Format::Hosts, Reach::Exact, false) => Some(format!("0.0.0.0 {name}")),
        (Format::Domains | Format::Wildcards, reach, false) if reach == bare => {
            Some(name.to_owned())
        }
        (Format::Domains | Format::Wildcards, Reach::Within, false) => Some(format!(".{name}")),
        (Format::Domains | Format::Wildcards, reach, false) if reach == settings.asterisk => {
            Some(format!("*.{name}"))
        }
        (Format::Dnsmasq, Reach::Within, false) => Some(format!("local=/{name}/")),
        (Format::Dnsmasq, Reach::Within, true) => Some(format!("server=/{name}/#")),
        (Format::Unbound, Reach::Within, false) => {
            Some(format!("local-zone: \"{name}.\" always_null"))
        }
        (Format::Unbound, Reach::Within, true) => {
            Some(format!("local-zone: \"{name}.\" always_transparent"))
        }
        (Format::Unbound, Reach::Exact, false) => {
            Some(format!("local-data: \"{name}. A 0.0.0.0\""))
        }
        (Format::Rpz, Reach::Exact, excepts) => {
            Some(format!("{name} CNAME {}", rpz_action(excepts)))
        }
        (Format::Rpz, Reach::Below, excepts) => {
            Some(format!("*.{name} CNAME {}", rpz_action(excepts)))
        }
        _ => None,
    }
}

fn addresses(range: AddressRange, format: Format, excepts: bool) -> Option<String> {
    if format == Format::Addresses && !excepts {
        return Some(range.to_string());
    }
    if format != Format::Rpz {
        return None;
    }
    let trigger = super::parse::rpz_trigger(range.net()?);
    Some(format!("{trigger}.rpz-ip CNAME {}", rpz_action(excepts)))
}

fn rpz_action(excepts: bool) -> &'static str {
    if excepts { "rpz-passthru." } else { "." }
}

fn adguard(entry: &Entry, settings: &Settings<'_>) -> Option<String> {
    if entry.effect == Effect::Block && settings.effect == Effect::Allow {
        return None;
    }
    let pattern = match &entry.target {
        Target::Name(name, Reach::Exact) => format!("|{name}^"),
        Target::Name(name, Reach::Within) => format!("||{name}^"),
        Target::Name(name, Reach::Below) => format!("||*.{name}^"),
        Target::Addresses(range) => match range.single()? {
            IpAddr::V4(address) => format!("||{address}^"),
            IpAddr::V6(address) => format!("||{address}^"),
        },
        Target::Matching(pattern) => pattern.to_string(),
    };
    let conditions = &entry.conditions;
    let mut modifiers = Vec::new();
    if entry.important {
        modifiers.push("important".to_owned());
    }
    if !conditions.clients.is_empty() {
        let clients: Vec<_> = conditions
            .clients
            .iter()
            .map(super::Client::written)
            .collect();
        modifiers.push(format!("client={}", clients.join("|")));
    }
    if !conditions.except.is_empty() {
        let names: Vec<_> = conditions.except.iter().map(crate::Name::as_str).collect();
        modifiers.push(format!("denyallow={}", names.join("|")));
    }
    if !conditions.record_types.is_any() {
        modifiers.push(format!("dnstype={}", conditions.record_types.written()));
    }
    if entry.purpose == Purpose::Cancel {
        modifiers.push("badfilter".to_owned());
    }
    let effect = if entry.effect == Effect::Allow {
        "@@"
    } else {
        ""
    };
    let modifiers = match &*modifiers.join(",") {
        "" => String::new(),
        modifiers => format!("${modifiers}"),
    };
    Some(format!("{effect}{pattern}{modifiers}"))
}
