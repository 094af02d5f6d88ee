//! `from` of rules, of tests and of what is asked.

use std::fmt::Write as _;

use crate::document::{Document, Problem};
use crate::facts::{Direction, Protocol};
use crate::known_flow::KnownFlow;
use crate::policy::Policy;
use crate::source::PolicySource;
use crate::verdict::{DecidedBy, Verdict};

fn read(text: &str) -> (PolicySource, Vec<Problem>) {
    let document = Document::parse("t.toml", text).unwrap();
    let mut source = PolicySource::default();
    source.read_main(&document);
    let mut problems = document.finish();
    problems.extend(source.review());
    (source, problems)
}

fn policy(text: &str) -> Policy {
    let (source, problems) = read(text);
    assert_eq!(problems, [], "{text}");
    Policy::compile(source)
}

/// A flow from `near` to a service elsewhere; `?` for an address that is not known.
fn flow(near: &str, other: &str) -> KnownFlow {
    let service = (Protocol::Tcp, 443);
    let flow = KnownFlow::new(Direction::Out, other.parse().unwrap(), service);
    match near.parse() {
        Ok(near) => flow.from_address(near).unwrap(),
        Err(_) => flow,
    }
}

fn explained(policy: &Policy, near: &str) -> String {
    let other = if near.contains(':') {
        "2001:db8::9"
    } else {
        "203.0.113.9"
    };
    let flow = flow(near, other);
    flow.ask(policy, |facts| policy.explain(facts)).to_string()
}

const GUESTS: &str = r#"
[[set]]
name = "guests"
to = ["172.17.0.0/16", "fd17::/64", "192.0.2.10-192.0.2.12"]
[[rule]]
name = "printer"
from = { in = "set:guests", not = "172.17.0.9" }
to = "203.0.113.9"
action = "allow"
[[rule]]
name = "guests"
from = ["set:guests", "loopback"]
action = "block"
[[rule]]
name = "not ours"
from = { not = ["lan", "192.0.2.0/24"] }
action = "drop"
"#;

#[test]
fn a_rule_is_for_flows_from_the_addresses_that_it_names() {
    let policy = policy(GUESTS);
    for (near, expected) in [
        ("172.17.0.2", "allow by rule 1 \"printer\" (t.toml:5)"),
        ("192.0.2.11", "allow by rule 1 \"printer\" (t.toml:5)"),
        (
            "::ffff:172.17.0.2",
            "allow by rule 1 \"printer\" (t.toml:5)",
        ),
        ("172.17.0.9", "block by rule 2 \"guests\" (t.toml:10)"),
        ("fd17::7", "block by rule 2 \"guests\" (t.toml:10)"),
        ("127.0.0.1", "block by rule 2 \"guests\" (t.toml:10)"),
        ("198.51.100.1", "drop by rule 3 \"not ours\" (t.toml:14)"),
        ("192.0.2.13", "allow by default: no rule matches"),
        ("10.0.0.1", "allow by default: no rule matches"),
        ("?", "allow by default: no rule matches"),
    ] {
        let near_end = near.strip_prefix("::ffff:").unwrap_or(near);
        let said = explained(&policy, near_end);
        assert_eq!(said.lines().last(), Some(expected), "{near}: {said}");
        let other = if near_end.contains(':') {
            "2001:db8::9"
        } else {
            "203.0.113.9"
        };
        let decision = flow(near, other).ask(&policy, |facts| policy.decide(facts));
        let verdict = decision.verdict.to_string();
        assert!(expected.starts_with(&verdict), "{near}: {verdict}");
    }
}

#[test]
fn what_a_rule_misses_is_said() {
    let policy = policy(GUESTS);
    insta::assert_snapshot!(explained(&policy, "10.0.0.1"), @r#"
rule 1 "printer" (t.toml:5): source 10.0.0.1 is not in set:guests but not 172.17.0.9
rule 2 "guests" (t.toml:10): source 10.0.0.1 is not in set:guests or loopback
rule 3 "not ours" (t.toml:14): source 10.0.0.1 is in lan or 192.0.2.0/24
allow by default: no rule matches
"#);
    insta::assert_snapshot!(explained(&policy, "?"), @r#"
rule 1 "printer" (t.toml:5): the source is not known, which set:guests but not 172.17.0.9 needs
rule 2 "guests" (t.toml:10): the source is not known, which set:guests or loopback needs
rule 3 "not ours" (t.toml:14): the source is not known, which not lan or 192.0.2.0/24 needs
allow by default: no rule matches
"#);
    let reasons = |near| {
        let explanation = flow(near, "203.0.113.9").ask(&policy, |facts| policy.explain(facts));
        explanation.tried[0].reason
    };
    assert_eq!(reasons("10.0.0.1"), Some("from"));
    assert_eq!(reasons("?"), Some("from-unknown"));
}

/// So many of one app and destination are looked up by the near end, not tried one by one.
#[test]
fn of_many_rules_the_first_of_this_source_and_port_decides() {
    let mut text = String::new();
    for number in 0..200 {
        let net = number % 100;
        let port = if number < 100 { "tcp/80" } else { "tcp/443" };
        let rule = format!(
            "[[rule]]\nfrom = [\"10.{net}.0.0/16\", \"fd00:{net}::/32\"]\nport = \"{port}\"\naction = \"block\"\n"
        );
        text.push_str(&rule);
    }
    writeln!(text, "[[rule]]\nfrom = \"lan\"\naction = \"drop\"").unwrap();
    writeln!(text, "[[rule]]\nport = \"tcp/443\"\naction = \"block\"").unwrap();
    let policy = policy(&text);
    let decided = |near: &str, other| {
        let decision = flow(near, other).ask(&policy, |facts| policy.decide(facts));
        (decision.verdict, decision.by)
    };
    for net in 0..100 {
        let near = format!("10.{net}.7.7");
        let expected = (Verdict::Block, DecidedBy::Rule(100 + net));
        assert_eq!(decided(&near, "203.0.113.9"), expected);
        let near = format!("fd00:{net}::7");
        assert_eq!(decided(&near, "2001:db8::9"), expected);
    }
    let other_net = decided("10.100.0.1", "203.0.113.9");
    assert_eq!(other_net, (Verdict::Drop, DecidedBy::Rule(200)));
    let not_ours = decided("198.51.100.1", "203.0.113.9");
    assert_eq!(not_ours, (Verdict::Block, DecidedBy::Rule(201)));
}

#[test]
fn more_than_an_address_is_refused() {
    let (_, problems) = read(
        r#"
[[rule]]
from = ["example.com", "country:DE", "list:ads", "set:shops", "set:fine", "192.0.2.1"]
action = "block"
[[set]]
name = "shops"
to = ["set:fine", "shop.example"]
[[set]]
name = "fine"
to = "lan"
[[test]]
flow = { from = "2001:db8::1", to = "192.0.2.1", port = "tcp/80" }
expect = "block"
"#,
    );
    let said: Vec<String> = problems
        .iter()
        .map(|problem| problem.message.clone())
        .collect();
    let nothing = "says nothing of where a flow comes from";
    assert_eq!(
        said,
        [
            format!("\"example.com\" {nothing}"),
            format!("\"country:DE\" {nothing}"),
            format!("\"list:ads\" {nothing}"),
            "`from` and `to` are of different families".to_owned(),
            format!("the set \"shops\" holds \"shop.example\", which {nothing}"),
        ]
    );
}

#[test]
fn tests_say_where_a_flow_comes_from() {
    let test = |from: &str| {
        let test = format!(
            "{GUESTS}[[test]]\nflow = {{ {from}to = \"203.0.113.9\", port = \"tcp/443\" }}\nexpect = \"allow\"\nby = \"printer\"\n"
        );
        let (source, problems) = read(&test);
        assert_eq!(problems, []);
        let tests = source.tests.clone();
        Policy::compile(source).failures(&tests)
    };
    assert_eq!(test("from = \"172.17.0.2\", "), []);
    for other in ["from = \"10.0.0.1\", ", ""] {
        assert_eq!(test(other).len(), 1, "{other}");
    }
}
