use insta::assert_snapshot;

use crate::known_flow::KnownFlow;
use crate::verdict::{DecidedBy, Decision, Verdict};
use crate::{App, Direction, Document, Policy, PolicySource, Protection, Protocol};

const LISTS: &str = r#"
[[list]]
name = "quiet"
source = "/lists/quiet"

[[list]]
name = "ads"
source = "/lists/ads"
action = "block"

[[list]]
name = "games"
source = "/lists/games"
app = "/usr/bin/work"
action = "drop"

[[list]]
name = "mine"
source = "/lists/mine"
action = "allow"
"#;

fn policy(rules: &str) -> Policy {
    let document = Document::parse("t.toml", &format!("{rules}{LISTS}")).unwrap();
    let mut source = PolicySource::default();
    source.read_main(&document);
    assert_eq!(document.finish(), []);
    assert_eq!(source.review(), []);
    Policy::compile(source)
}

fn program(path: &str) -> App {
    App {
        name: "program".to_owned(),
        pid: 7,
        ..App::new(path, 1000)
    }
}

fn flow(lists: Option<&[&str]>) -> KnownFlow {
    KnownFlow {
        apps: vec![program("/usr/bin/work")],
        lists: lists.map(|lists| lists.iter().map(|list| (*list).to_owned()).collect()),
        ..KnownFlow::new(
            Direction::Out,
            "192.0.2.1".parse().unwrap(),
            (Protocol::Tcp, 443),
        )
    }
}

fn decide(policy: &Policy, flow: &KnownFlow) -> Decision {
    flow.ask(policy, |facts| policy.decide(facts))
}

/// The verdict, and the label of the protection that gave it.
fn outcome(policy: &Policy, flow: &KnownFlow) -> (Verdict, Option<String>) {
    let decision = decide(policy, flow);
    let label = match decision.by {
        DecidedBy::Protection(protection) => policy.protection_label(protection),
        DecidedBy::Rule(_) | DecidedBy::Default => None,
    };
    (decision.verdict, label.map(ToString::to_string))
}

#[test]
fn a_list_refuses_what_is_on_it_and_nothing_else() {
    let policy = policy("");
    assert_eq!(
        outcome(&policy, &flow(Some(&["ads"]))),
        (Verdict::Block, Some("list:ads".to_owned()))
    );
    for lists in [Some(&["quiet"][..]), Some(&[]), None] {
        assert_eq!(outcome(&policy, &flow(lists)), (Verdict::Allow, None));
    }
    let decision = decide(&policy, &flow(Some(&["ads"])));
    let DecidedBy::Protection(protection) = decision.by else {
        panic!("{decision:?}");
    };
    assert!(matches!(protection, Protection::List(_)));
    assert_eq!(protection.id(), "list");
}

#[test]
fn the_first_list_in_the_order_written_names_the_verdict() {
    let both = outcome(&policy(""), &flow(Some(&["games", "ads"])));
    assert_eq!(both, (Verdict::Block, Some("list:ads".to_owned())));
}

#[test]
fn a_list_that_allows_wins_over_all_that_refuse_but_not_over_rules_or_the_default() {
    let lists = flow(Some(&["ads", "games", "mine"]));
    assert_eq!(outcome(&policy(""), &lists), (Verdict::Allow, None));
    let shut = policy("[policy]\ndefault = \"block\"\n");
    assert_eq!(outcome(&shut, &lists), (Verdict::Block, None));
}

#[test]
fn rules_stand_before_lists() {
    let rule = "[[rule]]\nto = \"192.0.2.1\"\naction = \"allow\"\n";
    let ads = flow(Some(&["ads"]));
    let decision = decide(&policy(rule), &ads);
    assert_eq!(
        (decision.verdict, decision.by),
        (Verdict::Allow, DecidedBy::Rule(0))
    );
    let by_list = "[[rule]]\nto = \"list:ads\"\naction = \"drop\"\n";
    assert_eq!(decide(&policy(by_list), &ads).verdict, Verdict::Drop);
}

#[test]
fn a_list_for_some_programs_leaves_others_alone() {
    let policy = policy("");
    let games = flow(Some(&["games"]));
    assert_eq!(outcome(&policy, &games).0, Verdict::Drop);
    let other = KnownFlow {
        apps: vec![program("/usr/bin/play")],
        ..games.clone()
    };
    assert_eq!(outcome(&policy, &other).0, Verdict::Allow);
    // Of two owners the strictest verdict holds.
    let shared = KnownFlow {
        apps: vec![program("/usr/bin/play"), program("/usr/bin/work")],
        ..games.clone()
    };
    assert_eq!(outcome(&policy, &shared).0, Verdict::Drop);
    let nobody = KnownFlow {
        apps: Vec::new(),
        ..games
    };
    assert_eq!(outcome(&policy, &nobody).0, Verdict::Allow);
    // Its program may have seen to it that it is not known.
    let lost = nobody.ask(&policy, |facts| policy.decide_for_lost(facts));
    assert_eq!(lost.verdict, Verdict::Drop);
}

#[test]
fn services_keep_their_clients() {
    let policy = policy("");
    let client = KnownFlow {
        direction: Direction::In,
        ..flow(Some(&["ads"]))
    };
    assert_eq!(outcome(&policy, &client), (Verdict::Allow, None));
    // Nobody saw who spoke first: it may be the program's own.
    let either = client.ask(&policy, |facts| policy.decide_either_way(facts));
    assert_eq!(either.verdict, Verdict::Block);
}

#[test]
fn explanations_name_what_was_asked_and_tests_what_must_decide() {
    let policy = policy("");
    let explain = |lists| {
        let explanation = flow(lists).ask(&policy, |facts| policy.explain(facts));
        assert_eq!(explanation.verdict, decide(&policy, &flow(lists)).verdict);
        explanation.to_string()
    };
    assert_snapshot!(explain(Some(&["games"])), @r"
list:ads (t.toml:6): 192.0.2.1 is not on it
list:games (t.toml:11): refuses
drop by list:games
");
    assert_snapshot!(explain(Some(&["ads", "mine"])), @r"
list:ads (t.toml:6): list:mine allows it
list:games (t.toml:11): 192.0.2.1 is not on it
list:mine (t.toml:17): keeps other lists from refusing the flow
allow by default: no rule matches
");
    assert_snapshot!(explain(None), @r"
list:ads (t.toml:6): no list is loaded
list:games (t.toml:11): no list is loaded
list:mine (t.toml:17): no list is loaded
allow by default: no rule matches
");
    let test = "[[test]]\nflow = { to = \"192.0.2.1\", port = \"tcp/443\", list = \"ads\" }\nexpect = \"block\"\nby = \"list:ads\"\n";
    let document = Document::parse("t.toml", &format!("{test}{LISTS}")).unwrap();
    let mut source = PolicySource::default();
    source.read_main(&document);
    assert_eq!(document.finish(), []);
    let tests = std::mem::take(&mut source.tests);
    assert_eq!(Policy::compile(source).failures(&tests), []);
}
