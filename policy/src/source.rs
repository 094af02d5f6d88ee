//! Rules as written, read from documents and not yet compiled.

mod review;

use crate::app_condition::{AppCondition, ContainerPrefix};
use crate::destination::Destination;
use crate::document::{Document, Item, Problem, Section};
use crate::facts::Direction;
use crate::pattern::Pattern;
use crate::port::Port;
use crate::rule::{Rule, RuleInfo};
use crate::verdict::Verdict;

const VERDICTS: [(&str, Verdict); 3] = [
    ("allow", Verdict::Allow),
    ("block", Verdict::Block),
    ("drop", Verdict::Drop),
];
const DIRECTIONS: [(&str, Direction); 2] = [("out", Direction::Out), ("in", Direction::In)];

/// The rules of all files, in the order in which they are tried, and the default.
///
/// ```
/// use tidegate_policy::{Document, Policy, PolicySource};
///
/// let main = Document::parse("tidegate.toml", "[policy]\ndefault = \"block\"\n").unwrap();
/// let mut source = PolicySource::default();
/// source.read_main(&main);
/// assert!(main.finish().is_empty());
/// let policy = Policy::compile(source);
/// assert_eq!(policy.len(), 0);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicySource {
    /// What happens to a flow that no rule matches.
    pub default: Verdict,
    /// What happens to a flow that no rule matches and whose program is not known; `None`: the default.
    pub unattributed: Option<Verdict>,
    /// The rules in the order in which they are tried.
    pub rules: Vec<Rule>,
}

impl Default for PolicySource {
    /// No rules; everything is allowed.
    fn default() -> Self {
        Self {
            default: Verdict::Allow,
            unattributed: None,
            rules: Vec::new(),
        }
    }
}

impl PolicySource {
    /// Reads `[policy]` and appends each `[[rule]]` of the main configuration file.
    ///
    /// What is wrong is noted in `document`; its other tables are the caller's to read. With an error among the
    /// problems the rules must not be used: a condition that could not be read is missing from its rule.
    pub fn read_main(&mut self, document: &Document) {
        if let Some(policy) = document.root().section("policy") {
            self.default = policy.choice("default", &VERDICTS).unwrap_or(self.default);
            self.unattributed = policy
                .choice("unattributed", &VERDICTS)
                .or(self.unattributed);
        }
        self.append_rules(document);
    }

    /// Appends each `[[rule]]` of a further rule file, which may hold nothing else.
    pub fn read_rules(&mut self, document: &Document) {
        let only_main = "only the main configuration file may hold this table";
        let hint = "move it there; files in rules.d hold [[rule]] tables";
        document.root().refuse("policy", only_main, hint);
        document.root().refuse("capture", only_main, hint);
        self.append_rules(document);
    }

    /// What is odd about the rules taken together: those that can never decide, and names used twice.
    pub fn warnings(&self) -> Vec<Problem> {
        review::warnings(&self.rules)
    }

    fn append_rules(&mut self, document: &Document) {
        self.rules.extend(
            document
                .root()
                .sections("rule")
                .iter()
                .filter_map(read_rule),
        );
    }
}

/// Absent when the rule cannot be used; the reason was noted. All its keys are read in any case.
fn read_rule(section: &Section<'_>) -> Option<Rule> {
    let name = section.string("name");
    let app = section.item("app").map(read_app);
    let to = section
        .item("to")
        .map(|item| read_list(&item, |item| item.parse(Destination::parse)));
    let port = section
        .item("port")
        .map(|item| read_list(&item, |item| item.parse(Port::parse)));
    let direction = section
        .choice("direction", &DIRECTIONS)
        .unwrap_or(Direction::Out);
    if section.item("action").is_none() {
        section.error(
            "the rule has no `action`",
            Some("add action = \"allow\", \"block\" or \"drop\"".to_owned()),
        );
    }
    let action = section.choice("action", &VERDICTS)?;
    Some(Rule {
        info: RuleInfo {
            name,
            origin: section.origin(),
            action,
        },
        app,
        to,
        port,
        direction,
    })
}

/// `app` is a path, a list of paths, or a table.
fn read_app(item: Item<'_>) -> AppCondition {
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

/// One value or a list of them, which must not be empty: nothing would ever match.
fn read_list<T>(item: &Item<'_>, read: impl Fn(&Item<'_>) -> Option<T>) -> Vec<T> {
    let elements = item.elements();
    if elements.is_empty() {
        item.error(
            "an empty list matches nothing",
            Some("leave the key out to match everything".to_owned()),
        );
    }
    elements.iter().filter_map(read).collect()
}

/// The path of an executable: absolute, in its plain form.
fn read_path(item: &Item<'_>) -> Option<Pattern> {
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
fn read_name(item: &Item<'_>) -> Option<Pattern> {
    let pattern = item.parse(Pattern::parse)?;
    if pattern.as_str().contains('/') {
        item.warning(
            "a name holds no `/`, so no app matches",
            Some("write a path under `path`".to_owned()),
        );
    }
    Some(pattern)
}

#[cfg(test)]
mod tests;
