//! `app` of a rule.

use super::identity;
use super::values::read_list;
use crate::app_condition::{AppCondition, ContainerPrefix};
use crate::document::{Document, Item, Section};
use crate::pattern::Pattern;
use crate::rule::Origin;

/// `app` is a path, a list of paths, or a table.
pub(super) fn read_app(item: Item<'_>) -> AppCondition {
    if !item.is_section() {
        return AppCondition {
            path: read_list(&item, read_path),
            ..AppCondition::default()
        };
    }
    let Some(section) = item.section() else {
        return AppCondition::default();
    };
    if section.is_empty() {
        item.error(
            "an empty table names no app",
            Some("leave `app` out for every app".to_owned()),
        );
    }
    AppCondition {
        path: read_field(&section, "path", read_path),
        name: read_field(&section, "name", read_name),
        uid: read_field(&section, "uid", |item| item.integer()),
        user: read_field(&section, "user", |item| item.text().map(Into::into)),
        unit: read_field(&section, "unit", read_name),
        container: read_field(&section, "container", |item| {
            item.parse(ContainerPrefix::parse)
        }),
        parent: read_field(&section, "parent", read_path),
        identity: identity::read_condition(&section),
        except: section.item("not").map(|item| Box::new(read_app(item))),
    }
}

fn read_field<T>(
    section: &Section<'_>,
    key: &'static str,
    read: impl Fn(&Item<'_>) -> Option<T>,
) -> Vec<T> {
    section
        .item(key)
        .map(|item| read_list(&item, read))
        .unwrap_or_default()
}

/// Stands before the path of a program whose identity is to be chosen.
pub const AUTO: &str = "auto:";

/// An `app = "auto:PATH"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unresolved {
    /// Where the string begins.
    pub origin: Origin,
    /// The path behind `auto:`.
    pub path: String,
}

/// The rules whose program is to be known by what somebody who can look at it has to choose.
pub fn unresolved(document: &Document) -> Vec<Unresolved> {
    let rules = document.root().sections("rule");
    let apps = rules.iter().filter_map(|rule| rule.item("app"));
    let texts = apps.filter(|item| !item.is_section() && !item.is_list());
    let autos = texts.filter_map(|item| {
        Some(Unresolved {
            origin: item.origin(),
            path: item.text()?.strip_prefix(AUTO)?.to_owned(),
        })
    });
    autos.collect()
}

/// The path of an executable: absolute, in its plain form.
pub(super) fn read_path(item: &Item<'_>) -> Option<Pattern> {
    if item.text()?.starts_with(AUTO) {
        let hint = "`tidegate check --resolve` puts the program's identity in its place; it stands for `app` as a whole, not in \
                    a list or table";
        item.error("`auto:` is not an identity yet", Some(hint.to_owned()));
        return None;
    }
    let pattern = item.parse(Pattern::parse)?;
    let path = pattern.as_str();
    if path == "*" {
        let hint = "leave `app` out for every app, or write \"/**\" for every app that is known";
        item.warning(
            "`*` does not cross a `/`, so no path matches",
            Some(hint.to_owned()),
        );
    } else if !path.starts_with(['/', '{']) && !path.starts_with("**/") && path != "**" {
        let hint =
            format!("write a path from `/` on, or app = {{ name = \"{path}\" }} for the file name");
        item.warning("the path is not absolute, so no app matches", Some(hint));
    } else if path.contains("//")
        || path.split('/').any(|part| part == "." || part == "..")
        || path.ends_with('/')
    {
        let hint =
            "write the path as /proc/PID/exe shows it; all beneath a folder is \"/folder/**\"";
        item.warning(
            "the path is not in its plain form, so no app matches",
            Some(hint.to_owned()),
        );
    }
    Some(pattern)
}

/// A file or unit name.
pub(super) fn read_name(item: &Item<'_>) -> Option<Pattern> {
    let pattern = item.parse(Pattern::parse)?;
    if pattern.as_str().contains('/') {
        item.warning(
            "a name holds no `/`, so no app matches",
            Some("write a path under `path`".to_owned()),
        );
    }
    Some(pattern)
}
