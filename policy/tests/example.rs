//! The example configuration of the manual is valid, means what its comments say, and tolerates no unknown key.

use tidegate_policy::{
    App, Context, DecidedBy, Decision, Direction, Document, FlowFacts, Peer, Policy, PolicySource,
    Problem, Protocol, Section,
};

const EXAMPLE: &str = include_str!("../../gateway/docs/examples/tidegate.toml");

/// Reads the file as the gateway does; `[capture]` is its business and only asked for here.
fn read(text: &str) -> (PolicySource, Vec<Problem>) {
    let document = Document::parse("tidegate.toml", text).expect("valid TOML");
    let mut source = PolicySource::default();
    source.read_main(&document);
    if let Some(capture) = document.root().section("capture") {
        ask_for_capture(&capture);
    }
    if let Some(geo) = document.root().section("geo") {
        ask_for_geo(&geo);
    }
    (source, document.finish())
}

fn ask_for_geo(geo: &Section<'_>) {
    geo.string("country");
    geo.string("asn");
}

fn ask_for_capture(capture: &Section<'_>) {
    capture.string("tun");
    capture.choice("fail", &[("open", ()), ("closed", ())]);
    capture.strings("forwarded");
    capture.choice("inbound", &[("listening", ())]);
    capture.choice("existing", &[("pass", ()), ("reset", ())]);
    capture.choice(
        "bound_sockets",
        &[("report", ()), ("prohibit", ()), ("destroy", ())],
    );
    capture.boolean("strict_marks");
    capture.choice("ebpf", &[("auto", ()), ("off", ())]);
}

#[test]
fn the_example_has_nothing_wrong_with_it() {
    let (source, problems) = read(EXAMPLE);
    assert_eq!(problems, []);
    assert_eq!(source.review(), []);
    assert_eq!(source.rules.len(), 22);
    let tests = source.tests.clone();
    assert_eq!(tests.len(), 4);
    assert_eq!(Policy::compile(source).failures(&tests), []);
}

#[test]
fn an_unknown_key_is_refused_wherever_it_stands() {
    let lines: Vec<&str> = EXAMPLE.lines().collect();
    let mut tried = 0;
    for (at, line) in lines.iter().enumerate() {
        let mut planted: Vec<String> = lines.iter().map(|&line| line.to_owned()).collect();
        if line.starts_with('[') {
            planted.insert(at + 1, "planted = 1".to_owned());
        } else if line.contains("= { ") {
            planted[at] = line.replacen("= { ", "= { planted = 1, ", 1);
        } else if at == 0 {
            planted.insert(0, "planted = 1".to_owned());
        } else {
            continue;
        }
        tried += 1;
        let (_, problems) = read(&planted.join("\n"));
        let messages: Vec<_> = problems
            .iter()
            .map(|problem| problem.message.as_str())
            .collect();
        assert_eq!(
            messages,
            ["unknown key `planted`"],
            "planted at line {}",
            at + 1
        );
    }
    assert_eq!(
        tried,
        1 + 3 + 22 + 1 + 1 + 2 + 4 + 20,
        "the top, three tables, rules, a profile, a set, lists, tests, and twenty inline tables"
    );
}

/// Direction, protocol, this end, other end, executable, user; then the verdict and the rule that gives it.
const FLOWS: &str = "
out tcp 10.20.0.5:40000 203.0.113.9:443 /usr/share/code/code a = block no updates from the editor
out udp 10.20.0.5:40000 [2001:db8::1]:8500 /usr/share/code/code a = block no updates from the editor
out tcp 10.20.0.5:40000 203.0.113.9:443 /usr/share/code/bin/x a = allow default
out tcp 10.20.0.5:40000 203.0.113.9:80 /usr/share/code/code a = allow default
out tcp 10.20.0.5:40000 10.0.0.9:22 /usr/bin/rsync backup = allow the backup runs as itself and stays at home
out tcp 10.20.0.5:40000 198.51.100.1:22 /usr/bin/rsync backup = drop nothing else of the backup leaves
out udp 10.20.0.5:40000 192.0.2.53:53 /usr/bin/dig a = allow this container only resolves names
out tcp 10.20.0.5:40000 198.51.100.1:1 /usr/bin/cc a = block the build is offline
out tcp 10.20.0.5:40000 198.51.100.1:1 /home/a/telemetry2 a = block scripts named so, wherever they lie
out tcp 10.20.0.5:40000 169.254.169.254:80 /usr/sbin/cloud-agent root = allow cloud metadata is for the agent
out tcp 10.20.0.5:40000 [::ffff:169.254.169.254]:80 /usr/bin/curl a = block and for no one else
out icmp 10.20.0.5:0 [fe80::1]:0 /usr/bin/ping a = block and for no one else
out udp 10.20.0.5:40000 224.0.0.251:5353 /usr/bin/x a = drop no discovery, no tunnels
out gre 10.20.0.5:0 198.51.100.1:0 /usr/bin/x a = block no GRE
out tcp 172.17.0.5:40000 10.20.0.7:80 /usr/bin/x a = block guests see the internet only
out tcp [fd17::5]:40000 [2001:db8:9::1]:80 /usr/bin/x a = allow default
out tcp 10.20.0.5:40000 198.51.100.1:631 /usr/sbin/cupsd root = block the printing service talks to printers only
out tcp 10.20.0.5:40000 192.0.2.19:631 /usr/sbin/cupsd root = allow default
out udp 10.20.0.5:40000 198.51.100.1:5353 /usr/sbin/cupsd root = allow default
in tcp 10.20.0.5:5432 10.20.0.99:50000 /usr/bin/db db = allow databases serve the lab only
in tcp 10.20.0.5:5432 10.20.0.100:50000 /usr/bin/db db = block no one else reaches them
";

#[test]
fn the_example_means_what_it_says() {
    let policy = Policy::compile(read(EXAMPLE).0);
    for line in FLOWS.lines().filter(|line| !line.is_empty()) {
        let (flow, wanted) = line.split_once(" = ").expect("a flow and its verdict");
        let decision = decide(&policy, flow);
        let rule = match decision.by {
            DecidedBy::Rule(index) => policy.rule(index).expect("the rule exists").label(),
            DecidedBy::Protection(protection) => protection.id().to_owned(),
            DecidedBy::Default => "default".to_owned(),
        };
        assert_eq!(format!("{} {rule}", decision.verdict), wanted, "{flow}");
    }
}

fn decide(policy: &Policy, flow: &str) -> Decision {
    let words: Vec<&str> = flow.split(' ').collect();
    let [direction, protocol, local, remote, path, user] = words[..] else {
        panic!("six words: {flow}");
    };
    let app = App {
        pid: 1,
        user: Some(user.to_owned()),
        parents: vec!["/usr/local/bin/backup.sh".into()],
        unit: path.ends_with("cc").then(|| "build@7.service".to_owned()),
        container: path.ends_with("dig").then(|| "3f4e8a6f0c1d".repeat(5)),
        ..App::new(path, 990)
    };
    policy.decide(&FlowFacts {
        direction: if direction == "in" {
            Direction::In
        } else {
            Direction::Out
        },
        protocol: match protocol {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            "icmp" => Protocol::Icmp,
            _ => Protocol::Other(47),
        },
        local: local.parse().expect("an address"),
        remote: remote.parse().expect("an address"),
        apps: &[app],
        peer: Peer::default(),
        context: Context::unknown(),
    })
}

const MANUAL: &str = include_str!("../../gateway/docs/rules.md");

#[test]
fn every_whole_table_of_the_manual_is_read_without_a_problem() {
    let blocks = MANUAL.split("```toml\n").skip(1);
    let tables: Vec<&str> = blocks
        .filter_map(|block| block.split("```").next())
        .filter(|block| block.starts_with('['))
        .collect();
    assert!(tables.len() >= 4, "{tables:?}");
    for text in tables {
        let (source, problems) = read(text);
        assert_eq!(problems, [], "{text}");
        assert_eq!(source.review(), [], "{text}");
        let tests = source.tests.clone();
        assert_eq!(Policy::compile(source).failures(&tests), [], "{text}");
    }
}
