use std::net::IpAddr;
use std::path::PathBuf;

use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::context::Context;
use crate::destination::{Continent, Country};
use crate::document::Document;
use crate::facts::{Fact, FlowName, ListId, Lists, NameSource, Peer, Protocol};
use crate::identity::{Identity, Level};
use crate::known_flow::KnownFlow;
use crate::name::Name;

mod contexts;

fn policy(text: &str) -> Policy {
    let document = Document::parse("t.toml", text).unwrap();
    let mut source = PolicySource::default();
    source.read_main(&document);
    let problems = document.finish();
    assert!(
        problems.iter().all(|p| !p.is_error()),
        "{problems:?}\n{text}"
    );
    Policy::compile(source)
}

/// What the compiled policy must agree with: every rule for every owner, in order.
fn naive(policy: &Policy, facts: &FlowFacts<'_>, directions: &[Direction]) -> Decision {
    let owners: Vec<Option<&App>> = match facts.apps {
        [] => vec![None],
        apps => apps.iter().map(Some).collect(),
    };
    let all: Vec<Decision> = owners
        .into_iter()
        .map(|owner| naive_for(policy, facts, owner, directions))
        .collect();
    let strictest = all.iter().map(|decision| decision.verdict).max().unwrap();
    let mut holds = *all
        .iter()
        .filter(|decision| decision.verdict == strictest)
        .min_by_key(|decision| match decision.by {
            DecidedBy::Rule(index) => index,
            DecidedBy::Protection(_) => usize::MAX - 1,
            DecidedBy::Default => usize::MAX,
        })
        .unwrap();
    holds.waits_for = all.iter().filter_map(|decision| decision.waits_for).min();
    holds
}

fn naive_for(
    policy: &Policy,
    facts: &FlowFacts<'_>,
    owner: Option<&App>,
    directions: &[Direction],
) -> Decision {
    let truth = |rule: &Rule| {
        let towards = directions.iter().map(|direction| FlowFacts {
            direction: *direction,
            ..*facts
        });
        Truth::any(towards.map(|facts| rule.truth(&facts, owner, policy.definitions())))
    };
    let rules = policy.rules();
    let first = rules.iter().position(|rule| truth(rule) == Truth::Holds);
    let (verdict, by) = match (first, directions[0]) {
        (Some(index), _) => (rules[index].info.action, DecidedBy::Rule(index)),
        (None, Direction::Out) => naive_protection(policy, facts, &|list| {
            list.app.as_ref().is_none_or(|condition| {
                owner.is_some_and(|app| condition.first_mismatch(app).is_none())
            })
        })
        .unwrap_or((policy.default_verdict(), DecidedBy::Default)),
        (None, Direction::In) => (Verdict::Allow, DecidedBy::Default),
    };
    let before = first.unwrap_or(rules.len());
    let waits = |rule: &Rule| truth(rule) == Truth::Awaited && rule.info.action != verdict;
    Decision {
        verdict,
        by,
        waits_for: rules[..before].iter().position(waits),
    }
}

/// The first list with an action that counts, unless one of those allows.
fn naive_protection(
    policy: &Policy,
    facts: &FlowFacts<'_>,
    counts: &dyn Fn(&ListDefinition) -> bool,
) -> Option<(Verdict, DecidedBy)> {
    let Lists::On(on) = facts.peer.lists else {
        return None;
    };
    let configured = (0..).map(ListId).zip(policy.list_definitions());
    let acting: Vec<(ListId, Verdict)> = configured
        .filter(|(id, list)| on.contains(id) && counts(list))
        .filter_map(|(id, list)| Some((id, list.action?)))
        .collect();
    if acting.iter().any(|(_, action)| *action == Verdict::Allow) {
        return None;
    }
    let (id, action) = *acting.first()?;
    Some((action, DecidedBy::Protection(Protection::List(id))))
}

/// The same of a flow whose program was lost: rules that refuse programs count as though they were about any, then those
/// that ask.
fn naive_for_lost(policy: &Policy, facts: &FlowFacts<'_>, directions: &[Direction]) -> Decision {
    let decision = naive(policy, facts, directions);
    if decision.verdict >= Verdict::Block {
        return decision;
    }
    let about_any = |rule: &Rule| {
        let about_any = Rule {
            app: None,
            ..rule.clone()
        };
        let holds = |direction: &Direction| {
            let facts = FlowFacts {
                direction: *direction,
                ..*facts
            };
            about_any.truth(&facts, None, policy.definitions()) == Truth::Holds
        };
        rule.app.is_some() && directions.iter().any(holds)
    };
    let before = &policy.rules()[..position(decision).min(policy.len())];
    let first = |meant: fn(Verdict) -> bool| {
        let index = before
            .iter()
            .position(|rule| meant(rule.info.action) && about_any(rule))?;
        Some(Decision {
            verdict: policy.rules()[index].info.action,
            by: DecidedBy::Rule(index),
            waits_for: decision.waits_for.filter(|waits| *waits < index),
        })
    };
    if let Some(refused) = first(|action| action >= Verdict::Block) {
        return refused;
    }
    if decision.by == DecidedBy::Default && directions[0] == Direction::Out {
        let refused = naive_protection(policy, facts, &|list| {
            list.app.is_none() || list.action != Some(Verdict::Allow)
        });
        if let Some((verdict, by)) = refused {
            return Decision {
                verdict,
                by,
                ..decision
            };
        }
    }
    match decision.verdict {
        Verdict::Allow => first(|action| action == Verdict::Ask).unwrap_or(decision),
        Verdict::Ask | Verdict::Block | Verdict::Drop => decision,
    }
}

const PATHS: [&str; 8] = [
    "/usr/bin/curl",
    "/usr/bin/ssh",
    "/usr/share/code/code",
    "/usr/share/code/bin/helper",
    "/opt/app/run",
    "/init",
    "/sbin/init",
    "/usr/bin/python3.11",
];
const PATH_PATTERNS: [&str; 14] = [
    "/usr/bin/curl",
    "/usr/bin/*",
    "/usr/**",
    "/usr/share/code/*",
    "/usr/share/code/**",
    "**/curl",
    "/*",
    "/{opt/app,sbin}/*",
    "/**/bin/*",
    "/usr/bin/python3.[0-9]*",
    "/usr/bin/???",
    "/init",
    "{/init,**/run}",
    "/**",
];
const CONTAINERS: [&str; 2] = [
    "0123456789abcdef0123456789abcdef",
    "0123456789ababab0000000000000000",
];
const CONTAINER_PREFIXES: [&str; 4] = [
    "0123456789ab",
    "0123456789abcd",
    "0123456789abab",
    "ffffffffffff",
];
const PACKAGES: [&str; 3] = ["deb:curl", "deb:libcurl4", "nix:curl"];
const PACKAGE_PATTERNS: [&str; 4] = ["deb:curl", "deb:*", "nix:*", "deb:{curl,wget}"];
const UNITS: [&str; 3] = ["ssh.service", "ssh@1.service", "cron.service"];
const UNIT_PATTERNS: [&str; 4] = [
    "ssh.service",
    "ssh@*.service",
    "*.service",
    "nobody.service",
];
const ADDRESSES: [&str; 15] = [
    "0.0.0.0",
    "10.0.0.1",
    "10.0.1.9",
    "10.255.255.255",
    "192.168.1.1",
    "127.0.0.1",
    "8.8.8.8",
    "8.8.4.4",
    "224.0.0.1",
    "169.254.169.254",
    "::ffff:10.0.0.1",
    "2001:db8::1",
    "2001:db8:1::1",
    "fe80::1",
    "::1",
];
const NAMES: [&str; 8] = [
    "example.com",
    "www.example.com",
    "ads1.example.com",
    "a.ads.www.example.com",
    "xexample.com",
    "example.org",
    "com",
    "printer",
];
const DESTINATIONS: [&str; 41] = [
    "*",
    "loopback",
    "link-local",
    "lan",
    "multicast",
    "internet",
    "10.0.0.1",
    "10.0.0.0/8",
    "10.0.0.0/16",
    "10.0.0.0/31",
    "8.8.8.8",
    "8.8.0.0/16",
    "0.0.0.0/0",
    "::/0",
    "2001:db8::/32",
    "2001:db8::1",
    "10.0.0.0-10.0.1.8",
    "8.8.4.3-224.0.0.1",
    "2001:db8::-2001:db8:1::",
    "::ffff:10.0.0.0/104",
    "example.com",
    ".example.com",
    "*.example.com",
    "www.example.com",
    ".com",
    "*.com",
    "printer.",
    "ads*.example.com",
    "ads?.*.com",
    "*ads*",
    "{www,ads1}.example.{com,org}",
    "w*.example.com",
    "/^ads[0-9]/",
    "/example/",
    "country:DE",
    "country:FR",
    "continent:EU",
    "as:64500",
    "as:64501",
    "list:trackers",
    "list:ads",
];
/// What `from` may name.
const NEAR_ENDS: [&str; 14] = [
    "*",
    "loopback",
    "lan",
    "internet",
    "10.0.0.1",
    "10.0.0.0/8",
    "10.0.0.0/31",
    "0.0.0.0/0",
    "::/0",
    "2001:db8::/32",
    "10.0.0.0-10.0.1.8",
    "::ffff:10.0.0.0/104",
    "set:near",
    "set:s0",
];
const PORTS: [&str; 13] = [
    "tcp/443",
    "udp/443",
    "443",
    "tcp/*",
    "udp/*",
    "*",
    "icmp",
    "ip/47",
    "tcp/0-1023",
    "udp/8000-9000",
    "53",
    "tcp/8080-8081",
    "440-450",
];

/// Packages and signals, known and not.
fn identity() -> impl Strategy<Value = Identity> {
    let fact = |values: &'static [&'static str]| {
        prop_oneof![
            Just(Fact::Unknown),
            Just(Fact::Absent),
            select(values).prop_map(|value| Fact::Is(Box::from(value))),
        ]
    };
    (fact(&PACKAGES), fact(&["true", "false"])).prop_map(|(package, traced)| {
        [(Level::Package, package), (Level::Traced, traced)]
            .into_iter()
            .collect()
    })
}

prop_compose! {
    fn app()(
        path in select(&PATHS[..]),
        uid in 1000_u32..1003,
        user in select(vec![None, Some("alice"), Some("bob")]),
        parents in proptest::collection::vec(select(&PATHS[..]), 0..3),
        unit in proptest::option::of(select(&UNITS[..])),
        container in proptest::option::of(select(&CONTAINERS[..])),
        identity in identity(),
    ) -> App {
        App {
            pid: 7,
            user: user.map(str::to_owned),
            parents: parents.into_iter().map(PathBuf::from).collect(),
            unit: unit.map(str::to_owned),
            container: container.map(str::to_owned),
            identity,
            ..App::new(path, uid)
        }
    }
}

fn quoted(values: &'static [&'static str], most: usize) -> impl Strategy<Value = String> {
    proptest::collection::vec(select(values), 1..=most)
        .prop_map(|values| format!("[\"{}\"]", values.join("\", \"")))
}

/// A list of values, or a table of those that are meant and those that are not.
fn selection(
    key: &'static str,
    value: impl Strategy<Value = String> + Clone + 'static,
) -> impl Strategy<Value = String> {
    let list = || {
        proptest::collection::vec(value.clone(), 1..=3)
            .prop_map(|values| format!("[\"{}\"]", values.join("\", \"")))
    };
    prop_oneof![
        3 => Just(String::new()),
        5 => list().prop_map(move |list| format!("{key} = {list}\n")),
        2 => list().prop_map(move |list| format!("{key} = {{ not = {list} }}\n")),
        1 => (list(), list())
            .prop_map(move |(within, not)| format!("{key} = {{ in = {within}, not = {not} }}\n")),
    ]
}

/// Lists that do something by themselves, for everyone or for some.
fn lists() -> impl Strategy<Value = String> {
    let list = |name: &'static str| {
        let action = select(vec!["", "action = \"block\"\n", "action = \"drop\"\n"]);
        (app_condition(), action).prop_map(move |(app, action)| {
            format!("[[list]]\nname = \"{name}\"\nsource = \"/l\"\n{app}{action}")
        })
    };
    let mine = app_condition().prop_map(|app| {
        format!("[[list]]\nname = \"mine\"\nsource = \"/l\"\n{app}action = \"allow\"\n")
    });
    (list("ads"), list("trackers"), proptest::option::of(mine))
        .prop_map(|(ads, trackers, mine)| [ads, trackers, mine.unwrap_or_default()].concat())
}

const SETS: usize = 4;

/// Sets that hold any destinations, and sets before them.
fn sets() -> impl Strategy<Value = String> {
    let set = |number: usize| {
        let members = proptest::collection::vec(select(&DESTINATIONS[..]), 1..4);
        (members, proptest::option::of(0..SETS)).prop_map(move |(members, inner)| {
            let mut members: Vec<String> = members.into_iter().map(str::to_owned).collect();
            members.extend(
                inner
                    .filter(|inner| *inner < number)
                    .map(|inner| format!("set:s{inner}")),
            );
            let members = members.join("\", \"");
            format!("[[set]]\nname = \"s{number}\"\nto = [\"{members}\"]\n")
        })
    };
    (0..SETS).map(set).collect::<Vec<_>>().prop_map(|sets| {
        let near = "[[set]]\nname = \"near\"\nto = [\"lan\", \"8.8.0.0/16\", \"2001:db8::1\"]\n";
        [&sets.concat(), near].concat()
    })
}

fn app_condition() -> impl Strategy<Value = String> {
    let field = |key: &'static str, values: &'static [&'static str]| {
        proptest::option::weighted(0.3, quoted(values, 2))
            .prop_map(move |list| list.map(|list| format!("{key} = {list}")))
    };
    let table = (
        field("path", &PATH_PATTERNS),
        field("name", &["curl", "python*", "init", "c?rl"]),
        proptest::option::weighted(0.3, 1000_u32..1004)
            .prop_map(|uid| uid.map(|uid| format!("uid = {uid}"))),
        field("user", &["alice", "carol"]),
        field("unit", &UNIT_PATTERNS),
        field("package", &PACKAGE_PATTERNS),
        proptest::option::weighted(0.1, any::<bool>())
            .prop_map(|traced| traced.map(|traced| format!("traced = {traced}"))),
        field("container", &CONTAINER_PREFIXES),
        field("parent", &PATH_PATTERNS),
        prop_oneof![
            6 => Just(None),
            1 => quoted(&PATH_PATTERNS, 2).prop_map(|list| Some(format!("not = {list}"))),
            1 => quoted(&UNIT_PATTERNS, 1)
                .prop_map(|list| Some(format!("not = {{ unit = {list}, uid = 1001 }}"))),
            1 => quoted(&PACKAGE_PATTERNS, 1)
                .prop_map(|list| Some(format!("not = {{ package = {list}, uid = 1001 }}"))),
        ],
    )
        .prop_map(|(a, b, c, d, e, f, g, h, i, j)| {
            [a, b, c, d, e, f, g, h, i, j]
                .into_iter()
                .flatten()
                .collect::<Vec<_>>()
        })
        .prop_filter_map("an empty table names no app", |fields| {
            (!fields.is_empty()).then(|| format!("app = {{ {} }}\n", fields.join(", ")))
        });
    prop_oneof![
        3 => Just(String::new()),
        3 => quoted(&PATH_PATTERNS, 2).prop_map(|list| format!("app = {list}\n")),
        4 => table,
    ]
}

fn rule() -> impl Strategy<Value = String> {
    let owned = |values: &'static [&'static str]| select(values).prop_map(str::to_owned);
    let destination = prop_oneof![
        9 => owned(&DESTINATIONS),
        1 => (0..SETS).prop_map(|set| format!("set:s{set}")),
    ];
    (
        app_condition(),
        prop_oneof![
            2 => Just(String::new()),
            1 => selection("from", owned(&NEAR_ENDS)),
        ],
        selection("to", destination.boxed()),
        selection("port", owned(&PORTS)),
        select(vec!["out", "out", "out", "in"]),
        select(vec!["allow", "ask", "block", "drop"]),
        contexts::when(),
    )
        .prop_map(|(app, from, to, port, direction, action, when)| {
            format!("[[rule]]\n{app}{from}{to}{port}{when}direction = \"{direction}\"\naction = \"{action}\"\n")
        })
}

fn fact<T: Copy + std::fmt::Debug + 'static>(values: Vec<T>) -> impl Strategy<Value = Fact<T>> {
    prop_oneof![
        1 => Just(Fact::Unknown),
        1 => Just(Fact::Absent),
        4 => select(values).prop_map(Fact::Is),
    ]
}

fn flow() -> impl Strategy<Value = KnownFlow> {
    let address = || select(&ADDRESSES[..]).prop_map(|text| text.parse::<IpAddr>().unwrap());
    let port = || select(vec![0_u16, 53, 80, 443, 445, 8080, 8500, 40000]);
    let protocol = select(vec![
        Protocol::Tcp,
        Protocol::Tcp,
        Protocol::Udp,
        Protocol::Icmp,
        Protocol::Other(47),
        Protocol::Other(255),
    ]);
    let direction = select(vec![Direction::Out, Direction::Out, Direction::In]);
    let name = select(&NAMES[..]).prop_map(|name| FlowName {
        name: Name::parse(name).unwrap(),
        source: NameSource::Dns,
    });
    let names = proptest::option::weighted(0.7, proptest::collection::vec(name, 0..3));
    let country = fact(
        ["DE", "FR", "US"]
            .map(|code| Country::parse(code).unwrap())
            .to_vec(),
    );
    let continent = fact(
        ["EU", "NA"]
            .map(|code| Continent::parse(code).unwrap())
            .to_vec(),
    );
    let lists = ["ads", "trackers", "mine"].map(str::to_owned).to_vec();
    let lists = proptest::sample::subsequence(lists, 0..=3);
    (
        (
            direction,
            protocol,
            (address(), port()),
            (address(), port()),
        ),
        proptest::collection::vec(app(), 0..3),
        names,
        (country, continent, fact(vec![64500, 64501, 64502])),
        proptest::option::weighted(0.8, lists),
        contexts::context(),
    )
        .prop_map(
            |(
                (direction, protocol, local, remote),
                apps,
                names,
                (country, continent, system),
                lists,
                context,
            )| KnownFlow {
                direction,
                protocol,
                local: local.into(),
                remote: remote.into(),
                apps,
                names,
                country,
                continent,
                system,
                lists,
                context,
            },
        )
}

/// The verdict about a datagram from port 20,000, of which nobody knows who spoke first, and the deciding rule.
fn either_way(text: &str, apps: &[App]) -> (Verdict, DecidedBy) {
    let facts = FlowFacts {
        direction: Direction::In,
        protocol: Protocol::Udp,
        local: "10.0.0.1:20000".parse().unwrap(),
        remote: "8.8.8.8:53".parse().unwrap(),
        apps,
        peer: Peer::default(),
        context: Context::unknown(),
    };
    let decision = policy(text).decide_either_way(&facts);
    (decision.verdict, decision.by)
}

fn program(path: &str) -> App {
    App {
        name: "program".to_owned(),
        pid: 7,
        ..App::new(path, 1000)
    }
}

#[test]
fn the_first_rule_of_either_direction_decides_where_nobody_knows_who_spoke_first() {
    const BLOCKED: &str = "[[rule]]\napp = \"/opt/app/run\"\naction = \"block\"\n";
    const SERVES: &str = "[[rule]]\nport = \"udp/20000\"\ndirection = \"in\"\naction = \"allow\"\n";
    let apps = [program("/opt/app/run")];
    let first = DecidedBy::Rule(0);
    assert_eq!(either_way(BLOCKED, &apps), (Verdict::Block, first));
    let both = [BLOCKED, SERVES].concat();
    assert_eq!(either_way(&both, &apps), (Verdict::Block, first));
    let both = [SERVES, BLOCKED].concat();
    assert_eq!(either_way(&both, &apps), (Verdict::Allow, first));
    assert_eq!(
        either_way(BLOCKED, &[program("/init"), program("/opt/app/run")]),
        (Verdict::Block, first),
        "of several owners the strictest verdict holds"
    );
}

#[test]
fn the_default_of_what_goes_out_holds_where_nobody_knows_who_spoke_first() {
    let by = DecidedBy::Default;
    assert_eq!(either_way("", &[]), (Verdict::Allow, by));
    let closed = "[policy]\ndefault = \"block\"\n";
    assert_eq!(either_way(closed, &[]), (Verdict::Block, by));
    assert_eq!(
        either_way(closed, &[program("/init")]),
        (Verdict::Block, by)
    );
}

fn agrees_with_a_scan(policy: &Policy, facts: &FlowFacts<'_>) -> Result<(), TestCaseError> {
    let decision = policy.decide(facts);
    prop_assert_eq!(decision, naive(policy, facts, &[facts.direction]));
    let both = [Direction::Out, Direction::In];
    prop_assert_eq!(policy.decide_either_way(facts), naive(policy, facts, &both));
    let lost = FlowFacts {
        apps: &[],
        ..*facts
    };
    let one_way = naive_for_lost(policy, &lost, &[facts.direction]);
    prop_assert_eq!(policy.decide_for_lost(&lost), one_way);
    let either_way = naive_for_lost(policy, &lost, &both);
    prop_assert_eq!(policy.decide_for_lost_either_way(&lost), either_way);
    let explanation = policy.explain(facts);
    prop_assert_eq!(explanation.verdict, decision.verdict);
    let number = match decision.by {
        DecidedBy::Rule(index) => Some(index + 1),
        DecidedBy::Protection(_) | DecidedBy::Default => None,
    };
    prop_assert_eq!(explanation.rule.map(|rule| rule.number), number);
    let waits_for = decision.waits_for.map(|index| index + 1);
    prop_assert_eq!(explanation.waits_for.map(|rule| rule.number), waits_for);
    let last = explanation.tried.last();
    prop_assert_eq!(
        last.is_some_and(|tried| tried.missed.is_none()),
        number.is_some()
    );
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn compiled_rules_decide_and_explain_as_a_scan_in_order_does(
        sets in (sets(), contexts::profiles()).prop_map(|(sets, profiles)| sets + &profiles),
        lists in lists(),
        rules in proptest::collection::vec(rule(), 0..60),
        default in select(vec!["allow", "ask", "block", "drop"]),
        flows in proptest::collection::vec(flow(), 1..20),
    ) {
        let policy =
            policy(&format!("[policy]\ndefault = \"{default}\"\n{sets}{lists}{}", rules.concat()));
        for flow in &flows {
            flow.ask(&policy, |facts| agrees_with_a_scan(&policy, facts))?;
        }
    }
}

#[test]
fn what_nobody_is_known_to_have_sent_has_a_default_of_its_own() {
    let text = "[policy]\ndefault = \"allow\"\nunattributed = \"drop\"\n\
                [[rule]]\nto = \"203.0.113.7\"\naction = \"block\"\n";
    let document = Document::parse("tidegate.toml", text).unwrap();
    let mut source = PolicySource::default();
    source.read_main(&document);
    assert_eq!(document.finish(), []);
    let policy = Policy::compile(source);
    let mut facts = FlowFacts {
        direction: Direction::Out,
        protocol: Protocol::Udp,
        local: "192.0.2.1:40000".parse().unwrap(),
        remote: "203.0.113.9:53".parse().unwrap(),
        apps: &[],
        peer: Peer::default(),
        context: Context::unknown(),
    };
    assert_eq!(policy.decide(&facts).verdict, Verdict::Drop);
    assert_eq!(policy.explain(&facts).verdict, Verdict::Drop);
    facts.direction = Direction::In;
    assert_eq!(policy.decide(&facts).verdict, Verdict::Allow);
    facts.direction = Direction::Out;
    facts.remote = "203.0.113.7:53".parse().unwrap();
    assert_eq!(
        policy.decide(&facts).verdict,
        Verdict::Block,
        "a rule comes first"
    );
}

#[test]
fn what_has_lost_its_program_passes_only_what_no_rule_about_programs_could_have_refused() {
    const RED: &str = "[[rule]]\napp = \"/usr/bin/red\"\naction = \"block\"\n";
    const GREEN: &str = "[[rule]]\napp = \"/usr/bin/green\"\naction = \"allow\"\n";
    const DNS: &str = "[[rule]]\nport = \"udp/53\"\naction = \"allow\"\n";
    const SSHD: &str = "[[rule]]\ndirection = \"in\"\napp = \"/usr/sbin/sshd\"\nport = \"tcp/22\"\naction = \"block\"\n";
    const TCP: &str = "[[rule]]\napp = \"/usr/bin/red\"\nport = \"tcp/*\"\naction = \"block\"\n";
    const ELSEWHERE: &str =
        "[[rule]]\napp = \"/usr/bin/red\"\nto = \"198.51.100.0/24\"\naction = \"block\"\n";
    const SILENT: &str = "[[rule]]\napp = \"/usr/bin/red\"\nport = \"udp/*\"\naction = \"drop\"\n";
    let facts = FlowFacts {
        direction: Direction::Out,
        protocol: Protocol::Udp,
        local: "192.0.2.1:40000".parse().unwrap(),
        remote: "203.0.113.9:53".parse().unwrap(),
        apps: &[],
        peer: Peer::default(),
        context: Context::unknown(),
    };
    let by_rule = |index, verdict| (verdict, DecidedBy::Rule(index));
    let by_default = |verdict| (verdict, DecidedBy::Default);
    for (rules, expected) in [
        ("", by_default(Verdict::Allow)),
        (GREEN, by_default(Verdict::Allow)),
        (RED, by_rule(0, Verdict::Block)),
        (&format!("{DNS}{RED}"), by_rule(0, Verdict::Allow)),
        (&format!("{RED}{DNS}"), by_rule(0, Verdict::Block)),
        (SSHD, by_default(Verdict::Allow)),
        (TCP, by_default(Verdict::Allow)),
        (ELSEWHERE, by_default(Verdict::Allow)),
        (
            &format!("{SSHD}{TCP}{ELSEWHERE}{SILENT}{RED}{DNS}"),
            by_rule(3, Verdict::Drop),
        ),
        ("[policy]\ndefault = \"drop\"\n", by_default(Verdict::Drop)),
        (
            &format!("[policy]\nunattributed = \"allow\"\n{RED}"),
            by_default(Verdict::Allow),
        ),
    ] {
        let decision = policy(rules).decide_for_lost(&facts);
        assert_eq!((decision.verdict, decision.by), expected, "{rules}");
    }
    let answer = FlowFacts {
        direction: Direction::In,
        ..facts
    };
    let either_way = policy(RED).decide_for_lost_either_way(&answer);
    assert_eq!(either_way.by, DecidedBy::Rule(0), "the program's own?");
    assert_eq!(policy(RED).decide_for_lost(&answer).verdict, Verdict::Allow);
}
