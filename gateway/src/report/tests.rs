use std::time::{Duration, UNIX_EPOCH};

use tidegate_policy::{Direction, Protocol, Verdict};
use tidegate_routing::flow::State;

use super::*;
use crate::record::{AppRecord, Carriage, FlowName, FlowRecord, NameSource, Timestamp};
use crate::terminal::{Colour, Style};

fn record(id: u64, name: &str, remote: &str, verdict: Verdict) -> FlowRecord {
    FlowRecord {
        id,
        started: Timestamp::from(UNIX_EPOCH + Duration::from_secs(1_000 + id)),
        ended: None,
        protocol: Protocol::Tcp,
        direction: Direction::Out,
        local: "192.0.2.7:50000".parse().unwrap(),
        remote: remote.parse().unwrap(),
        app: Some(AppRecord {
            path: format!("/usr/bin/{name}").into(),
            name: name.to_owned(),
            pid: 1,
            uid: 1000,
            command_line: Vec::new(),
            unit: None,
            container: None,
            identity: tidegate_policy::Identity::default(),
        }),
        other_owners: Vec::new(),
        unattributed: None,
        names: Vec::new(),
        carriage: Carriage::Terminated,
        verdict: Some(verdict),
        rule: None,
        egress: None,
        bytes_up: 1_234 * id,
        bytes_down: 5_678_901,
        state: State::Open,
        reason: None,
    }
}

fn records() -> Vec<FlowRecord> {
    let mut blocked = record(3, "curl", "[2001:db8::1]:443", Verdict::Block);
    blocked.rule = Some("no updates from the editor".to_owned());
    blocked.state = State::Refused;
    blocked.reason = Some("blocked".to_owned());
    let mut ping = record(2, "", "203.0.113.9:0", Verdict::Allow);
    ping.protocol = Protocol::Icmp;
    ping.app = None;
    ping.unattributed = Some("the socket was gone".to_owned());
    let mut inbound = record(4, "sshd", "198.51.100.3:40001", Verdict::Allow);
    inbound.direction = Direction::In;
    inbound.local = "192.0.2.7:22".parse().unwrap();
    let mut named = record(1, "curl", "203.0.113.9:443", Verdict::Allow);
    named.names = vec![FlowName {
        name: "example.org".to_owned(),
        source: NameSource::Dns,
    }];
    named.state = State::Closed;
    named.reason = Some("finished".to_owned());
    vec![blocked, ping, inbound, named]
}

#[test]
fn flows_are_shown_oldest_first_in_columns() {
    insta::assert_snapshot!(flow_table(&records(), Style::PLAIN), @"
        STARTED    APP                            FLOW                               VERDICT  RULE                             UP     DOWN  STATE
        00:16:41Z  curl                           tcp example.org (203.0.113.9:443)  allow    default                     1.23 kB  5.67 MB  closed: finished
        00:16:42Z  unknown (the socket was gone)  icmp 203.0.113.9                   allow    default                     2.46 kB  5.67 MB  open
        00:16:43Z  curl                           tcp [2001:db8::1]:443              block    no updates from the editor  3.70 kB  5.67 MB  refused: blocked
        00:16:44Z  sshd                           tcp 198.51.100.3:40001 → :22       allow    default                     4.93 kB  5.67 MB  open
        ");
}

#[test]
fn no_line_is_wider_than_the_terminal() {
    let style = Style {
        width: Some(100),
        colour: Colour::Plain,
    };
    let text = flow_table(&records(), style);
    assert!(
        text.lines().all(|line| line.chars().count() <= 100),
        "{text}"
    );
    insta::assert_snapshot!(text, @"
        STARTED    APP             FLOW            VERDICT  RULE                 UP     DOWN  STATE
        00:16:41Z  curl            tcp example.o…  allow    default         1.23 kB  5.67 MB  closed: finis…
        00:16:42Z  unknown (the …  icmp 203.0.11…  allow    default         2.46 kB  5.67 MB  open
        00:16:43Z  curl            tcp [2001:db8…  block    no updates fr…  3.70 kB  5.67 MB  refused: bloc…
        00:16:44Z  sshd            tcp 198.51.10…  allow    default         4.93 kB  5.67 MB  open
        ");
}

#[test]
fn followed_flows_keep_their_columns() {
    let lines = FlowLines::new(Style {
        width: Some(120),
        colour: Colour::Plain,
    });
    let mut text = vec![lines.head()];
    text.extend(records().iter().map(|record| lines.line(record)));
    insta::assert_snapshot!(text.join("\n"), @"
        STARTED    APP                  FLOW                 VERDICT  RULE                      UP     DOWN  STATE
        00:16:43Z  curl                 tcp [2001:db8::1]:…  block    no updates from th…  3.70 kB  5.67 MB  refused: blocked
        00:16:42Z  unknown (the socke…  icmp 203.0.113.9     allow    default              2.46 kB  5.67 MB  open
        00:16:44Z  sshd                 tcp 198.51.100.3:4…  allow    default              4.93 kB  5.67 MB  open
        00:16:41Z  curl                 tcp example.org (2…  allow    default              1.23 kB  5.67 MB  closed: finished
        ");
}

#[test]
fn no_name_can_steer_the_terminal() {
    let evil = "\u{1b}[2J\u{202e}\nevil";
    let mut record = record(1, evil, "203.0.113.9:443", Verdict::Allow);
    record.rule = Some(evil.to_owned());
    record.names = vec![FlowName {
        name: evil.to_owned(),
        source: NameSource::Dns,
    }];
    record.state = State::Closed;
    record.reason = Some(evil.to_owned());
    let mut unknown = record.clone();
    unknown.app = None;
    unknown.unattributed = Some(evil.to_owned());
    let records = [record, unknown];
    for text in [
        flow_table(&records, Style::PLAIN),
        summary(&records, Style::PLAIN),
    ] {
        assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text:?}");
        assert!(text.lines().count() <= 4, "{text:?}");
    }
}

#[test]
fn a_summary_adds_up_what_is_alike() {
    let mut all = records();
    all.extend((5..8).map(|id| record(id, "curl", "203.0.113.9:443", Verdict::Allow)));
    insta::assert_snapshot!(summary(&all, Style::PLAIN), @"
        APP                            TO                                 VERDICT  RULE                        FLOWS       UP     DOWN
        curl                           tcp 203.0.113.9:443                allow    default                         3  22.2 kB  17.0 MB
        curl                           tcp [2001:db8::1]:443              block    no updates from the editor      1  3.70 kB  5.67 MB
        curl                           tcp example.org (203.0.113.9:443)  allow    default                         1  1.23 kB  5.67 MB
        sshd                           tcp 198.51.100.3:40001             allow    default                         1  4.93 kB  5.67 MB
        unknown (the socket was gone)  icmp 203.0.113.9                   allow    default                         1  2.46 kB  5.67 MB
        7 flows, 1 refused by the policy, 34.5 kB up, 39.7 MB down
        ");
}

#[test]
fn a_summary_of_nothing_is_one_line() {
    insta::assert_snapshot!(summary(&[], Style::PLAIN), @"no flows, 0 refused by the policy, 0 B up, 0 B down");
}
