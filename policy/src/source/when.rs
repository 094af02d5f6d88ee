//! When and where a rule counts, profiles, and when and where a test's flow is judged.

use std::sync::Arc;

use super::review::problem;
use super::values::read_list;
use crate::context::{Clock, Context, Mac, Network, ProfileChoice, Uplink};
use crate::destination::label;
use crate::document::{Item, Problem, Refusal, Section, Severity, nearest};
use crate::facts::Fact;
use crate::pattern::Pattern;
use crate::profile::{MOST_PROFILES, Profile};
use crate::rule::Origin;
use crate::when::{Hours, NetworkCondition, Weekday, When};

/// Values in one list of `when`: each is held against the context of every flow that meets the rule's other conditions.
const MOST_VALUES: usize = 64;
/// Longest name of a wireless network in bytes (IEEE 802.11, 9.4.2.2).
const LONGEST_SSID: usize = 32;

/// A place where a profile is referred to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProfileUse {
    name: Arc<str>,
    origin: Origin,
}

/// `when`, `profile` and `expires` of a rule.
pub(super) fn read_when(section: &Section<'_>, uses: &mut Vec<ProfileUse>) -> Option<When> {
    let own = section.item("when").map(|item| read_conditions(&item));
    let profile = section.item("profile").map(|item| {
        few(&item, |item| {
            let name = item.parse(label)?;
            uses.push(ProfileUse {
                name: Arc::clone(&name),
                origin: item.origin(),
            });
            Some(name)
        })
    });
    let expires = section.item("expires").and_then(|item| item.time());
    let when = When {
        profile: profile.unwrap_or_default(),
        expires: expires.map(|end| end.moment),
        ..own.unwrap_or_default()
    };
    (!when.is_empty()).then_some(when)
}

/// The table `when`, or what stands under its `not`.
fn read_conditions(item: &Item<'_>) -> When {
    let Some(section) = item.section() else {
        return When::default();
    };
    if section.is_empty() {
        let hint = "leave the key out for always and everywhere";
        item.error("an empty table asks for nothing", Some(hint.to_owned()));
    }
    When {
        time: values(&section, "time", |item| item.parse(Hours::parse)),
        weekday: values(&section, "weekday", |item| item.choice(&Weekday::ALL)),
        network: section.item("network").and_then(|item| read_network(&item)),
        except: section
            .item("not")
            .map(|item| Box::new(read_conditions(&item))),
        ..When::default()
    }
}

fn read_network(item: &Item<'_>) -> Option<NetworkCondition> {
    let section = item.section()?;
    let network = NetworkCondition {
        interface: values(&section, "interface", |item| item.parse(Pattern::parse)),
        gateway: values(&section, "gateway-mac", |item| item.parse(Mac::parse)),
        ssid: values(&section, "ssid", |item| item.parse(ssid)),
        vpn: section.boolean("vpn"),
    };
    if section.is_empty() {
        let hint = "write one of interface, gateway-mac, ssid, vpn, or leave `network` out";
        item.error("an empty table names no network", Some(hint.to_owned()));
    }
    (!network.is_empty()).then_some(network)
}

fn ssid(text: &str) -> Result<Arc<str>, Refusal> {
    if text.is_empty() || text.len() > LONGEST_SSID {
        return Err(Refusal::new(
            format!("\"{text}\" is no name of a wireless network"),
            format!("write 1 to {LONGEST_SSID} bytes"),
        ));
    }
    Ok(text.into())
}

fn values<T>(
    section: &Section<'_>,
    key: &'static str,
    read: impl FnMut(&Item<'_>) -> Option<T>,
) -> Vec<T> {
    let item = section.item(key);
    item.map(|item| few(&item, read)).unwrap_or_default()
}

fn few<T>(item: &Item<'_>, read: impl FnMut(&Item<'_>) -> Option<T>) -> Vec<T> {
    let values = read_list(item, read);
    if values.len() > MOST_VALUES {
        item.error(
            format!("more than {MOST_VALUES} values"),
            Some("write several rules, each with some of them".to_owned()),
        );
    }
    values
}

/// One `[[profile]]`; absent when it cannot be used, the reason was noted.
pub(super) fn read_profile(section: &Section<'_>) -> Option<Profile> {
    let name = section.item("name").map(|item| item.parse(profile_name));
    let when = section.item("when").map(|item| read_conditions(&item));
    if name.is_none() {
        let hint = "add name = \"...\"; rules refer to it by profile = \"...\"";
        section.error("the profile has no `name`", Some(hint.to_owned()));
    }
    Some(Profile {
        name: name??,
        origin: section.origin(),
        when,
    })
}

/// The words of `tidegate profile` are no names.
fn profile_name(text: &str) -> Result<Arc<str>, Refusal> {
    if text == Profile::BY_CONTEXT {
        let message = format!("\"{text}\" means that profiles are active by their own conditions");
        return Err(Refusal::new(message, "choose another name"));
    }
    label(text)
}

/// When and where the flow of a test is judged: what is not said is not known.
pub(super) fn read_context(section: &Section<'_>, uses: &mut Vec<ProfileUse>) -> Context {
    let at = section.item("at").and_then(|item| item.time());
    let network = section.section("network").map(|network| Network {
        uplinks: vec![Uplink {
            interface: fact(&network, "interface", |text| Ok(text.into())),
            gateway: fact(&network, "gateway-mac", Mac::parse),
            ssid: fact(&network, "ssid", ssid),
        }],
        vpn: network.boolean("vpn").map_or(Fact::Unknown, Fact::Is),
    });
    let profile = section.item("profile").and_then(|item| {
        let name = item.parse(label)?;
        uses.push(ProfileUse {
            name: Arc::clone(&name),
            origin: item.origin(),
        });
        Some(name)
    });
    Context {
        clock: at.map(Clock::from),
        network,
        profile: profile.map_or(ProfileChoice::ByContext, ProfileChoice::Named),
    }
}

/// `none`, or what `parse` reads.
fn fact<T>(
    section: &Section<'_>,
    key: &'static str,
    parse: impl FnOnce(&str) -> Result<T, Refusal>,
) -> Fact<T> {
    let read = |text: &str| match text {
        "none" => Ok(Fact::Absent),
        _ => parse(text).map(Fact::Is),
    };
    let fact = section.item(key).and_then(|item| item.parse(read));
    fact.unwrap_or(Fact::Unknown)
}

/// Profiles named twice, too many of them, and references to profiles that are not there.
pub(super) fn problems(profiles: &[Profile], uses: &[ProfileUse]) -> Vec<Problem> {
    let mut found = Vec::new();
    let first = |name: &str| profiles.iter().find(|profile| *profile.name == *name);
    if let Some(profile) = profiles.get(MOST_PROFILES) {
        let message = format!("there are more than {MOST_PROFILES} profiles");
        let hint = "put several into one";
        return vec![problem(&profile.origin, Severity::Error, message, hint)];
    }
    for profile in profiles {
        if let Some(earlier) = first(&profile.name)
            && earlier.origin != profile.origin
        {
            let (name, place) = (&profile.name, &earlier.origin);
            let message = format!("the profile \"{name}\" is there before, at {place}");
            let hint = "give each profile its own name";
            found.push(problem(&profile.origin, Severity::Error, message, hint));
        }
    }
    for ProfileUse { name, origin } in uses {
        if first(name).is_some() {
            continue;
        }
        let names: Vec<&str> = profiles.iter().map(|profile| &*profile.name).collect();
        let hint = match nearest(name, &names) {
            Some(name) => format!("did you mean \"{name}\"?"),
            None => "write [[profile]] with this name, in any of the files".to_owned(),
        };
        let message = format!("there is no profile \"{name}\"");
        found.push(problem(origin, Severity::Error, message, &hint));
    }
    found
}

#[cfg(test)]
mod tests;
