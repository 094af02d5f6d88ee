//! Deciding, and asking lists, allocates nothing.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::IpAddr;

use tidegate_policy::list::compiled::{Builder, Compiled, Context, ListInfo};
use tidegate_policy::list::parse::{self, Settings};
use tidegate_policy::{
    App, Clock, Country, DecidedBy, Direction, Document, Fact, FlowFacts, FlowName, ListId, Lists,
    Name, NameSource, Names, Peer, Policy, PolicySource, Protocol, WallTime,
};

/// The system's allocator, counting what this thread asks of it.
struct Counting;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call is handed on as it came to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(work: impl FnOnce()) -> usize {
    let before = COUNT.get();
    work();
    COUNT.get() - before
}

#[test]
fn asking_about_names_and_addresses_allocates_nothing() {
    let mut builder = Builder::new(5);
    let mut text: String = (0..5_000)
        .map(|n| format!("||host{n}.example.com^\n"))
        .collect();
    text.push_str(
        "||ads*.example.net^\n||c*d\n||a.example^$dnstype=A\n||192.0.2.7^\n/^track[0-9]+/\n",
    );
    for name in ["one", "two"] {
        let list = builder.list(ListInfo::new(name)).unwrap();
        parse::parse(text.as_bytes(), &Settings::default(), |entry| {
            builder.add(list, entry)
        });
    }
    let lists = Compiled::open(builder.finish().unwrap()).unwrap();
    let names = [
        "a.b.host77.example.com",
        "ads1.example.net",
        "www.other.example",
        "track7.x.org",
        "a.example",
    ];
    let names = names.map(|name| Name::parse(name).unwrap());
    let listed: IpAddr = [192, 0, 2, 7].into();
    let context = Context::default();
    let mut found = 0;
    let mut ask = || {
        for name in &names {
            found += usize::from(lists.name(name, &context).effect(lists.all()).is_some());
        }
        found += usize::from(
            lists
                .address(listed, &context)
                .effect(lists.all())
                .is_some(),
        );
    };
    // Expressions make their caches when they are first used.
    ask();
    assert_eq!(allocations(&mut ask), 0);
    assert_eq!(found, 2 * 4);
    assert!(
        allocations(|| drop(names[0].clone())) > 0,
        "the count counts"
    );
}

/// Rules of every kind but regular expressions, whose matcher makes itself a cache.
fn policy() -> Policy {
    let mut text = String::from(
        "[[set]]\nname = \"inner\"\nto = [\"*.shop.example\", \"as:64500\", \"*x9x*\"]\n\
         [[set]]\nname = \"outer\"\nto = [\"set:inner\", \"203.0.113.0/24\", \"continent:EU\"]\n",
    );
    for n in 0..5_000 {
        let condition = match n % 7 {
            6 => format!(
                "port = \"{n}\"\nwhen = {{ time = \"00:00-1{}:00\", not = {{ weekday = \"sun\" }} }}",
                n % 10
            ),
            0 => format!("to = \".site{n}.example\""),
            1 => format!("to = \"ad*.site{n}.example\"\nport = \"{n}\""),
            2 => format!("app = \"/opt/app{n}/run\"\nto = \"set:outer\""),
            3 => format!(
                "to = [\"10.{}.0.0/16\", \"list:l{}\"]\nport = \"{n}\"",
                n % 256,
                n % 50
            ),
            4 => "to = { not = [\"country:DE\", \"set:inner\"] }\nport = \"25\"".to_owned(),
            _ => format!("app = {{ name = \"run\", not = {{ uid = {n} }} }}\nport = \"{n}\""),
        };
        text += &format!("[[rule]]\n{condition}\naction = \"block\"\n");
    }
    let document = Document::parse("t.toml", &text).expect("valid TOML");
    let mut source = PolicySource::default();
    source.read_main(&document);
    assert_eq!(document.finish(), []);
    Policy::compile(source)
}

#[test]
fn deciding_allocates_nothing() {
    let policy = policy();
    let names = [
        "www.site6.example",
        "a.shop.example",
        "x9x.example",
        "other.test",
    ]
    .map(|name| {
        [FlowName {
            name: Name::parse(name).unwrap(),
            source: NameSource::Dns,
        }]
    });
    let apps = ["/opt/app2/run", "/usr/bin/curl"].map(|path| App {
        name: "run".to_owned(),
        pid: 1,
        parents: vec!["/bin/sh".into()],
        ..App::new(path, 1000)
    });
    let names = names.iter().map(|name| Names::Known(name));
    let noon = WallTime::parse("2026-11-22T12:00:00Z").unwrap();
    let here = tidegate_policy::Context {
        clock: Some(Clock::from(noon)),
        ..Default::default()
    };
    let (mut by_rule, mut waiting) = (0, 0);
    for names in names.chain([Names::Awaited, Names::Known(&[])]) {
        for (port, apps) in [(25, &apps[..1]), (443, &apps[..]), (99, &[])] {
            let facts = FlowFacts {
                direction: Direction::Out,
                protocol: Protocol::Tcp,
                local: "10.0.0.1:40000".parse().unwrap(),
                remote: (IpAddr::from([10, 3, 0, 1]), port).into(),
                apps,
                peer: Peer {
                    names,
                    country: Fact::Is(Country::parse("FR").unwrap()),
                    system: Fact::Is(64_501),
                    lists: Lists::On(&[ListId(3)]),
                    ..Peer::default()
                },
                context: &here,
            };
            let count = allocations(|| {
                let decision = policy.decide(&facts);
                by_rule += usize::from(decision.by != DecidedBy::Default);
                waiting += usize::from(decision.waits_for.is_some());
                policy.decide_either_way(&facts);
                policy.decide_for_lost(&facts);
            });
            assert_eq!(count, 0, "{facts:?}");
        }
    }
    assert!(by_rule > 2 && waiting > 1, "{by_rule} {waiting}");
}
