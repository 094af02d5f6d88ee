#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a test names the one reply it wants, and any other fails it"
)]

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate_policy::{App, Direction, Policy, Protocol, Verdict};
use tidegate_routing::flow::State;

use super::access::Membership;
use super::client::{Client, ClientError};
use super::protocol::{FlowsRequest, RefusedWhy, Reply, Request};
use super::server::{ControlServer, ControlSocket};
use super::socket::SocketError;
use crate::config::{Capture, ConfigSource};
use crate::record::{Carriage, FlowLogLimits, FlowRecord, LiveFlow, NewFlow};
use crate::reload::Reloader;
use crate::shared::{CaptureKind, CaptureStatus, Shared};
use crate::test_folder::TestFolder;

struct NoGroup;

impl Membership for NoGroup {
    fn gid(&self) -> Option<u32> {
        None
    }

    fn includes(&self, _uid: u32, _gid: u32) -> bool {
        false
    }
}

fn serve(
    path: &Path,
    shared: &Arc<Shared>,
    reloader: &Arc<Reloader>,
) -> Result<ControlServer, SocketError> {
    let socket = ControlSocket::bind(path, &NoGroup)?;
    Ok(ControlServer::start(socket, Arc::clone(shared), Arc::clone(reloader), NoGroup).unwrap())
}

/// A daemon without a data plane.
struct Daemon {
    server: ControlServer,
    shared: Arc<Shared>,
    folder: TestFolder,
}

impl Daemon {
    fn start() -> Self {
        let folder = TestFolder::new();
        let config = folder.write("tidegate.toml", "");
        let source = ConfigSource::new(Some(config));
        let capture = CaptureStatus::new(CaptureKind::Host, "tide0");
        let shared = Shared::new(Policy::allow_all(), capture, FlowLogLimits::default());
        let reloader = Reloader::new(source, Capture::default(), Arc::clone(&shared));
        let socket = folder.path().join("run/control.sock");
        let server = serve(&socket, &shared, &reloader).unwrap();
        Self {
            server,
            shared,
            folder,
        }
    }

    fn connect(&self) -> Client {
        Client::connect(self.server.path()).unwrap()
    }

    fn raw(&self) -> UnixStream {
        let stream = UnixStream::connect(self.server.path()).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        stream
    }

    fn open(&self, program: &str, verdict: Verdict) -> Arc<LiveFlow> {
        let flow = self.shared.flows.open(NewFlow {
            protocol: Protocol::Tcp,
            carriage: Carriage::Terminated,
            direction: Direction::Out,
            local: SocketAddr::from(([192, 0, 2, 7], 50_000)),
            remote: SocketAddr::from(([203, 0, 113, 9], 443)),
            names: Vec::new(),
        });
        flow.set_apps(Ok::<_, String>(vec![App {
            pid: 1,
            ..App::new(format!("/usr/bin/{program}"), 1000)
        }]));
        flow.set_decision(verdict, None, None);
        flow.set_state(State::Open);
        flow
    }
}

fn flows(client: &mut Client, wanted: FlowsRequest) -> Vec<FlowRecord> {
    client.send(Request::Flows(wanted)).unwrap();
    let mut records = Vec::new();
    loop {
        match client.next_reply().unwrap().unwrap() {
            Reply::Flow(record) => records.push(*record),
            Reply::Done => return records,
            other => panic!("{other:?}"),
        }
    }
}

fn next_flow(client: &mut Client) -> FlowRecord {
    match client.next_reply().unwrap().unwrap() {
        Reply::Flow(record) => *record,
        other => panic!("{other:?}"),
    }
}

fn names(records: &[FlowRecord]) -> Vec<&str> {
    records
        .iter()
        .map(|record| record.app.as_ref().unwrap().name.as_str())
        .collect()
}

fn refusal(error: ClientError) -> (RefusedWhy, String) {
    match error {
        ClientError::Refused(refused) => (refused.why, refused.message),
        other => panic!("{other}"),
    }
}

#[test]
fn several_requests_are_answered_on_one_connection() {
    let daemon = Daemon::start();
    let mut client = daemon.connect();
    for live in 0..3 {
        let Reply::Status(status) = client.ask(Request::Status).unwrap() else {
            panic!()
        };
        assert_eq!(status.flows_live, live);
        assert_eq!(status.pid, std::process::id());
        daemon.open("curl", Verdict::Allow);
    }
}

#[test]
fn flows_are_filtered_by_the_daemon() {
    let daemon = Daemon::start();
    daemon.open("curl", Verdict::Allow).close("finished");
    daemon.open("curl", Verdict::Block);
    daemon.open("wget", Verdict::Block);
    let mut client = daemon.connect();
    assert_eq!(
        names(&flows(&mut client, FlowsRequest::default())),
        ["curl", "curl", "wget"]
    );
    let app = FlowsRequest {
        app: Some("cu*".to_owned()),
        ..FlowsRequest::default()
    };
    assert_eq!(names(&flows(&mut client, app)), ["curl", "curl"]);
    let verdict = FlowsRequest {
        verdict: Some(Verdict::Block),
        ..FlowsRequest::default()
    };
    assert_eq!(names(&flows(&mut client, verdict)), ["curl", "wget"]);
}

#[test]
fn a_follower_sees_what_is_there_and_what_comes() {
    let daemon = Daemon::start();
    let first = daemon.open("curl", Verdict::Allow);
    let mut client = daemon.connect();
    let follow = FlowsRequest {
        follow: true,
        ..FlowsRequest::default()
    };
    client.send(Request::Flows(follow)).unwrap();
    assert_eq!(next_flow(&mut client).id, first.id());
    let second = daemon.open("wget", Verdict::Block);
    assert_eq!(next_flow(&mut client).id, second.id());
    first.close("finished");
    let ended = next_flow(&mut client);
    assert_eq!(
        (ended.id, ended.reason.as_deref()),
        (first.id(), Some("finished"))
    );
}

#[test]
fn a_follower_that_hangs_up_is_forgotten() {
    let daemon = Daemon::start();
    let mut client = daemon.connect();
    daemon.open("curl", Verdict::Allow);
    let follow = FlowsRequest {
        follow: true,
        ..FlowsRequest::default()
    };
    client.send(Request::Flows(follow)).unwrap();
    next_flow(&mut client);
    assert_eq!(daemon.shared.flows.follower_count(), 1);
    drop(client);
    let end = Instant::now() + Duration::from_secs(10);
    while daemon.shared.flows.follower_count() > 0 {
        assert!(Instant::now() < end, "waited in vain");
        daemon.open("curl", Verdict::Allow).close("finished");
    }
}

#[test]
fn a_trial_is_confirmed_once() {
    let daemon = Daemon::start();
    let mut client = daemon.connect();
    daemon
        .shared
        .lifecycle
        .begin_trial(Duration::from_secs(3600));
    assert_eq!(client.ask(Request::Confirm).unwrap(), Reply::Done);
    assert_eq!(daemon.shared.lifecycle.trial_left(), None);
    let (why, message) = refusal(client.ask(Request::Confirm).unwrap_err());
    assert_eq!(why, RefusedWhy::Failed);
    assert!(
        message.starts_with("nothing waits for a confirmation"),
        "{message}"
    );
}

#[test]
fn a_reload_gives_the_generation_or_every_problem() {
    let daemon = Daemon::start();
    let mut client = daemon.connect();
    assert_eq!(
        client.ask(Request::Reload).unwrap(),
        Reply::Reloaded { generation: 2 }
    );
    daemon.folder.write("tidegate.toml", "[polcy]\n[captur]\n");
    let (why, message) = refusal(client.ask(Request::Reload).unwrap_err());
    assert_eq!(why, RefusedWhy::Failed);
    assert_eq!(message.matches("unknown key").count(), 2, "{message}");
}

#[test]
fn a_pattern_that_is_none_is_refused() {
    let daemon = Daemon::start();
    let app = FlowsRequest {
        app: Some("[a".to_owned()),
        ..FlowsRequest::default()
    };
    let (why, _) = refusal(daemon.connect().ask(Request::Flows(app)).unwrap_err());
    assert_eq!(why, RefusedWhy::Failed);
}

#[test]
fn what_is_no_request_is_refused_and_the_client_is_let_go() {
    let daemon = Daemon::start();
    let refusals = [
        "hello",
        "{}",
        r#"{"version":1,"request":"reboot"}"#,
        r#"{"version":1,"request":"status","more":1}"#,
        r#"{"version":1,"request":{"flows":{"folow":true}}}"#,
        r#"{"version":9,"request":"status"}"#,
    ]
    .map(|request| {
        let mut stream = daemon.raw();
        writeln!(stream, "{request}").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    });
    insta::assert_snapshot!(refusals.concat(), @r#"
        {"refused":{"why":"malformed","message":"not a request: expected value at line 1 column 1"}}
        {"refused":{"why":"malformed","message":"not a request: missing field `version` at line 1 column 2"}}
        {"refused":{"why":"malformed","message":"not a request: unknown variant `reboot`, expected one of `status`, `flows`, `confirm`, `reload`, `quick`, `undo`, `questions`, `answer`, `profiles`, `use-profile`, `update-lists` at line 1 column 31"}}
        {"refused":{"why":"malformed","message":"not a request: unknown field `more`, expected `version` or `request` at line 1 column 38"}}
        {"refused":{"why":"malformed","message":"not a request: unknown field `folow`, expected one of `follow`, `app`, `verdict`, `identity` at line 1 column 40"}}
        {"refused":{"why":"malformed","message":"the daemon speaks version 1 of the control protocol, not 9: use the `tidegate` that the daemon was started from"}}
        "#);
}

#[test]
fn a_request_without_end_is_cut_off() {
    let daemon = Daemon::start();
    let mut stream = daemon.raw();
    let chunk = [b'x'; 4096];
    let mut sent = 0;
    while stream.write_all(&chunk).is_ok() {
        sent += chunk.len();
        assert!(sent < 64 << 20, "read without bound");
    }
    daemon.connect().ask(Request::Status).unwrap();
}

#[test]
fn a_client_too_many_is_told_so_and_the_others_go_on() {
    let daemon = Daemon::start();
    let mut clients: Vec<_> = (0..32).map(|_| daemon.connect()).collect();
    for client in &mut clients {
        client.ask(Request::Status).unwrap();
    }
    let (why, _) = refusal(daemon.connect().ask(Request::Status).unwrap_err());
    assert_eq!(why, RefusedWhy::Busy);
    clients[0].ask(Request::Status).unwrap();
}

#[test]
fn without_a_daemon_the_client_says_what_to_do() {
    let folder = TestFolder::new();
    let error = Client::connect(&folder.path().join("none.sock")).unwrap_err();
    insta::assert_snapshot!(folder.anonymous(&error.to_string()), @"no tidegate is running (DIR/none.sock: No such file or directory (os error 2)): start it with `tidegate run`");
}

#[test]
fn the_socket_and_its_folder_are_the_daemons_alone_without_a_group() {
    let daemon = Daemon::start();
    let mode = |path: PathBuf| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(daemon.server.path().to_owned()), 0o600);
    assert_eq!(mode(daemon.folder.path().join("run")), 0o755);
}

#[test]
fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
    let daemon = Daemon::start();
    let path = daemon.server.path().to_owned();
    let reloader = Reloader::new(
        ConfigSource::new(None),
        Capture::default(),
        Arc::clone(&daemon.shared),
    );
    let in_use = serve(&path, &daemon.shared, &reloader).unwrap_err();
    assert!(matches!(in_use, SocketError::InUse(_)), "{in_use}");

    let stale = daemon.folder.path().join("stale.sock");
    drop(UnixListener::bind(&stale).unwrap());
    let server = serve(&stale, &daemon.shared, &reloader).unwrap();
    Client::connect(&stale)
        .unwrap()
        .ask(Request::Status)
        .unwrap();
    drop(server);
    assert!(!stale.exists());

    let file = daemon.folder.write("file", "keep me");
    let in_the_way = serve(&file, &daemon.shared, &reloader).unwrap_err();
    assert!(
        matches!(in_the_way, SocketError::InTheWay(_)),
        "{in_the_way}"
    );
    assert_eq!(std::fs::read(&file).unwrap(), b"keep me");
}

#[test]
fn clients_are_let_go_when_the_daemon_ends() {
    let daemon = Daemon::start();
    let mut client = daemon.connect();
    let flow = daemon.open("curl", Verdict::Allow);
    let follow = FlowsRequest {
        follow: true,
        ..FlowsRequest::default()
    };
    client.send(Request::Flows(follow)).unwrap();
    assert_eq!(next_flow(&mut client).id, flow.id());
    drop(daemon);
    assert_eq!(client.next_reply().unwrap(), None);
}
