use std::time::{Duration, UNIX_EPOCH};

use tidegate_policy::{Protocol, Verdict};

use super::*;
use crate::leaks::{LeakRecord, Way};
use crate::library::{LibraryState, ListState, PlacesState};
use crate::record::{AppRecord, AtTheEnd};
use crate::shared::EbpfStatus;
use crate::shared::{ReloadFailure, UplinkStatus};

fn at(seconds: u64) -> Timestamp {
    Timestamp::from(UNIX_EPOCH + Duration::from_secs(seconds))
}

fn status(kind: CaptureKind) -> Status {
    let worker = WorkerSnapshot {
        flows: 3,
        half_open: 1,
        time_wait: 2,
        buffer_bytes: 262_144,
        ..WorkerSnapshot::default()
    };
    let capture = CaptureStatus {
        uplinks: vec![UplinkStatus {
            family: Family::V4,
            device: "eth0".to_owned(),
            source: Some([192, 0, 2, 7].into()),
            tunnel: (kind == CaptureKind::Host).then(|| "wg0".to_owned()),
        }],
        ebpf: match kind {
            CaptureKind::Host => EbpfStatus::On,
            CaptureKind::Exec => EbpfStatus::Refused("it takes root".to_owned()),
        },
        ..CaptureStatus::new(kind, "tide0")
    };
    Status {
        version: "0.1.0".to_owned(),
        pid: 4711,
        started: at(1_000),
        health: Health::Good,
        not_seen: capture.blind_spots(),
        capture,
        leaks: Vec::new(),
        unmeasured: Vec::new(),
        policy: PolicyStatus {
            profiles: Profiles::default(),
            generation: 2,
            since: at(2_000),
            rules: 12,
            default: Verdict::Allow,
            file: "/etc/tidegate/tidegate.toml".into(),
            reload_failure: None,
        },
        library: LibraryState::default(),
        trial_seconds_left: None,
        flows_live: 7,
        at_the_end: match kind {
            CaptureKind::Host => AtTheEnd {
                cut: 1,
                moved: 2,
                passed: 1,
                existing: 3,
            },
            CaptureKind::Exec => AtTheEnd::default(),
        },
        counters: CountersSnapshot {
            packets_in: 12_345,
            bytes_in: 67_890_123,
            packets_out: 2,
            bytes_out: 80,
            flows_opened: 1_234,
            flows_blocked: 5,
            packets_dropped: [("malformed".to_owned(), 7), ("not IP".to_owned(), 0)].into(),
            unattributed: [("the socket was gone".to_owned(), 2)].into(),
            workers: vec![worker],
            ..CountersSnapshot::default()
        },
    }
}

#[test]
fn a_gateway_that_is_well() {
    insta::assert_snapshot!(text_at(&status(CaptureKind::Host), at(9_000)), @"
        health     good
        running    tidegate 0.1.0, process 4711, for 2 h 13 min
        capture    the whole host, through tide0
                   IPv4 leaves through wg0, another program's tunnel over eth0
                   eBPF tells who sends a datagram and is gone at once
        policy     12 rules, default allow, from /etc/tidegate/tidegate.toml
                   generation 2, in force since 1970-01-01T00:33:20.000Z
        flows      7 live, 1,234 since the start: 5 blocked, 0 dropped
                   a restart would cut 1 connection and give 2 datagram flows another port
                   4 more would go on, 3 of them begun before our start
                   without a program: 2 (the socket was gone 2)
        packets    12,345 (67.8 MB) from programs, 2 (80 B) to programs
                   thrown away: 7 (malformed 7)
        workers    0: 3 flows, 1 half-open, 2 in TIME-WAIT, 262 kB of buffers
        not seen   loopback
                   what sockets bound to a physical device send (SO_BINDTODEVICE): not judged, shown as leaks
                   packets with another program's mark, unless capture.strict_marks is set: likewise
                   AF_PACKET sockets: likewise, but for PACKET_QDISC_BYPASS and AF_XDP
                   other network namespaces, containers among them
                   UDP that arrives unasked
                   multicast, limited broadcast, DHCP and IPv6 link-local
        ");
}

#[test]
fn a_gateway_that_is_not_says_what_and_what_next() {
    let mut status = status(CaptureKind::Exec);
    status.health = Health::Degraded;
    status.trial_seconds_left = Some(42);
    status
        .capture
        .problems
        .push("the uplink is gone: connect one".to_owned());
    status.policy.reload_failure = Some(ReloadFailure {
        at: at(5_000),
        message: "a.toml:1:1: error: unknown key `\u{1b}[2J`\n  hint: known here: rule".to_owned(),
    });
    let text = text_at(&status, at(1_005));
    assert!(!text.contains('\u{1b}'));
    insta::assert_snapshot!(text, @r#"
        health     degraded
                   the uplink is gone: connect one
                   the configuration of 1970-01-01T01:23:20.000Z is not in force:
                   a.toml:1:1: error: unknown key `\u{1b}[2J`
                     hint: known here: rule
                   on trial: undone in 42 s unless `tidegate confirm` comes
        running    tidegate 0.1.0, process 4711, for 5 s
        capture    one command, through tide0
                   IPv4 leaves through eth0 from 192.0.2.7
        policy     12 rules, default allow, from /etc/tidegate/tidegate.toml
                   generation 2, in force since 1970-01-01T00:33:20.000Z
        flows      7 live, 1,234 since the start: 5 blocked, 0 dropped
                   without a program: 2 (the socket was gone 2)
        packets    12,345 (67.8 MB) from programs, 2 (80 B) to programs
                   thrown away: 7 (malformed 7)
        workers    0: 3 flows, 1 half-open, 2 in TIME-WAIT, 262 kB of buffers
        not seen   traffic over the loopback inside the command's own namespace
                   path-named UNIX sockets let in with --socket
                   which program sent a datagram and closed its socket at once, as eBPF cannot be used: it takes root
        "#);
}

#[test]
fn who_goes_past_the_capture_is_named_with_the_way_and_marks_come_last() {
    let mut status = status(CaptureKind::Host);
    let app = AppRecord {
        path: "/usr/bin/sync".into(),
        name: "sync".to_owned(),
        pid: 815,
        uid: 1000,
        command_line: Vec::new(),
        unit: None,
        container: None,
        identity: tidegate_policy::Identity::default(),
    };
    let leak = |way, owner: Result<AppRecord, &str>| LeakRecord {
        way,
        device: "eth0".to_owned(),
        unattributed: owner.as_ref().err().map(|&reason| reason.to_owned()),
        app: owner.ok(),
        flows: 2,
        ended: u64::from(way == Way::BoundToDevice),
        first: at(1_000),
        last: at(8_000),
        protocol: Protocol::Udp,
        remote: ([192, 0, 2, 9], 53).into(),
    };
    status.leaks = vec![
        leak(Way::ForeignMark(0xca6c), Err("no process holds the socket")),
        leak(Way::BoundToDevice, Ok(app)),
    ];
    status.unmeasured = vec!["wlan0: no such device".to_owned()];
    status.counters.uncaptured = [("bound to a device".to_owned(), 2)].into();
    status.counters.packets_unexamined = 1_234;
    let text = text_at(&status, at(9_000));
    let (from, to) = (text.find("leaks").unwrap(), text.find("policy").unwrap());
    insta::assert_snapshot!(&text[from..to], @r"
        leaks      flows past the capture: 2 (bound to a device 2)
                   sync (process 815, user 1000): 2 flows through eth0, bound to a device, 1 ended; the last udp to 192.0.2.9:53, 16 min 40 s ago
                   unknown (no process holds the socket): 2 flows through eth0, mark 0xca6c (wg-quick); the last udp to 192.0.2.9:53, 16 min 40 s ago
                   1,234 packets were not looked at
                   not measured on wlan0: no such device
        ");
}

#[test]
fn lists_and_databases_are_shown_with_what_is_wrong_with_them() {
    let list = |name: &str, fetched: Option<Timestamp>| ListState {
        name: name.to_owned(),
        source: format!("https://lists.example/{name}"),
        action: Some(Verdict::Block),
        loaded: fetched.is_some(),
        entries: 412_332,
        ignored: 17,
        report: None,
        fetched,
        doing: None,
        problem: None,
    };
    let places = |kind: Option<&str>| PlacesState {
        file: "/srv/places.mmdb".to_owned(),
        kind: kind.map(str::to_owned),
        problem: kind.is_none().then(|| "no such file".to_owned()),
    };
    let status = Status {
        library: LibraryState {
            lists: vec![
                list("trackers", Some(at(2_000))),
                ListState {
                    entries: 0,
                    action: None,
                    doing: Some("being fetched".to_owned()),
                    problem: Some("the server says 404".to_owned()),
                    ..list("late", None)
                },
            ],
            places: vec![places(Some("GeoLite2-Country")), places(None)],
            bytes: 5_000_000,
        },
        ..status(CaptureKind::Exec)
    };
    let text = text_at(&status, at(9_200));
    let of_lists = |line: &&str| {
        ["list", "database", "trackers", "late"]
            .iter()
            .any(|word| line.contains(word))
    };
    let lines: Vec<&str> = text.lines().filter(of_lists).collect();
    insta::assert_snapshot!(lines.join("\n"), @r"
           list late: the server says 404; nothing is known of it
           database /srv/places.mmdb: no such file; rules on what it would know match nothing
lists      412,332 entries of 2 lists, 5.00 MB when compiled
           trackers: 412,332 entries (17 ignored), 2 h 0 min old; blocks what is on it
           late: not there yet; for rules; being fetched
           database /srv/places.mmdb (GeoLite2-Country)
           database /srv/places.mmdb is not loaded
");
}
