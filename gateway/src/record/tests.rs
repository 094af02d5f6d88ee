use std::time::Duration;

use super::*;

fn new_flow(port: u16) -> NewFlow {
    NewFlow {
        protocol: Protocol::Tcp,
        carriage: Carriage::Terminated,
        direction: Direction::Out,
        local: SocketAddr::from(([192, 0, 2, 7], 50_000)),
        remote: SocketAddr::from(([203, 0, 113, 9], port)),
        names: vec![FlowName {
            name: "example.org".to_owned(),
            source: NameSource::Dns,
        }],
    }
}

fn app(path: &str) -> App {
    App {
        pid: 4711,
        user: Some("ann".to_owned()),
        command_line: vec!["curl".to_owned(), "https://example.org".to_owned()],
        unit: Some("user@1000.service".to_owned()),
        ..App::new(path, 1000)
    }
}

fn limits(ended: usize, waiting: usize) -> FlowLog {
    FlowLog::new(FlowLogLimits { ended, waiting })
}

fn ids(log: &FlowLog) -> Vec<u64> {
    log.records().iter().map(|record| record.id).collect()
}

/// What is in the queue now.
fn take(subscription: &mut Subscription) -> Vec<FlowRecord> {
    std::iter::from_fn(|| subscription.try_next())
        .map(|record| FlowRecord::clone(&record))
        .collect()
}

#[test]
fn a_record_in_json_has_every_field() {
    let flow = FlowLog::default().open(new_flow(443));
    flow.set_apps(Ok::<_, String>(vec![app("/usr/bin/curl"), app("/bin/sh")]));
    flow.set_decision(Verdict::Allow, Some("web".into()), Some("direct".into()));
    flow.add_bytes_up(100);
    flow.add_bytes_down(20);
    flow.add_bytes_up(1);
    flow.close("finished");
    let mut record = flow.record();
    record.started = Timestamp::from(std::time::UNIX_EPOCH + Duration::from_millis(1500));
    record.ended = Some(record.started);
    let json = serde_json::to_string_pretty(&record).unwrap();
    insta::assert_snapshot!(json, @r#"
        {
          "id": 1,
          "started": "1970-01-01T00:00:01.500Z",
          "ended": "1970-01-01T00:00:01.500Z",
          "protocol": "tcp",
          "direction": "out",
          "local": "192.0.2.7:50000",
          "remote": "203.0.113.9:443",
          "app": {
            "path": "/usr/bin/curl",
            "name": "curl",
            "pid": 4711,
            "uid": 1000,
            "command_line": [
              "curl",
              "https://example.org"
            ],
            "unit": "user@1000.service",
            "container": null,
            "identity": {}
          },
          "other_owners": [
            {
              "path": "/bin/sh",
              "name": "sh",
              "pid": 4711,
              "uid": 1000,
              "command_line": [
                "curl",
                "https://example.org"
              ],
              "unit": "user@1000.service",
              "container": null,
              "identity": {}
            }
          ],
          "unattributed": null,
          "names": [
            {
              "name": "example.org",
              "source": "dns"
            }
          ],
          "carriage": "terminated",
          "verdict": "allow",
          "rule": "web",
          "egress": "direct",
          "bytes_up": 101,
          "bytes_down": 20,
          "state": "closed",
          "reason": "finished"
        }
        "#);
    assert_eq!(serde_json::from_str::<FlowRecord>(&json).unwrap(), record);
}

#[test]
fn a_flow_without_a_program_says_why() {
    let log = FlowLog::default();
    let flow = log.open(new_flow(443));
    assert_eq!(
        (flow.record().app, flow.record().unattributed),
        (None, None)
    );
    flow.set_apps(Err::<Vec<App>, _>("the socket was gone"));
    let record = flow.record();
    assert_eq!(record.app, None);
    assert_eq!(record.unattributed.as_deref(), Some("the socket was gone"));
    flow.set_apps(Ok::<_, String>(Vec::new()));
    assert!(flow.record().unattributed.is_some());
}

#[test]
fn only_the_first_end_counts() {
    let log = FlowLog::default();
    let flow = log.open(new_flow(443));
    flow.set_state(State::Dialing);
    assert_eq!(flow.record().state, State::Dialing);
    flow.refuse("connection refused");
    flow.close("finished");
    flow.set_state(State::Open);
    let record = flow.record();
    assert_eq!(record.state, State::Refused);
    assert_eq!(record.reason.as_deref(), Some("connection refused"));
    assert_eq!((log.live_count(), log.records().len()), (0, 1));
}

#[test]
fn the_oldest_ended_flow_makes_room_and_live_ones_stay() {
    let log = limits(3, 1);
    let flows: Vec<_> = (1..=8).map(|port| log.open(new_flow(port))).collect();
    for flow in &flows[1..7] {
        flow.close("finished");
    }
    assert_eq!(log.live_count(), 2);
    assert_eq!(ids(&log), [5, 6, 7, 1, 8]);
}

#[test]
fn a_log_that_keeps_nothing_still_holds_live_flows() {
    let log = limits(0, 1);
    let (first, _second) = (log.open(new_flow(1)), log.open(new_flow(2)));
    first.close("finished");
    assert_eq!(ids(&log), [2]);
}

#[test]
fn a_follower_hears_once_that_a_flow_passes_and_once_that_it_ends() {
    let log = FlowLog::default();
    let mut follower = log.subscribe();
    let flow = log.open(new_flow(443));
    flow.set_state(State::Judging);
    flow.set_decision(Verdict::Allow, None, None);
    flow.set_state(State::Dialing);
    flow.set_state(State::Open);
    flow.close("finished");
    let refused = log.open(new_flow(80));
    refused.set_state(State::Judging);
    refused.set_decision(Verdict::Block, None, None);
    refused.refuse("policy");
    let heard = take(&mut follower);
    let states: Vec<_> = heard.iter().map(|record| record.state).collect();
    assert_eq!(states, [State::Dialing, State::Closed, State::Refused]);
}

#[test]
fn a_slow_follower_misses_records_and_knows_how_many() {
    let log = limits(10, 2);
    let mut follower = log.subscribe();
    for port in 1..=5 {
        log.open(new_flow(port)).close("finished");
    }
    assert_eq!(follower.take_missed(), 3);
    assert_eq!(follower.take_missed(), 0);
    let heard: Vec<_> = take(&mut follower).iter().map(|record| record.id).collect();
    assert_eq!(heard, [1, 2]);
}

#[test]
fn a_follower_that_left_is_forgotten() {
    let log = FlowLog::default();
    drop(log.subscribe());
    let mut stays = log.subscribe();
    log.open(new_flow(443)).close("finished");
    assert_eq!(log.follower_count(), 1);
    assert_eq!(take(&mut stays).len(), 1);
}

#[test]
fn a_flow_outlives_its_log() {
    let flow = FlowLog::default().open(new_flow(443));
    flow.set_decision(Verdict::Allow, None, None);
    flow.close("finished");
    assert_eq!(flow.record().state, State::Closed);
}

#[test]
fn filters_look_at_every_owner_and_at_the_verdict() {
    let flow = FlowLog::default().open(new_flow(443));
    flow.set_apps(Ok::<_, String>(vec![
        app("/usr/bin/curl"),
        app("/opt/x/bin/helper"),
    ]));
    flow.set_decision(Verdict::Block, None, None);
    let record = flow.record();
    let passes = |app, verdict| FlowFilter::new(app, verdict).unwrap().passes(&record);
    assert!(passes(None, None));
    assert!(passes(Some("curl"), Some(Verdict::Block)));
    assert!(passes(Some("help*"), None));
    assert!(passes(Some("/opt/**"), None));
    assert!(!passes(Some("/usr/*"), None));
    assert!(!passes(Some("wget"), None));
    assert!(!passes(Some("curl"), Some(Verdict::Allow)));
    assert!(FlowFilter::new(Some("[a"), None).is_err());
}

#[test]
fn flows_of_unknown_programs_match_no_program_filter() {
    let flow = FlowLog::default().open(new_flow(443));
    assert!(
        !FlowFilter::new(Some("*"), None)
            .unwrap()
            .passes(&flow.record())
    );
}
