//! What a decision costs with 10 and with 100,000 rules of mixed shapes: `cargo bench -p tidegate-policy`.
//!
//! Prints percentiles over many flows, some of which a rule decides and some the default; and what reading and
//! compiling the rules takes.
#![expect(
    clippy::print_stdout,
    reason = "a benchmark reports on standard output"
)]

use std::fmt::Write as _;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use tidegate_policy::{
    App, Clock, Context, Country, Direction, Document, Fact, FlowFacts, FlowName, Name, NameSource,
    Names, Peer, Policy, PolicySource, Protocol, WallTime,
};

fn main() {
    for count in [10, 1_000, 100_000] {
        let text = rules(count);
        println!("{count} rules of mixed shapes");
        let policy = compile(&text);
        report("known apps and destinations", &policy, &flows(count, 0));
        report("unknown destinations", &policy, &flows(count, 1));
        report("nothing that a rule names", &policy, &flows(count, 2));
    }
    println!("100000 rules on names and sets, 500 sets");
    let policy = compile(&named_rules());
    for (label, names) in [
        ("a name in rules", Some("www.site")),
        ("another name", Some("www.page")),
        ("a name awaited", None),
    ] {
        report(label, &policy, &named_flows(names));
    }
    println!("100000 rules of one shape");
    for (label, condition) in SHAPES {
        let text: String = (0..100_000_u32)
            .map(|n| format!("[[rule]]\n{}\naction = \"block\"\n", condition(n)))
            .collect();
        report(label, &compile(&text), &flows(100_000, 0));
    }
}

/// A name, and the conditions of the rule of this number.
type Shape = (&'static str, fn(u32) -> String);

/// Shapes in which most rules share a condition with the flow.
const SHAPES: [Shape; 7] = [
    ("one app, many destinations", |n| {
        format!("app = \"/opt/*/bin/run\"\nto = \"{}\"", v4(n))
    }),
    ("many apps, one destination", |n| {
        format!("app = \"/opt/app{n}/bin/run\"\nto = \"internet\"\nport = \"1\"")
    }),
    ("one app, many ports", |n| {
        format!("app = {{ user = \"alice\" }}\nport = \"{}\"", n % 65_536)
    }),
    ("one app, many port ranges", |n| {
        let first = n % 60_000;
        format!(
            "app = {{ user = \"alice\" }}\nport = \"tcp/{first}-{}\"",
            first + n % 5_000
        )
    }),
    ("10,000 apps x 10 networks", |n| {
        format!(
            "app = \"/opt/app{}/**\"\nto = \"{}.0.0.0/8\"\nport = \"1\"",
            n % 10_000,
            11 + n / 10_000
        )
    }),
    ("10 rules an app, by the hour", |n| {
        let (hour, minute) = (n % 10, n % 60);
        format!(
            "app = \"/opt/app{}/bin/run\"\nwhen = {{ time = \"0{hour}:{minute:02}-23:{minute:02}\" }}",
            n / 10
        )
    }),
    ("any folder, many names", |n| format!("app = \"**/run{n}\"")),
];

fn compile(text: &str) -> Policy {
    let started = Instant::now();
    let document = Document::parse("bench.toml", text).expect("the rules are valid TOML");
    let mut source = PolicySource::default();
    source.read_main(&document);
    assert_eq!(document.finish(), [], "the rules are valid");
    let read = started.elapsed();
    let started = Instant::now();
    let policy = Policy::compile(source);
    println!(
        "  read in {read:.1?}, compiled in {:.1?}",
        started.elapsed()
    );
    policy
}

/// A stream of numbers that look random and are the same every time (SplitMix64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let high = u32::try_from(mixed >> 32).unwrap_or(0);
        high % limit
    }
}

fn rules(count: u32) -> String {
    let mut numbers = Numbers(1);
    let mut text = String::new();
    for _ in 0..count {
        let app = numbers.below(count / 10 + 1);
        let net = v4(numbers.below(count)).octets();
        let [a, b, c, d] = net;
        let port = numbers.below(65_535);
        let uid = 1000 + numbers.below(20);
        let conditions = match numbers.below(20) {
            0..=4 => format!("to = \"{a}.{b}.{c}.{d}\""),
            5 | 6 => format!("to = [\"{a}.{b}.{c}.0/24\", \"{a}.{b}.0.0/16\"]"),
            7 => format!("to = \"2001:db8:{app:x}::/48\"\nport = \"443\""),
            8 => format!("to = \"{a}.{b}.{c}.{d}-{a}.{b}.{c}.255\"\nport = \"tcp/{port}\""),
            9..=11 => format!("app = \"/opt/app{app}/bin/run\"\nport = \"tcp/{port}\""),
            12..=14 => format!("app = \"/opt/app{app}/bin/run\"\nto = \"{a}.{b}.0.0/16\""),
            15 => format!("app = \"/opt/app{app}/**\"\nto = \"lan\""),
            16 => format!("app = {{ path = \"/opt/app{app}/bin/*\", uid = {uid} }}\nport = \"25\""),
            17 => format!("app = {{ unit = \"app{app}.service\" }}\nto = \"multicast\""),
            18 => format!("app = {{ container = \"{app:012x}\" }}\nport = \"{port}\""),
            _ => format!(
                "port = \"tcp/{port}-{}\"\nto = \"lan\"",
                (port + 10).min(65_535)
            ),
        };
        writeln!(text, "[[rule]]\n{conditions}\naction = \"block\"").expect("a string takes all");
    }
    text
}

fn v4(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x0b00_0000 + number.wrapping_mul(2_654_435_761) % 0x5000_0000)
}

/// Where it is bound for, whose it is, and the names it goes by; absent: they are awaited.
type Flow = (SocketAddr, [App; 1], Option<Vec<FlowName>>);

const NAMED: u32 = 100_000;

/// Rules on names, with and without an app, and on sets of names and networks.
fn named_rules() -> String {
    let mut numbers = Numbers(3);
    let mut text = String::new();
    for set in 0..500 {
        let names: Vec<String> = (0..100)
            .map(|_| format!("\".site{}.example\"", numbers.below(NAMED)))
            .collect();
        let inner = if set > 0 {
            format!("\"set:s{}\", ", set / 2)
        } else {
            String::new()
        };
        let net = v4(numbers.below(NAMED)).octets();
        let names = names.join(", ");
        writeln!(
            text,
            "[[set]]\nname = \"s{set}\"\nto = [{inner}\"{}.{}.0.0/16\", {names}]",
            net[0], net[1]
        )
        .expect("a string takes all");
    }
    for _ in 0..NAMED {
        let (app, site, set) = (
            numbers.below(NAMED / 10),
            numbers.below(NAMED),
            numbers.below(500),
        );
        let conditions = match numbers.below(20) {
            0..=3 => format!("to = \"www.site{site}.example\""),
            4..=8 => format!("to = \".site{site}.example\""),
            9 => format!("to = \"*.site{site}.example\"\nport = \"443\""),
            10 => format!("to = \"ad*.site{site}.example\""),
            11..=13 => format!(
                "app = \"/opt/app{app}/bin/run\"\nto = [\".site{site}.example\", \"country:FR\"]"
            ),
            14 | 15 => format!("app = \"/opt/app{app}/bin/run\"\nto = \"set:s{set}\""),
            16 => format!(
                "app = \"/opt/app{app}/**\"\nto = {{ not = [\"country:DE\", \".site{site}.example\"] }}\nport = \"25\""
            ),
            17 => format!(
                "to = \"set:s{set}\"\nport = \"tcp/{}\"",
                numbers.below(65_535)
            ),
            _ => format!("to = \"as:{site}\"\nport = {{ not = \"443\" }}"),
        };
        writeln!(text, "[[rule]]\n{conditions}\naction = \"block\"").expect("a string takes all");
    }
    text
}

/// Flows to any addresses, under names that begin so.
fn named_flows(names: Option<&str>) -> Vec<Flow> {
    let mut numbers = Numbers(4);
    (0..20_000)
        .map(|_| {
            let app = numbers.below(NAMED / 10);
            let remote = SocketAddr::new(v4(numbers.below(NAMED)).into(), 443);
            let name = names.map(|start| FlowName {
                name: Name::parse(&format!("{start}{}.example", numbers.below(NAMED)))
                    .expect("a name"),
                source: NameSource::Dns,
            });
            (remote, [program("app", app)], name.map(|name| vec![name]))
        })
        .collect()
}

/// Flows whose app and destination rules name (0), whose destination they do not (1), or neither (2).
fn flows(count: u32, unknown: u32) -> Vec<Flow> {
    let mut numbers = Numbers(2);
    (0..20_000)
        .map(|_| {
            let app = numbers.below(count / 10 + 1);
            let address: IpAddr = match numbers.below(10) {
                _ if unknown > 0 => {
                    Ipv4Addr::from_bits(0x7800_0000 + numbers.below(0x0100_0000)).into()
                }
                0 => Ipv6Addr::from_bits((0x2001_0db8_u128 << 96) + (u128::from(app) << 80)).into(),
                _ => v4(numbers.below(count)).into(),
            };
            let name = if unknown > 1 { "other" } else { "app" };
            let remote = SocketAddr::new(address, if app.is_multiple_of(4) { 25 } else { 443 });
            (remote, [program(name, app)], Some(Vec::new()))
        })
        .collect()
}

fn program(name: &str, number: u32) -> App {
    App {
        pid: number,
        user: Some("alice".to_owned()),
        parents: vec!["/usr/bin/bash".into(), "/usr/lib/systemd/systemd".into()],
        unit: Some(format!("{name}{number}.service")),
        container: number.is_multiple_of(2).then(|| format!("{number:064x}")),
        ..App::new(format!("/opt/{name}{number}/bin/run"), 1000)
    }
}

fn report(label: &str, policy: &Policy, flows: &[Flow]) {
    let mut times: Vec<Duration> = Vec::new();
    let mut by_rule = 0;
    let country = Country::parse("DE").expect("a country");
    let noon = WallTime::parse("2026-11-22T12:00:00Z").expect("a time");
    let context = Context {
        clock: Some(Clock::from(noon)),
        ..Context::default()
    };
    for _ in 0..5 {
        for (remote, apps, names) in flows {
            // Facts are gathered just before a decision: a copy is as warm as they are.
            let (apps, names) = (&apps.clone(), &names.clone());
            let facts = FlowFacts {
                direction: Direction::Out,
                protocol: Protocol::Tcp,
                local: SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 40_000),
                remote: *remote,
                apps,
                peer: Peer {
                    names: names.as_deref().map_or(Names::Awaited, Names::Known),
                    country: Fact::Is(country),
                    system: Fact::Is(remote.port().into()),
                    ..Peer::default()
                },
                context: &context,
            };
            let started = Instant::now();
            let decision = black_box(policy.decide(black_box(&facts)));
            times.push(started.elapsed());
            by_rule += usize::from(matches!(decision.by, tidegate_policy::DecidedBy::Rule(_)));
        }
    }
    times.sort_unstable();
    let at = |per_mille: usize| times[(times.len() - 1) * per_mille / 1000];
    println!(
        "  {label:<30} p50 {:>8.1?}  p90 {:>8.1?}  p99 {:>8.1?}  max {:>8.1?}  decided by a rule: {}%",
        at(500),
        at(900),
        at(990),
        at(1000),
        100 * by_rule / times.len()
    );
}
