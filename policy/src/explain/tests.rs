use std::fmt::Write as _;

use insta::assert_snapshot;

use super::*;
use crate::context::Context;
use crate::destination::Country;
use crate::document::Document;
use crate::facts::{Direction, Fact, FlowName, Lists, NameSource, Names, Peer, Protocol};
use crate::name::Name;
use crate::source::PolicySource;

fn policy(text: &str) -> Policy {
    let document = Document::parse("tidegate.toml", text).unwrap();
    let mut source = PolicySource::default();
    source.read_main(&document);
    assert_eq!(document.finish(), []);
    Policy::compile(source)
}

fn app(path: &str, uid: u32) -> App {
    App {
        pid: 1,
        user: (uid == 0).then(|| "root".to_owned()),
        parents: vec!["/usr/bin/bash".into()],
        ..App::new(path, uid)
    }
}

fn facts<'a>(remote: &str, apps: &'a [App]) -> FlowFacts<'a> {
    FlowFacts {
        direction: Direction::Out,
        protocol: Protocol::Tcp,
        local: "10.0.0.2:40000".parse().unwrap(),
        remote: remote.parse().unwrap(),
        apps,
        peer: Peer::default(),
        context: Context::unknown(),
    }
}

const RULES: &str = r#"
[[rule]]
name = "no updates"
app = "/usr/share/code/*"
action = "block"
[[rule]]
app = { user = ["alice", "bob"] }
action = "block"
[[rule]]
name = "unit"
app = { unit = "ssh.service" }
action = "block"
[[rule]]
name = "container"
app = { container = "0123456789ab" }
action = "block"
[[rule]]
name = "parents"
app = { parent = ["/a", "/b", "/c", "/d"] }
action = "block"
[[rule]]
name = "uid"
app = { name = "curl", uid = 0 }
action = "drop"
[[rule]]
name = "inbound"
direction = "in"
action = "block"
[[rule]]
name = "dns"
port = ["tcp/53", "udp/53"]
action = "allow"
[[rule]]
name = "private"
to = ["lan", "203.0.113.0/24"]
action = "allow"
[[rule]]
name = "the web"
app = { name = "curl" }
to = "internet"
port = "443"
action = "allow"
[[rule]]
name = "not reached"
action = "block"
"#;

#[test]
fn every_rule_says_what_it_missed() {
    let owners = [app("/usr/bin/curl", 1000)];
    let explanation = policy(RULES).explain(&facts("[::ffff:198.51.100.7]:443", &owners));
    assert_snapshot!(explanation, @r#"
rule 1 "no updates" (tidegate.toml:2): app /usr/bin/curl does not match /usr/share/code/*
rule 2 (tidegate.toml:6): app uid 1000 has no login name, so it is not alice or bob
rule 3 "unit" (tidegate.toml:9): app runs in no unit, so not in ssh.service
rule 4 "container" (tidegate.toml:13): app runs in no container, so not in 0123456789ab
rule 5 "parents" (tidegate.toml:17): no parent of the app matches /a, /b or 2 more
rule 6 "uid" (tidegate.toml:21): app uid 1000 is not 0
rule 7 "inbound" (tidegate.toml:25): direction out is not in
rule 8 "dns" (tidegate.toml:29): port tcp/443 is not tcp/53 or udp/53
rule 9 "private" (tidegate.toml:33): destination 198.51.100.7 is not in lan or 203.0.113.0/24
rule 10 "the web" (tidegate.toml:37): matches
allow by rule 10 "the web" (tidegate.toml:37)
"#);
}

#[test]
fn an_unknown_app_meets_no_app_condition() {
    let explanation = policy("[[rule]]\napp = \"/usr/bin/curl\"\naction = \"block\"\n")
        .explain(&facts("10.0.0.1:80", &[]));
    assert_snapshot!(explanation, @r#"
rule 1 (tidegate.toml:1): the app is not known
allow by default: no rule matches
"#);
}

#[test]
fn of_several_owners_the_strictest_is_shown() {
    let owners = [app("/usr/bin/wget", 0), app("/usr/bin/curl", 0)];
    let explanation = policy(RULES).explain(&facts("10.0.0.1:80", &owners));
    assert_snapshot!(explanation, @r#"
2 programs own the socket; strictest for /usr/bin/curl
rule 1 "no updates" (tidegate.toml:2): app /usr/bin/curl does not match /usr/share/code/*
rule 2 (tidegate.toml:6): app user root is not alice or bob
rule 3 "unit" (tidegate.toml:9): app runs in no unit, so not in ssh.service
rule 4 "container" (tidegate.toml:13): app runs in no container, so not in 0123456789ab
rule 5 "parents" (tidegate.toml:17): no parent of the app matches /a, /b or 2 more
rule 6 "uid" (tidegate.toml:21): matches
drop by rule 6 "uid" (tidegate.toml:21)
"#);
}

#[test]
fn programs_read_the_same_as_people() {
    let explanation = policy("[[rule]]\nname = \"x\"\nto = \"10.0.0.1\"\naction = \"drop\"\n")
        .explain(&facts("10.0.0.1:80", &[]));
    insta::assert_json_snapshot!(explanation, @r#"
{
  "verdict": "drop",
  "rule": {
    "number": 1,
    "name": "x",
    "origin": {
      "file": "tidegate.toml",
      "line": 1,
      "column": 1
    }
  },
  "protection": null,
  "waits_for": null,
  "app": null,
  "owners": 0,
  "tried": [
    {
      "rule": {
        "number": 1,
        "name": "x",
        "origin": {
          "file": "tidegate.toml",
          "line": 1,
          "column": 1
        }
      },
      "reason": null,
      "missed": null
    }
  ],
  "omitted": 0,
  "protections": []
}
"#);
}

#[test]
fn a_long_trace_keeps_the_rules_nearest_to_matching() {
    let mut text = String::new();
    for number in 0..500 {
        writeln!(
            text,
            "[[rule]]\nto = \"192.0.2.{}\"\naction = \"block\"",
            number % 256
        )
        .unwrap();
    }
    text.push_str(
        "[[rule]]\nname = \"near\"\nto = \"10.0.0.0/8\"\nport = \"22\"\naction = \"block\"\n",
    );
    text.push_str("[[rule]]\nname = \"hit\"\nto = \"lan\"\naction = \"drop\"\n");
    let explanation = policy(&text).explain(&facts("10.0.0.1:80", &[]));
    assert_eq!(explanation.tried.len(), 100);
    assert_eq!(explanation.omitted, 402);
    let last: Vec<_> = explanation.tried[98..]
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        last,
        [
            "rule 501 \"near\" (tidegate.toml:1501): port tcp/80 is not 22",
            "rule 502 \"hit\" (tidegate.toml:1506): matches"
        ]
    );
    assert!(
        explanation
            .to_string()
            .contains("(402 more rules tried that do not match)")
    );
}

const KNOWN: &str = r#"
[[set]]
name = "shops"
to = [".shop.example", "country:FR"]
[[rule]]
name = "names"
to = ["ads.example", "*.ads.example"]
action = "block"
[[rule]]
name = "not here"
to = { not = "country:DE" }
action = "drop"
[[rule]]
name = "set"
to = "set:shops"
port = { not = "tcp/443" }
action = "drop"
[[rule]]
name = "list"
to = "list:trackers"
action = "block"
[[rule]]
name = "system"
to = { in = "internet", not = "as:64500" }
action = "allow"
"#;

fn explained(peer: Peer<'_>) -> String {
    let facts = FlowFacts {
        peer,
        ..facts("198.51.100.7:443", &[])
    };
    policy(KNOWN).explain(&facts).to_string()
}

#[test]
fn what_is_not_known_matches_nothing_and_is_said() {
    assert_snapshot!(explained(Peer::default()), @r#"
rule 1 "names" (tidegate.toml:5): no name of the destination is known, which ads.example or *.ads.example needs
rule 2 "not here" (tidegate.toml:9): where the destination is, is not known, which not country:DE needs
rule 3 "set" (tidegate.toml:13): no name of the destination is known, which set:shops needs
rule 4 "list" (tidegate.toml:18): no list is loaded, which list:trackers needs
rule 5 "system" (tidegate.toml:22): where the destination is, is not known, which internet but not as:64500 needs
allow by default: no rule matches
"#);
}

#[test]
fn names_and_places_are_shown_where_they_miss() {
    let names = [FlowName {
        name: Name::parse("www.example.com").unwrap(),
        source: NameSource::Sni,
    }];
    let peer = Peer {
        names: Names::Known(&names),
        country: Fact::Is(Country::parse("DE").unwrap()),
        continent: Fact::Absent,
        system: Fact::Is(64501),
        lists: Lists::On(&[]),
        unloaded: &[],
    };
    assert_snapshot!(explained(peer), @r#"
rule 1 "names" (tidegate.toml:5): destination 198.51.100.7 (www.example.com) is not in ads.example or *.ads.example
rule 2 "not here" (tidegate.toml:9): destination 198.51.100.7 (www.example.com) is in country:DE
rule 3 "set" (tidegate.toml:13): destination 198.51.100.7 (www.example.com) is not in set:shops
rule 4 "list" (tidegate.toml:18): destination 198.51.100.7 (www.example.com) is not in list:trackers
rule 5 "system" (tidegate.toml:22): matches
allow by rule 5 "system" (tidegate.toml:22)
"#);
}

#[test]
fn a_rule_that_waits_for_a_name_is_named() {
    let peer = Peer {
        names: Names::Awaited,
        country: Fact::Is(Country::parse("DE").unwrap()),
        system: Fact::Is(64501),
        lists: Lists::On(&[]),
        ..Peer::default()
    };
    assert_snapshot!(explained(peer), @r#"
rule 1 "names" (tidegate.toml:5): waits for the destination's name: ads.example or *.ads.example
rule 2 "not here" (tidegate.toml:9): destination 198.51.100.7 is in country:DE
rule 3 "set" (tidegate.toml:13): port tcp/443 is tcp/443
rule 4 "list" (tidegate.toml:18): waits for the destination's name: list:trackers
rule 5 "system" (tidegate.toml:22): matches
allow by rule 5 "system" (tidegate.toml:22), unless a name of the destination comes that rule 1 "names" (tidegate.toml:5) meets
"#);
}

#[test]
fn reasons_have_ids_that_stay() {
    let owners = [app("/usr/bin/curl", 1000)];
    let ids = |peer, apps: &[App], rules| {
        let facts = FlowFacts {
            peer,
            ..facts("198.51.100.7:443", apps)
        };
        let explanation = policy(rules).explain(&facts);
        let reasons = explanation.tried.iter().map(|tried| tried.reason);
        reasons
            .map(|id| id.unwrap_or("-"))
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(
        ids(Peer::default(), &owners, RULES),
        "app-path app-user app-unit app-container app-parent app-uid direction port to -"
    );
    assert_eq!(
        ids(Peer::default(), &[], KNOWN),
        "to-name-unknown to-place-unknown to-name-unknown to-list-unknown to-place-unknown"
    );
    let peer = Peer {
        names: Names::Awaited,
        ..Peer::default()
    };
    let rules = "[[rule]]\nto = \"a.example\"\naction = \"block\"\n\
                 [[rule]]\napp = { not = \"/usr/**\" }\naction = \"block\"\n\
                 [[rule]]\napp = { name = \"x\" }\naction = \"block\"\n";
    assert_eq!(
        ids(peer, &owners, rules),
        "to-name-awaited app-not app-name"
    );
    assert_eq!(
        ids(peer, &[], rules),
        "to-name-awaited app-unknown app-unknown"
    );
}
