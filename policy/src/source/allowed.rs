//! What may pass where nothing else may: rules of a command line instead of a file.

use std::sync::Arc;

use super::PolicySource;
use crate::destination::Destination;
use crate::document::Refusal;
use crate::facts::Direction;
use crate::feed::Feed;
use crate::port::Port;
use crate::rule::{Origin, Rule, RuleInfo};
use crate::selection::Selection;
use crate::verdict::Verdict;

/// A destination, a service, or a service at a destination: `10.0.0.0/8`, `tcp/443`, `10.0.0.0/8:tcp/443`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowed {
    text: String,
    to: Option<Destination>,
    port: Option<Port>,
}

impl Allowed {
    /// Reads one, for someone who can give these kinds of facts.
    ///
    /// # Errors
    /// What stands neither in `to` nor in `port` of a rule, sets and lists (which a configuration defines), and
    /// destinations whose facts are not given.
    pub fn parse(text: &str, feeds: &[Feed]) -> Result<Self, Refusal> {
        let (to, port) = match text.rsplit_once(':') {
            Some((to, port)) if names_protocol(port) => (Some(to), Some(port)),
            _ if names_protocol(text) => (None, Some(text)),
            _ => (Some(text), None),
        };
        let allowed = Self {
            text: text.to_owned(),
            to: to.map(Destination::parse).transpose()?,
            port: port.map(Port::parse).transpose()?,
        };
        if matches!(allowed.to, Some(Destination::Set(_) | Destination::List(_))) {
            return Err(Refusal::new(
                format!("\"{text}\" is defined by a configuration, and none is read"),
                "name addresses or networks",
            ));
        }
        match allowed.to.as_ref().and_then(Destination::feed) {
            Some(feed) if !feeds.contains(&feed) => {
                let (message, hint) = feed.absence();
                Err(Refusal::new(message.to_owned(), hint))
            }
            _ => Ok(allowed),
        }
    }

    /// The rule that lets it pass, at this place among others. `option` is what people wrote before it.
    fn rule(self, option: &str, line: usize) -> Rule {
        Rule {
            info: RuleInfo {
                name: Some(format!("{option} {}", self.text)),
                origin: Origin {
                    file: Arc::from("command line"),
                    line,
                    column: 1,
                },
                action: Verdict::Allow,
            },
            app: None,
            from: None,
            to: self.to.map(|to| Selection::of(vec![to])),
            port: self.port.map(|port| Selection::of(vec![port])),
            direction: Direction::Out,
            when: None,
        }
    }
}

/// Whether a port is meant: `icmp`, or a protocol before a slash. No destination begins so.
fn names_protocol(text: &str) -> bool {
    let protocols = ["tcp", "udp", "ip"];
    text == "icmp"
        || text
            .split_once('/')
            .is_some_and(|(protocol, _)| protocols.contains(&protocol))
}

impl PolicySource {
    /// Only what is allowed passes; all else is refused at once. The rules' names are `option` and what is allowed.
    pub fn only(allowed: impl IntoIterator<Item = Allowed>, option: &str) -> Self {
        let rules = allowed
            .into_iter()
            .enumerate()
            .map(|(index, allowed)| allowed.rule(option, index + 1));
        Self {
            default: Verdict::Block,
            rules: rules.collect(),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> (Option<String>, Option<String>) {
        let allowed = Allowed::parse(text, &Feed::ALL).unwrap();
        (
            allowed.to.map(|to| to.to_string()),
            allowed.port.map(|port| port.to_string()),
        )
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn a_destination_a_service_or_both_are_told_apart() {
        assert_eq!(parts("10.0.0.0/8"), (some("10.0.0.0/8"), None));
        assert_eq!(parts("2001:db8::7"), (some("2001:db8::7"), None));
        assert_eq!(parts("tcp/443"), (None, some("tcp/443")));
        assert_eq!(parts("icmp"), (None, some("icmp")));
        assert_eq!(
            parts("2001:db8::/32:udp/8000-9000"),
            (some("2001:db8::/32"), some("udp/8000-9000"))
        );
        assert_eq!(parts("lan:icmp"), (some("lan"), some("icmp")));
        assert_eq!(parts("example.com:tcp/443").1, some("tcp/443"));
    }

    #[test]
    fn what_cannot_be_allowed_is_refused_with_a_reason() {
        for wrong in [
            "",
            "tcp/",
            "tcp/99999",
            "10.0.0.1/8",
            "10.0.0.1:tcp",
            ":tcp/443",
            "set:office",
            "list:trackers",
            "ip/6",
        ] {
            assert!(Allowed::parse(wrong, &Feed::ALL).is_err(), "{wrong}");
        }
        let refusal = Allowed::parse("country:DE:tcp/443", &[]).unwrap_err();
        assert!(refusal.message.contains("not looked up"), "{refusal:?}");
    }

    #[test]
    fn nothing_else_passes() {
        let allowed = Allowed::parse("10.0.0.0/8:tcp/443", &[]).unwrap();
        let source = PolicySource::only([allowed], "--allow");
        assert_eq!(source.default, Verdict::Block);
        assert_eq!(source.rules[0].info.label(), "--allow 10.0.0.0/8:tcp/443");
        assert!(source.review().is_empty());
        assert_eq!(PolicySource::only([], "--allow").rules, []);
    }
}
