//! What a worker knows of one flow beside what the stack knows.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use tidegate_netstack::{FlowId, FlowKey, Protocol, Refusal};
use tidegate_policy::{App, Direction};
use tidegate_routing::flow::{DialFailure, Flow};

use super::Worker;
use super::echo::EchoPath;
use super::tcp::TcpPath;
use super::udp::UdpPath;
use super::unknown::PassPath;
use crate::record::{LiveFlow, NewFlow};

/// Why our own flows are refused when they come in by the device.
const LOOP: &str =
    "routing loop: another program's rule or route leads our own packets into the device";

/// One flow.
pub(super) struct Entry {
    pub(super) key: FlowKey,
    pub(super) direction: Direction,
    pub(super) judged: Judged,
    pub(super) life: Flow,
    pub(super) record: Arc<LiveFlow>,
    pub(super) apps: Arc<[App]>,
    pub(super) path: Path,
    /// Why the way upstream could not be opened, in the system's words.
    pub(super) failure: Option<String>,
    /// It waits in `Worker::ready`.
    pub(super) queued: bool,
}

/// How the flow's bytes travel.
pub(super) enum Path {
    Tcp(TcpPath),
    Udp(UdpPath),
    Echo(EchoPath),
    Pass(PassPath),
}

/// Which rules judge a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judged {
    /// Those of its direction.
    OneWay,
    /// Those of both: it may be a service's answer or a program's own, and nobody saw who spoke first.
    EitherWay,
}

impl Entry {
    /// Whether this program made the flow. Its sockets bypass the capture; what comes in all the same goes in a circle.
    pub(super) fn is_our_own(&self) -> bool {
        let own = std::process::id();
        self.apps.iter().any(|app| app.pid == own)
    }
}

impl Worker {
    /// Our own flow came in by the device: to carry it would make the next one.
    pub(super) fn refuse_loop(&mut self, flow: FlowId) {
        self.shared.counters.dial_failures.add("routing-loop");
        if let Some(entry) = self.flows.get_mut(&flow) {
            entry.failure = Some(LOOP.to_owned());
            entry
                .life
                .handle_dialed(Err(DialFailure::NetworkUnreachable));
        }
    }

    /// A flow has begun: records it and lets its life start.
    pub(super) fn begin(&mut self, now: Instant, flow: FlowId, path: Path) {
        let Some(key) = self.stack.key(flow) else {
            return;
        };
        let entry = self.entry(key, Direction::Out, path);
        self.flows.insert(flow, entry);
        self.drive(now, flow);
    }

    pub(super) fn entry(&self, key: FlowKey, direction: Direction, path: Path) -> Entry {
        self.shared.counters.count_opened();
        let record = self.shared.flows.open(NewFlow {
            protocol: policy_protocol(key.protocol),
            direction,
            local: key.local.0,
            remote: key.remote.0,
            names: Vec::new(),
        });
        Entry {
            key,
            direction,
            judged: Judged::OneWay,
            life: Flow::new(),
            record,
            apps: Arc::default(),
            path,
            failure: None,
            queued: false,
        }
    }

    /// The stack has forgotten this flow, or is about to: closes its record and lets its socket go.
    pub(super) fn end(&mut self, flow: FlowId, reason: impl Into<Cow<'static, str>>) {
        if let Some(entry) = self.flows.remove(&flow) {
            entry.record.close(reason);
            self.release(flow, entry.path);
        }
    }

    /// The flow was not let through, or could not be carried.
    pub(super) fn refuse(&mut self, now: Instant, flow: FlowId, refusal: Refusal) {
        match self.flows.get(&flow).map(|entry| &entry.path) {
            Some(Path::Pass(_)) => self.refuse_passed(now, flow, refusal),
            Some(Path::Tcp(_) | Path::Udp(_) | Path::Echo(_)) => {
                self.stack.refuse(now, flow, refusal)
            }
            None => return,
        }
        if let Some(entry) = self.flows.remove(&flow) {
            entry
                .record
                .refuse(entry.failure.map_or(Cow::Borrowed("policy"), Cow::Owned));
            self.release(flow, entry.path);
        }
    }

    fn release(&mut self, flow: FlowId, path: Path) {
        match path {
            Path::Tcp(path) => self.release_tcp(path),
            Path::Udp(path) => self.release_udp(flow, &path),
            Path::Echo(path) => self.release_echo_socket(flow, &path),
            Path::Pass(_) => {}
        }
    }

    /// Ends an open flow on both sides.
    pub(super) fn cut(&mut self, now: Instant, flow: FlowId) {
        match self.flows.get(&flow).map(|entry| &entry.path) {
            Some(Path::Tcp(_)) => {
                self.reset_upstream(flow);
                match self.stack.tcp(flow) {
                    Some(accepted) => accepted.abort(),
                    None => self.stack.refuse(now, flow, Refusal::Reset),
                }
            }
            Some(Path::Udp(_) | Path::Echo(_)) => {
                self.stack.refuse(now, flow, Refusal::Prohibited);
            }
            Some(Path::Pass(_)) => self.stack.forget(flow),
            None => return,
        }
        self.end(flow, "cut");
    }
}

pub(super) fn policy_protocol(protocol: Protocol) -> tidegate_policy::Protocol {
    match protocol {
        Protocol::Tcp => tidegate_policy::Protocol::Tcp,
        Protocol::Udp => tidegate_policy::Protocol::Udp,
        Protocol::Icmp => tidegate_policy::Protocol::Icmp,
        Protocol::Other(number) => tidegate_policy::Protocol::Other(number),
    }
}
