//! The levels of a program's identity, as conditions of `app` and as facts of a `[[test]]`.

use super::values::read_list;
use crate::document::{Item, Refusal, Section};
use crate::facts::Fact;
use crate::identity::{Identity, Level};
use crate::identity_condition::IdentityCondition;
use crate::pattern::Pattern;

/// The managers whose packages are known, as they stand before a package's name.
const MANAGERS: [&str; 3] = ["deb", "pacman", "nix"];
/// Hexadecimal digits of a SHA-256.
const DIGITS: usize = 64;

/// The keys of `app` that are levels of identity.
pub(super) fn read_condition(section: &Section<'_>) -> IdentityCondition {
    let mut condition = IdentityCondition::default();
    for level in Level::ALL {
        if let Some(item) = section.item(level.key()) {
            condition.require(level, read_list(&item, |item| read_value(level, item)));
        }
    }
    condition
}

fn read_value(level: Level, item: &Item<'_>) -> Option<Pattern> {
    match level {
        Level::Traced | Level::Deleted | Level::Preload => {
            let is_so = item.boolean()?;
            Some(Pattern::Exact(is_so.to_string().into()))
        }
        Level::Gid => {
            let gid: u32 = item.integer()?;
            Some(Pattern::Exact(gid.to_string().into()))
        }
        Level::Sha256 => item.parse(digest),
        Level::Package => item.parse(package),
        Level::Script => super::app::read_path(item),
        Level::AppImage => item.parse(Pattern::parse),
        Level::Snap
        | Level::Flatpak
        | Level::UserUnit
        | Level::Slice
        | Level::ContainerName
        | Level::Group => super::app::read_name(item),
    }
}

fn digest(text: &str) -> Result<Pattern, Refusal> {
    let is_digest = text.len() == DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_digest {
        return Ok(Pattern::Exact(text.to_ascii_lowercase().into()));
    }
    Err(Refusal::new(
        format!("\"{text}\" is no SHA-256"),
        "write the 64 hexadecimal digits that `sha256sum FILE` prints",
    ))
}

fn package(text: &str) -> Result<Pattern, Refusal> {
    let manager = text.split_once(':').map(|(manager, _)| manager);
    if manager.is_some_and(|manager| MANAGERS.contains(&manager)) {
        return Pattern::parse(text);
    }
    Err(Refusal::new(
        format!("\"{text}\" does not begin with a package manager"),
        format!(
            "write it before the name: \"deb:{text}\"; known are {}",
            MANAGERS.join(", ")
        ),
    ))
}

/// The same keys in a test's flow: what is known of its program. `none` says that it is known to have none.
pub(super) fn read_facts(section: &Section<'_>) -> Identity {
    let facts = Level::ALL.into_iter().filter_map(|level| {
        let item = section.item(level.key())?;
        Some((level, read_fact(level, &item)?))
    });
    facts.collect()
}

fn read_fact(level: Level, item: &Item<'_>) -> Option<Fact<Box<str>>> {
    let is_text = !matches!(
        level,
        Level::Traced | Level::Deleted | Level::Preload | Level::Gid
    );
    if is_text && item.text()? == "none" {
        return Some(Fact::Absent);
    }
    let value = match read_value(level, item)? {
        Pattern::Exact(value) => value,
        // A fact is what it is.
        Pattern::Glob(glob) => glob.as_str().into(),
    };
    Some(Fact::Is(value))
}

/// A fact as a command line says it, `KEY=VALUE`: the same keys and values.
///
/// # Errors
///
/// Another key, or what a test's flow would not take for a value.
pub fn parse_fact(text: &str) -> Result<(Level, Fact<Box<str>>), Refusal> {
    let keys = || Level::ALL.map(Level::key).join(", ");
    let (key, value) = text
        .split_once('=')
        .ok_or_else(|| Refusal::new("no `=`", "write KEY=VALUE, such as package=deb:curl"))?;
    let level = Level::parse(key).ok_or_else(|| {
        Refusal::new(
            format!("\"{key}\" is no key"),
            format!("write one of {}", keys()),
        )
    })?;
    let refused = |hint: &str| Refusal::new(format!("{key} cannot be \"{value}\""), hint);
    let value = match level {
        _ if value == "none" => return Ok((level, Fact::Absent)),
        Level::Traced | Level::Deleted | Level::Preload => match value {
            "true" | "false" => value.into(),
            _ => return Err(refused("write true or false")),
        },
        Level::Gid => match value.parse::<u32>() {
            Ok(gid) => gid.to_string().into(),
            Err(_) => return Err(refused("write the group's number")),
        },
        Level::Sha256 => digest(value)?.as_str().into(),
        Level::Package => package(value)?.as_str().into(),
        _ if value.is_empty() => return Err(refused("write `none` where there is none")),
        Level::Snap
        | Level::Flatpak
        | Level::AppImage
        | Level::Script
        | Level::UserUnit
        | Level::Slice
        | Level::ContainerName
        | Level::Group => value.into(),
    };
    Ok((level, Fact::Is(value)))
}
