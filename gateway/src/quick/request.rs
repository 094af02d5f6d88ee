//! What the words of `tidegate block` and `tidegate allow` mean as a rule.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tidegate_policy::{Destination, Port, Verdict};

use crate::record::Timestamp;
use crate::rule_text::{literal, quoted};

/// Where programs are looked for that are called by their name: what login shells of all systems have in common.
const PROGRAM_FOLDERS: [&str; 6] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
];

/// Stands for every program.
const ANYONE: &str = "any";

/// A rule as it is wished for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuickRule {
    /// What is to happen.
    pub action: Verdict,
    /// A program's name, or its path, or `any`.
    pub app: String,
    /// The other end, as in `to` of a rule; absent: anywhere.
    #[serde(default)]
    pub to: Option<String>,
    /// The service, as in `port` of a rule; absent: any.
    #[serde(default)]
    pub port: Option<String>,
    /// When it ends; absent: never.
    #[serde(default)]
    pub until: Option<Timestamp>,
}

/// The words do not make a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// A destination or a port that is none.
    #[error("{0}")]
    Value(String),
    /// To allow takes a path.
    #[error("no program called \"{0}\" is known here: write the path of its executable")]
    NoSuchProgram(String),
    /// To allow takes one program.
    #[error(
        "several programs are called \"{name}\": write the path of one: {}",
        list(paths)
    )]
    SeveralPrograms {
        /// The name.
        name: String,
        /// Their executables.
        paths: Vec<PathBuf>,
    },
    /// Words that people could not read.
    #[error("there are control characters in it: leave them out")]
    Unwritable,
}

fn list(paths: &[PathBuf]) -> String {
    let paths: Vec<_> = paths
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    paths.join(", ")
}

impl QuickRule {
    /// The rule's text, where `seen` are the executables of flows that have this name.
    ///
    /// What is blocked is blocked by name, wherever it lies; what is allowed is allowed by its path, as anybody may give
    /// a file a name.
    ///
    /// # Errors
    /// Something is no destination, no port, or no program.
    pub fn text(&self, seen: &[PathBuf], now: Timestamp) -> Result<String, RequestError> {
        let words = [Some(&self.app), self.to.as_ref(), self.port.as_ref()];
        if words
            .into_iter()
            .flatten()
            .any(|word| word.contains(char::is_control))
        {
            return Err(RequestError::Unwritable);
        }
        let value = |text: &str, refusal: Option<tidegate_policy::Refusal>| match refusal {
            Some(refusal) => Err(RequestError::Value(match refusal.hint {
                Some(hint) => format!("{}: {hint}", refusal.message),
                None => refusal.message,
            })),
            None => Ok(quoted(text)),
        };
        let mut lines = vec!["[[rule]]".to_owned()];
        lines.push(format!("name = {}", quoted(&self.name(now))));
        if self.app != ANYONE {
            lines.push(format!("app = {}", self.app_condition(seen)?));
        }
        if let Some(to) = &self.to {
            lines.push(format!("to = {}", value(to, Destination::parse(to).err())?));
        }
        if let Some(port) = &self.port {
            lines.push(format!("port = {}", value(port, Port::parse(port).err())?));
        }
        if let Some(until) = self.until {
            lines.push(format!("expires = {until}"));
        }
        lines.push(format!("action = \"{}\"", self.action));
        lines.push(String::new());
        Ok(lines.join("\n"))
    }

    /// The command's words, and when: two rules of one name would be taken for one.
    pub fn name(&self, now: Timestamp) -> String {
        let mut name = format!("{} {}", self.action, self.app);
        for (word, value) in [("to", &self.to), ("port", &self.port)] {
            if let Some(value) = value {
                name.push_str(&format!(" {word} {value}"));
            }
        }
        format!("{name} ({now})")
    }

    fn app_condition(&self, seen: &[PathBuf]) -> Result<String, RequestError> {
        if self.app.contains('/') {
            return Ok(quoted(&self.app));
        }
        let found = PROGRAM_FOLDERS
            .iter()
            .filter_map(|folder| Path::new(folder).join(&self.app).canonicalize().ok());
        let mut paths: Vec<PathBuf> = found.chain(seen.iter().cloned()).collect();
        paths.sort_unstable();
        paths.dedup();
        if self.action == Verdict::Allow {
            return match &paths[..] {
                [] => Err(RequestError::NoSuchProgram(self.app.clone())),
                [path] => Ok(quoted(&literal(&path.to_string_lossy()))),
                _ => Err(RequestError::SeveralPrograms {
                    name: self.app.clone(),
                    paths,
                }),
            };
        }
        // `python3` may be a link to what is called otherwise.
        let names = paths
            .iter()
            .filter_map(|path| path.file_name()?.to_str())
            .map(literal);
        let mut names: Vec<String> = names.chain([self.app.clone()]).collect();
        names.sort_unstable();
        names.dedup();
        let names: Vec<String> = names.iter().map(|name| quoted(name)).collect();
        Ok(match &names[..] {
            [name] => format!("{{ name = {name} }}"),
            names => format!("{{ name = [{}] }}", names.join(", ")),
        })
    }
}

#[cfg(test)]
mod tests {
    use tidegate_policy::{Document, PolicySource};

    use super::*;

    fn quick(action: Verdict, app: &str) -> QuickRule {
        QuickRule {
            action,
            app: app.to_owned(),
            to: None,
            port: None,
            until: None,
        }
    }

    fn at() -> Timestamp {
        "2026-11-22T15:00:00.000Z".parse().unwrap()
    }

    /// Its text, which is a rule without a problem.
    fn text(rule: &QuickRule, seen: &[&str]) -> String {
        let seen: Vec<PathBuf> = seen.iter().map(PathBuf::from).collect();
        let text = rule.text(&seen, at()).unwrap();
        let document = Document::parse("quick.toml", &text).unwrap();
        let mut source = PolicySource::default();
        source.read_rules(&document);
        assert_eq!(document.finish(), [], "{text}");
        assert_eq!(source.rules.len(), 1);
        text
    }

    #[test]
    fn words_become_a_rule_as_people_write_them() {
        let rule = QuickRule {
            to: Some("192.0.2.0/24".to_owned()),
            port: Some("tcp/443".to_owned()),
            ..quick(Verdict::Block, "no-such-program")
        };
        insta::assert_snapshot!(text(&rule, &[]), @r#"
            [[rule]]
            name = "block no-such-program to 192.0.2.0/24 port tcp/443 (2026-11-22T15:00:00.000Z)"
            app = { name = "no-such-program" }
            to = "192.0.2.0/24"
            port = "tcp/443"
            action = "block"
            "#);
    }

    #[test]
    fn what_is_blocked_is_blocked_under_every_name_that_it_has() {
        let rule = quick(Verdict::Block, "odd[1]name");
        let text = text(&rule, &["/opt/a/odd[1]name", "/opt/b/other"]);
        assert!(
            text.contains(r#"name = ["odd[1]name", "odd[[]1]name", "other"]"#),
            "{text}"
        );
        assert!(!self::text(&quick(Verdict::Block, "any"), &[]).contains("app"));
    }

    #[test]
    fn what_is_allowed_is_one_file() {
        let text = text(&quick(Verdict::Allow, "no-such-program"), &["/opt/x/p*"]);
        assert!(text.contains("app = \"/opt/x/p[*]\""), "{text}");
        let none = quick(Verdict::Allow, "no-such-program").text(&[], at());
        assert!(matches!(none, Err(RequestError::NoSuchProgram(_))));
        let seen = ["/opt/a/p".into(), "/opt/b/p".into()];
        let two = quick(Verdict::Allow, "no-such-program").text(&seen, at());
        assert!(matches!(two, Err(RequestError::SeveralPrograms { .. })));
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        for (to, port) in [(Some("10.0.0.1/8"), None), (None, Some("tcp/x"))] {
            let rule = QuickRule {
                to: to.map(str::to_owned),
                port: port.map(str::to_owned),
                ..quick(Verdict::Block, "curl")
            };
            assert!(matches!(rule.text(&[], at()), Err(RequestError::Value(_))));
        }
        let evil = quick(Verdict::Block, "a\nb").text(&[], at());
        assert_eq!(evil, Err(RequestError::Unwritable));
    }
}
