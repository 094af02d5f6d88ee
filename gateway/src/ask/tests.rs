use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tidegate_netstack::{FlowId, FlowKey, LocalAddr, RemoteAddr, Stack, StackConfig};
use tidegate_policy::{
    App, Context, DecidedBy, Direction, Document, FlowFacts, FlowName, Name, NameSource, Names,
    Peer, Policy, PolicySource, Protocol, Verdict,
};

use super::memory::Remembered;
use super::rules_file::rule;
use super::*;
use crate::audit::Author;
use crate::record::{FlowLogLimits, Timestamp};
use crate::shared::{CaptureKind, CaptureStatus, Shared};
use crate::test_folder::TestFolder;

const AUTHOR: Author = Author::Client {
    uid: 1000,
    pid: None,
};

/// A board with one worker, and all that it was told.
struct Bench {
    board: Board,
    worker: WorkerId,
    told: Arc<Mutex<Vec<Told>>>,
    stack: Stack,
    flows: u16,
}

impl Bench {
    fn new() -> Self {
        let board = Board::default();
        let told: Arc<Mutex<Vec<Told>>> = Arc::default();
        let heard = Arc::clone(&told);
        let worker = board.add_worker(move |one| heard.lock().unwrap().push(one));
        let stack = Stack::new(StackConfig::default(), Instant::now());
        Self {
            board,
            worker,
            told,
            stack,
            flows: 0,
        }
    }

    fn flow(&mut self) -> FlowId {
        self.flows += 1;
        let local = SocketAddr::from(([192, 0, 2, 1], self.flows));
        let key = FlowKey {
            protocol: tidegate_netstack::Protocol::Udp,
            local: LocalAddr(local),
            remote: RemoteAddr(SocketAddr::from(([203, 0, 113, 1], 53))),
        };
        self.stack.pass(Instant::now(), key).unwrap()
    }

    fn waiter(&mut self) -> Waiter {
        Waiter {
            worker: self.worker,
            flow: self.flow(),
            process: None,
            until: Instant::now() + Duration::from_secs(30),
        }
    }

    /// One more flow of this topic.
    fn join(&mut self, topic: &Topic) -> (FlowId, Joined) {
        let waiter = self.waiter();
        let joined = self.board.join(topic, waiter, About::default);
        (waiter.flow, joined)
    }

    fn told(&self) -> Vec<(FlowId, Option<Verdict>)> {
        let mut told = self.told.lock().unwrap();
        told.drain(..).map(|one| (one.flow, one.once)).collect()
    }
}

fn app(path: &str, uid: u32) -> App {
    App {
        pid: 1,
        ..App::new(path, uid)
    }
}

fn facts<'a>(
    apps: &'a [App],
    names: &'a [FlowName],
    direction: Direction,
    to: &str,
    (protocol, port): (Protocol, u16),
) -> FlowFacts<'a> {
    let (own, other) = match direction {
        Direction::Out => (0, port),
        Direction::In => (port, 0),
    };
    let other_end: IpAddr = to.parse().unwrap();
    FlowFacts {
        direction,
        protocol,
        local: SocketAddr::new([192, 0, 2, 7].into(), own),
        remote: SocketAddr::new(other_end, other),
        apps,
        peer: Peer {
            names: Names::Known(names),
            ..Peer::default()
        },
        context: Context::unknown(),
    }
}

fn topic(program: &str, to: &str) -> Topic {
    let apps = [app(program, 1000)];
    let service = (Protocol::Tcp, 443);
    let facts = facts(&apps, &[], Direction::Out, to, service);
    Topic::of(&facts, apps.first(), None)
}

fn answer(verdict: Verdict, reach: Reach, lifetime: Lifetime) -> Answer {
    Answer {
        verdict,
        reach,
        lifetime,
    }
}

fn id(joined: Joined) -> QuestionId {
    match joined {
        Joined::Waits(id) => id,
        other @ (Joined::Answered(_) | Joined::Full(_)) => panic!("{other:?}"),
    }
}

#[test]
fn flows_of_one_topic_wait_on_one_question_and_each_hears_its_answer() {
    let mut bench = Bench::new();
    let (one, other) = (
        topic("/bin/a", "203.0.113.1"),
        topic("/bin/a", "203.0.113.2"),
    );
    let (first, asked) = bench.join(&one);
    let (second, again) = bench.join(&one);
    let (third, elsewhere) = bench.join(&other);
    assert_eq!(asked, again);
    assert_ne!(asked, elsewhere);
    let allow = answer(Verdict::Allow, Reach::Exact, Lifetime::Once);
    bench.board.answer(id(asked), &allow).unwrap();
    let allowed = Some(Verdict::Allow);
    assert_eq!(bench.told(), [(first, allowed), (second, allowed)]);
    assert_eq!(
        bench.board.answer(id(asked), &allow).err(),
        Some(AnswerError::Gone(id(asked).0))
    );
    let left: Vec<_> = bench.board.questions().iter().map(|open| open.id).collect();
    assert_eq!(left, [id(elsewhere)]);
    bench.board.leave(id(elsewhere), bench.worker, third);
    assert!(bench.board.questions().is_empty());
    // `once` is for those that waited.
    assert!(matches!(bench.join(&one).1, Joined::Waits(_)));
}

#[test]
fn an_answer_that_reaches_further_answers_other_questions_of_the_program_too() {
    let mut bench = Bench::new();
    let (one, other) = (
        topic("/bin/a", "203.0.113.1"),
        topic("/bin/a", "203.0.113.2"),
    );
    let (first, asked) = bench.join(&one);
    let (second, _) = bench.join(&other);
    bench.join(&topic("/bin/b", "203.0.113.1"));
    let block = answer(Verdict::Block, Reach::Anywhere, Lifetime::Forever);
    bench.board.answer(id(asked), &block).unwrap();
    assert_eq!(bench.told(), [(first, None), (second, None)]);
    assert_eq!(bench.join(&one).1, Joined::Answered(Verdict::Block));
    assert_eq!(bench.board.questions().len(), 1);
}

#[test]
fn a_program_that_asks_for_many_places_becomes_one_question() {
    let mut bench = Bench::new();
    for place in 0..100 {
        bench.join(&topic("/bin/scan", &format!("203.0.113.{place}")));
    }
    let open = bench.board.questions();
    assert_eq!(open.len(), 17);
    let many = open.iter().find(|question| question.to.is_none()).unwrap();
    assert_eq!(many.flows, 84);
    let exact = answer(Verdict::Allow, Reach::Exact, Lifetime::Forever);
    assert_eq!(
        bench.board.answer(many.id, &exact).err(),
        Some(AnswerError::ManyPlaces)
    );
    let all = answer(Verdict::Block, Reach::Anywhere, Lifetime::Process);
    assert_eq!(
        bench.board.answer(many.id, &all).err(),
        Some(AnswerError::NoProcess),
        "none that could be told again"
    );
    let all = answer(Verdict::Block, Reach::Anywhere, Lifetime::Forever);
    assert_eq!(bench.board.answer(many.id, &all).unwrap().flows, 100);
    // Another program is asked about as ever.
    assert!(matches!(
        bench.join(&topic("/bin/b", "203.0.113.1")).1,
        Joined::Waits(_)
    ));
}

#[test]
fn floods_find_an_end() {
    let mut bench = Bench::new();
    let one = topic("/bin/flood", "203.0.113.1");
    let waits = (0..1_000).filter(|_| matches!(bench.join(&one).1, Joined::Waits(_)));
    assert_eq!(waits.count(), 512);
    let mut full = 0;
    for number in 0..5_000 {
        let topic = topic(
            &format!("/bin/{}{number}", "x".repeat(3_000)),
            "203.0.113.1",
        );
        full += usize::from(matches!(bench.join(&topic).1, Joined::Full(_)));
    }
    assert!(full > 4_000, "{full}");
    let bytes: usize = bench
        .board
        .questions()
        .iter()
        .map(|question| question.app.as_ref().unwrap().as_os_str().len())
        .sum();
    assert!(bytes < 4 << 20, "{bytes}");
    // What waits no more makes room.
    let open = bench.board.questions();
    let block = answer(Verdict::Block, Reach::Exact, Lifetime::Once);
    for question in open {
        bench.board.answer(question.id, &block).unwrap();
    }
    assert!(matches!(bench.join(&one).1, Joined::Waits(_)));
}

#[test]
fn answers_are_bounded_and_the_oldest_is_asked_for_again() {
    let mut bench = Bench::new();
    let allow = answer(Verdict::Allow, Reach::Exact, Lifetime::Forever);
    for number in 0..6_000 {
        let topic = topic(
            &format!("/bin/{}", number % 20),
            &format!("203.0.{}.{}", number / 200, number % 200),
        );
        let question = id(bench.join(&topic).1);
        bench.board.answer(question, &allow).unwrap();
    }
    assert!(bench.board.remembered_count() <= 4_096);
    assert!(matches!(
        bench.join(&topic("/bin/0", "203.0.0.0")).1,
        Joined::Waits(_)
    ));
}

#[test]
fn an_answer_for_a_process_is_for_no_other_and_one_for_a_time_ends() {
    let mut bench = Bench::new();
    let topic = topic("/bin/a", "203.0.113.1");
    let process = |born| Some(ProcessKey { pid: 7, born });
    let waiter = Waiter {
        process: process(1),
        ..bench.waiter()
    };
    let asked = bench.board.join(&topic, waiter, About::default);
    let allow = answer(Verdict::Allow, Reach::Anywhere, Lifetime::Process);
    bench.board.answer(id(asked), &allow).unwrap();
    let of = |born| bench.board.remembered(&topic, || process(born));
    assert_eq!((of(1), of(2)), (Some(Verdict::Allow), None));
    assert_eq!(bench.board.remembered(&topic, || None), None);

    let asked = bench.join(&topic).1;
    let moment = Lifetime::Until(Timestamp::now().later_by(Duration::from_millis(300)));
    let block = answer(Verdict::Block, Reach::Exact, moment);
    bench.board.answer(id(asked), &block).unwrap();
    assert_eq!(bench.join(&topic).1, Joined::Answered(Verdict::Block));
    let ended = Mutex::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            bench.board.watch_ends(|| {
                *ended.lock().unwrap() += 1;
                bench.board.close();
            });
        });
    });
    assert_eq!(*ended.lock().unwrap(), 1);
    assert!(matches!(bench.join(&topic).1, Joined::Waits(_)));
}

#[test]
fn what_cannot_be_told_again_is_answered_once_only() {
    let mut bench = Bench::new();
    let service = (Protocol::Icmp, 0);
    let unknown = facts(&[], &[], Direction::Out, "203.0.113.1", service);
    let forwarded = Topic::of(&unknown, None, Some([172, 17, 0, 2].into()));
    let forever = answer(Verdict::Allow, Reach::Exact, Lifetime::Forever);
    for topic in [Topic::of(&unknown, None, None), forwarded] {
        let asked = id(bench.join(&topic).1);
        let refused = bench.board.answer(asked, &forever).err();
        assert_eq!(refused, Some(AnswerError::NoProgram));
        let once = answer(Verdict::Allow, Reach::Exact, Lifetime::Once);
        assert!(bench.board.answer(asked, &once).is_ok());
    }
    let asked = id(bench.join(&topic("/bin/a", "203.0.113.1")).1);
    for verdict in [Verdict::Ask, Verdict::Drop] {
        let wrong = answer(verdict, Reach::Exact, Lifetime::Once);
        assert_eq!(
            bench.board.answer(asked, &wrong).err(),
            Some(AnswerError::Verdict(verdict))
        );
    }
    let domain = answer(Verdict::Allow, Reach::Domain(None), Lifetime::Forever);
    assert!(matches!(
        bench.board.answer(asked, &domain).err(),
        Some(AnswerError::NoName(_))
    ));
}

fn policy(rules: &str) -> Policy {
    let document = Document::parse("50-answers.toml", rules).unwrap();
    let mut source = PolicySource::default();
    source.read_answers(&document);
    assert_eq!(document.finish(), [], "{rules}");
    Policy::compile(source)
}

/// Programs, other ends and services; every answer to one of these is compared for all of these.
const PATHS: [&str; 6] = [
    "/usr/bin/curl",
    "/usr/bin/cur?",
    "/opt/[x]*{a,b}/**",
    "/opt/\"quoted\\ \u{7f}\u{202e}",
    "/opt/x",
    "/usr/bin/curl2",
];
const ENDS: [(&str, Option<&str>); 6] = [
    ("203.0.113.1", None),
    ("2001:db8::1", None),
    ("203.0.113.1", Some("www.example.com")),
    ("203.0.113.2", Some("example.com")),
    ("203.0.113.2", Some("printer")),
    ("203.0.113.3", Some("wwwexample.com")),
];
const SERVICES: [(Protocol, u16); 4] = [
    (Protocol::Tcp, 443),
    (Protocol::Udp, 443),
    (Protocol::Icmp, 0),
    (Protocol::Other(47), 0),
];

#[test]
fn the_rule_that_is_written_means_what_the_memory_holds() {
    let reaches = [
        Reach::Exact,
        Reach::Host,
        Reach::Domain(None),
        Reach::Domain(Some("example.com".to_owned())),
        Reach::Port,
        Reach::Anywhere,
    ];
    let mut flows = Vec::new();
    for path in PATHS {
        for uid in [0, 1000] {
            for (to, name) in ENDS {
                for service in SERVICES {
                    for direction in [Direction::Out, Direction::In] {
                        let names: Vec<FlowName> = name
                            .map(|name| FlowName {
                                name: Name::parse(name).unwrap(),
                                source: NameSource::Dns,
                            })
                            .into_iter()
                            .collect();
                        flows.push(([app(path, uid)], names, direction, to, service));
                    }
                }
            }
        }
    }
    let (mut covered, mut answers) = (0, 0);
    // Every seventh is answered about: all would take a minute.
    for (apps, names, direction, to, service) in flows.iter().step_by(7) {
        let asked = facts(apps, names, *direction, to, *service);
        let topic = Topic::of(&asked, apps.first(), None);
        for reach in &reaches {
            let answer = answer(Verdict::Allow, reach.clone(), Lifetime::Forever);
            if answer.check(&topic).is_err() {
                continue;
            }
            answers += 1;
            let remembered = Remembered::new(&topic, &answer, Vec::new()).unwrap();
            let text = rule(&remembered, &AUTHOR).unwrap();
            let policy = policy(&text);
            assert!(remembered.covers(&topic, None), "{text}");
            for (apps, names, direction, to, service) in &flows {
                let facts = facts(apps, names, *direction, to, *service);
                let topic = Topic::of(&facts, apps.first(), None);
                let by_memory = remembered.covers(&topic, None);
                let by_rule = policy.decide(&facts).by == DecidedBy::Rule(0);
                // A rule on an address holds for names behind it too.
                let is_behind =
                    matches!(&topic.place, Place::One { end, .. } if end.name().is_some());
                assert!(
                    by_memory == by_rule || (by_rule && is_behind),
                    "{text}\n{topic:?}: {by_memory} {by_rule}"
                );
                covered += u32::from(by_memory);
            }
        }
    }
    assert!(answers > 100 && covered > 1_000, "{answers} {covered}");
}

fn desk(folder: &TestFolder) -> (Desk, Arc<Shared>) {
    let capture = CaptureStatus::new(CaptureKind::Exec, "tide0");
    let shared = Shared::new(Policy::allow_all(), capture, FlowLogLimits::default());
    let file = RulesFile::in_folder(folder.path().join("rules.d"));
    (Desk::new(Arc::clone(&shared), Some(file)), shared)
}

fn give(desk: &Desk, shared: &Shared, topic: &Topic) -> Given {
    let mut bench = Bench::new();
    let waiter = bench.waiter();
    let asked = shared.board.join(topic, waiter, About::default);
    let forever = answer(Verdict::Allow, Reach::Exact, Lifetime::Forever);
    desk.give(id(asked), &forever, AUTHOR).unwrap()
}

#[test]
fn answers_are_added_to_the_file_and_what_the_user_wrote_stays() {
    let folder = TestFolder::new();
    let (desk, shared) = desk(&folder);
    let own = "# mine\n[[rule]] # why\nname = \"own\"\naction = \"block\" # so";
    let path = folder.write("rules.d/50-answers.toml", own);
    for to in ["203.0.113.1", "203.0.113.2"] {
        let given = give(&desk, &shared, &topic("/bin/a", to));
        assert_eq!(given.kept, Kept::File(path.clone()));
    }
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.starts_with(&format!("{own}\n\n# Answered ")), "{text}");
    assert_eq!(policy(&text).len(), 3);
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
}

#[test]
fn a_file_with_an_error_or_a_folder_that_cannot_be_written_keeps_the_answer_in_memory_and_says_so()
{
    for spoil in ["rules.d/50-answers.toml", "rules.d"] {
        let folder = TestFolder::new();
        let (desk, shared) = desk(&folder);
        let path = folder.write(spoil, "[[rule]\n");
        let topic = topic("/bin/a", "203.0.113.1");
        let Kept::NotWritten(why) = give(&desk, &shared, &topic).kept else {
            panic!("{spoil}")
        };
        assert!(why.contains("rules.d"), "{why}");
        assert_eq!(fs::read_to_string(path).unwrap(), "[[rule]\n");
        let known = shared.board.remembered(&topic, || None);
        assert_eq!(known, Some(Verdict::Allow));
    }
}

#[test]
fn a_rule_that_is_in_force_need_not_be_remembered_and_one_that_is_not_must() {
    let folder = TestFolder::new();
    let (desk, shared) = desk(&folder);
    give(&desk, &shared, &topic("/bin/a", "203.0.113.1"));
    let written = shared.board.written();
    give(&desk, &shared, &topic("/bin/a", "203.0.113.2"));
    shared.board.settle(written);
    let known = |to| shared.board.remembered(&topic("/bin/a", to), || None);
    assert_eq!(
        (known("203.0.113.1"), known("203.0.113.2")),
        (None, Some(Verdict::Allow))
    );
}
