//! One rule of our language as text: the one place that knows how its keys are written.

use std::fmt::{self, Write};

use rustc_hash::FxHashSet;

use crate::document::Document;
use crate::source::PolicySource;
use crate::verdict::Verdict;

/// Characters that a rule's name has at most.
const LONGEST_NAME: usize = 120;

/// One rule, its values written as they stand in a rule file. Displayed, it is a `[[rule]]` table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Draft {
    /// `name`
    pub name: String,
    /// `app`: all of these.
    pub app: Vec<(&'static str, Values)>,
    /// `not` of `app`: all of these together.
    pub app_not: Vec<(&'static str, Values)>,
    /// `to`, or `in` of it; empty: anywhere.
    pub to: Vec<String>,
    /// `not` of `to`
    pub to_not: Vec<String>,
    /// `port`, or `in` of it; empty: every protocol.
    pub port: Vec<String>,
    /// `not` of `port`
    pub port_not: Vec<String>,
    /// `direction` is `"in"`.
    pub inbound: bool,
    /// `action`; absent is read as the strictest.
    pub action: Option<Verdict>,
}

/// Values of a key of `app`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Values {
    /// Texts.
    Texts(Vec<String>),
    /// Numbers.
    Numbers(Vec<u32>),
}

impl Draft {
    /// A rule without conditions.
    pub(crate) fn new(name: &str, action: Verdict) -> Self {
        Self {
            name: shortened(name),
            action: Some(action),
            ..Self::default()
        }
    }

    /// Whether it allows.
    pub(crate) fn allows(&self) -> bool {
        self.action == Some(Verdict::Allow)
    }

    /// Whether it is about every flow of its direction.
    pub(crate) fn is_everything(&self) -> bool {
        self.app.is_empty()
            && self.app_not.is_empty()
            && self.to.is_empty()
            && self.to_not.is_empty()
            && self.port.is_empty()
            && self.port_not.is_empty()
    }

    /// How many destinations it names.
    pub(crate) fn destinations(&self) -> usize {
        self.to.len() + self.to_not.len()
    }

    /// Adds one value to a key of `app`.
    pub(crate) fn app_text(&mut self, key: &'static str, texts: Vec<String>) {
        self.app.push((key, Values::Texts(texts)));
    }

    /// Whether a key of `app` is there.
    pub(crate) fn has_app(&self, key: &str) -> bool {
        self.app.iter().any(|(own, _)| *own == key)
    }

    /// What our language has against it, if it has something.
    pub(crate) fn objection(&self) -> Option<String> {
        let problems = match Document::parse("import", &self.to_string()) {
            Ok(document) => {
                PolicySource::default().read_rules(&document);
                document.finish()
            }
            Err(problems) => problems,
        };
        // A warning, too, says that the rule would do nothing of what its author meant.
        let problem = problems.into_iter().next()?;
        Some(problem.message)
    }
}

impl fmt::Display for Draft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[[rule]]\n")?;
        writeln!(f, "name = {}", quoted(&self.name))?;
        if let Some(app) = app(&self.app, &self.app_not) {
            writeln!(f, "app = {app}")?;
        }
        selection(f, "to", &self.to, &self.to_not)?;
        selection(f, "port", &self.port, &self.port_not)?;
        if self.inbound {
            f.write_str("direction = \"in\"\n")?;
        }
        writeln!(f, "action = \"{}\"", self.action.unwrap_or(Verdict::Drop))
    }
}

fn app(app: &[(&'static str, Values)], not: &[(&'static str, Values)]) -> Option<String> {
    match (app, not) {
        ([], []) => None,
        ([("path", values)], []) => Some(values.to_string()),
        (_, []) => Some(format!("{{ {} }}", keys(app))),
        ([], _) => Some(format!("{{ not = {{ {} }} }}", keys(not))),
        (_, _) => Some(format!("{{ {}, not = {{ {} }} }}", keys(app), keys(not))),
    }
}

fn keys(conditions: &[(&'static str, Values)]) -> String {
    let keys: Vec<_> = conditions
        .iter()
        .map(|(key, values)| format!("{key} = {values}"))
        .collect();
    keys.join(", ")
}

impl fmt::Display for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let written: Vec<_> = match self {
            Self::Texts(texts) => texts.iter().map(|text| quoted(text)).collect(),
            Self::Numbers(numbers) => numbers.iter().map(ToString::to_string).collect(),
        };
        match &written[..] {
            [only] => f.write_str(only),
            several => write!(f, "[{}]", several.join(", ")),
        }
    }
}

fn selection(
    f: &mut fmt::Formatter<'_>,
    key: &str,
    within: &[String],
    except: &[String],
) -> fmt::Result {
    match (within, except) {
        ([], []) => Ok(()),
        (within, []) => writeln!(f, "{key} = {}", list(within)),
        ([], except) => writeln!(f, "{key} = {{ not = {} }}", list(except)),
        (within, except) => writeln!(
            f,
            "{key} = {{ in = {}, not = {} }}",
            list(within),
            list(except)
        ),
    }
}

/// One value, or a list.
fn list(values: &[String]) -> String {
    if let [only] = values {
        return quoted(only);
    }
    let quoted: Vec<_> = values.iter().map(|value| quoted(value)).collect();
    format!("[{}]", quoted.join(", "))
}

/// A TOML string: literal where the text has a backslash that would have to be doubled.
fn quoted(text: &str) -> String {
    let literal = text.contains('\\') && !text.contains('\'');
    if literal && !text.chars().any(char::is_control) {
        return format!("'{text}'");
    }
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for letter in text.chars() {
        match letter {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            letter if letter.is_control() => {
                // Writing to a string cannot fail.
                let _ = write!(quoted, "\\u{:04X}", u32::from(letter));
            }
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

fn shortened(name: &str) -> String {
    let name = name.trim();
    match name.char_indices().nth(LONGEST_NAME) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_owned(),
    }
}

/// Gives each rule a name of its own.
#[derive(Debug, Default)]
pub(crate) struct UniqueNames {
    given: FxHashSet<String>,
    next: rustc_hash::FxHashMap<String, usize>,
}

impl UniqueNames {
    /// The name, with a number where it was given before.
    pub(crate) fn unique(&mut self, name: String) -> String {
        if self.given.insert(name.clone()) {
            return name;
        }
        let next = self.next.entry(name.clone()).or_insert(2);
        loop {
            let numbered = format!("{name} ({next})");
            *next += 1;
            if self.given.insert(numbered.clone()) {
                return numbered;
            }
        }
    }
}
