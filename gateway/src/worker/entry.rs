//! What a worker knows of one flow beside what the stack knows.

use std::borrow::Cow;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use tidegate_netstack::{FlowId, FlowKey, Protocol, Refusal};
use tidegate_platform::limits::Spent;
use tidegate_policy::{App, Direction};
use tidegate_routing::flow::{DialFailure, Flow};

use super::Worker;
use super::asking::Asking;
use super::caller::Caller;
use super::echo::EchoPath;
use super::holders::{Held, HolderId};
use super::identify::Inner;
use super::tcp::TcpPath;
use super::turns::Load;
use super::udp::UdpPath;
use super::unknown::PassPath;
use crate::record::{Carriage, LiveFlow, NewFlow};

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
    /// What is kept of them once they have been judged, where there is no room for all.
    pub(super) short: Option<Arc<[App]>>,
    /// Its program was known and can no longer be told, or is there and hides.
    pub(super) is_lost: bool,
    /// Of a forwarded flow.
    pub(super) inner: Option<Inner>,
    pub(super) path: Path,
    /// Why the way upstream could not be opened, in the system's words.
    pub(super) failure: Option<Cow<'static, str>>,
    /// It waits in `Worker::turns`.
    pub(super) queued: bool,
    pub(super) load: Load,
    /// Whose connection it counts as while it is being made.
    pub(super) dialing: Option<Caller>,
    /// Whose its upstream socket counts as, if it has one to itself that is not a UDP one.
    pub(super) holder: Option<HolderId>,
    pub(super) asking: Asking,
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
    /// The program's end, as it knows it.
    pub(super) fn local(&self) -> SocketAddr {
        self.inner.map_or(self.key.local.0, |inner| inner.source)
    }

    /// Whether this program made the flow. Its sockets bypass the capture; what comes in all the same goes in a circle.
    pub(super) fn is_our_own(&self) -> bool {
        let own = std::process::id();
        self.apps.iter().any(|app| app.pid == own)
    }
}

/// Why the way upstream could not be opened.
#[derive(Debug)]
pub(super) struct NotDialed {
    /// What the program is told.
    failure: DialFailure,
    /// Its name in counters.
    counted: &'static str,
    /// What the flow's record says.
    reason: Cow<'static, str>,
}

impl NotDialed {
    /// Our own flow came in by the device: to carry it would make the next one.
    pub(super) const LOOP: Self = Self {
        failure: DialFailure::NetworkUnreachable,
        counted: "routing-loop",
        reason: Cow::Borrowed(LOOP),
    };

    /// Its program is making too many connections already.
    pub(super) const TOO_MANY: Self = Self {
        failure: DialFailure::Exhausted,
        counted: "too-many-half-open",
        reason: Cow::Borrowed("too many connections of this program are being made"),
    };

    /// The program asked the gateway itself for something that it does not offer.
    pub(super) const NO_SERVICE: Self = Self {
        failure: DialFailure::Refused,
        counted: "no-such-service",
        reason: Cow::Borrowed("the gateway has no such service"),
    };
}

impl From<io::Error> for NotDialed {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "a foreign enum of forty kinds, four of which matter"
    )]
    fn from(error: io::Error) -> Self {
        let spent = Spent::of(&error);
        let failure = match error.kind() {
            _ if spent.is_some() => DialFailure::Exhausted,
            io::ErrorKind::NetworkUnreachable => DialFailure::NetworkUnreachable,
            io::ErrorKind::HostUnreachable => DialFailure::HostUnreachable,
            io::ErrorKind::PermissionDenied => DialFailure::Prohibited,
            io::ErrorKind::TimedOut => DialFailure::TimedOut,
            _ => DialFailure::Refused,
        };
        Self {
            failure,
            counted: match spent {
                Some(Spent::Ports) => "no-port-left",
                Some(Spent::Descriptors) | None => failure.name(),
            },
            reason: Cow::Owned(error.to_string()),
        }
    }
}

impl Worker {
    /// The way upstream stands, or does not: the flow's life goes on.
    pub(super) fn note_dialed(&mut self, flow: FlowId, outcome: Result<(), NotDialed>) {
        let Some(entry) = self.flows.get_mut(&flow) else {
            return;
        };
        if let Some(caller) = entry.dialing.take() {
            self.dialing.end(&caller);
        }
        let outcome = outcome.map_err(|failed| {
            self.shared.counters.dial_failures.add(failed.counted);
            entry.failure = Some(failed.reason);
            failed.failure
        });
        entry.life.handle_dialed(outcome);
    }

    /// A flow has begun: records it and lets its life start.
    pub(super) fn begin(&mut self, now: Instant, flow: FlowId, path: Path) {
        if let Some(key) = self.stack.key(flow) {
            let inner = self.identify.inner(&key);
            self.note_begun(flow, inner, path);
            self.drive(now, flow);
        }
    }

    /// A flow has begun, whose life is to start later: records it.
    pub(super) fn note_begun(&mut self, flow: FlowId, inner: Option<Inner>, path: Path) {
        if let Some(key) = self.stack.key(flow) {
            let entry = self.entry(key, inner, Direction::Out, Carriage::Terminated, path);
            self.flows.insert(flow, entry);
        }
    }

    pub(super) fn entry(
        &self,
        key: FlowKey,
        inner: Option<Inner>,
        direction: Direction,
        carriage: Carriage,
        path: Path,
    ) -> Entry {
        self.shared.counters.count_opened();
        let record = self.shared.flows.open(NewFlow {
            protocol: policy_protocol(key.protocol),
            direction,
            local: inner.map_or(key.local.0, |inner| inner.source),
            remote: key.remote.0,
            carriage,
            names: Vec::new(),
        });
        Entry {
            key,
            direction,
            judged: Judged::OneWay,
            life: Flow::new(),
            record,
            apps: Arc::default(),
            short: None,
            is_lost: false,
            inner,
            path,
            failure: None,
            queued: false,
            load: Load::default(),
            dialing: None,
            holder: None,
            asking: Asking::default(),
        }
    }

    /// The flow has an upstream socket of its own.
    pub(super) fn note_holder(&mut self, flow: FlowId, caller: Caller) {
        if let Some(entry) = self.flows.get_mut(&flow)
            && entry.holder.is_none()
        {
            entry.holder = Some(self.holders.take(caller, Held::Other));
        }
    }

    /// The stack has forgotten this flow, or is about to: closes its record and lets its socket go.
    pub(super) fn end(&mut self, flow: FlowId, reason: impl Into<Cow<'static, str>>) {
        if let Some(entry) = self.flows.remove(&flow) {
            entry.record.close(reason);
            self.release(flow, entry);
        }
    }

    /// The flow was not let through, or could not be carried.
    pub(super) fn refuse(&mut self, now: Instant, flow: FlowId, refusal: Refusal) {
        match self.flows.get(&flow).map(|entry| &entry.path) {
            Some(Path::Pass(_)) => self.refuse_passed(now, flow, refusal),
            Some(Path::Tcp(_)) => self.refuse_tcp(now, flow, refusal),
            Some(Path::Udp(_) | Path::Echo(_)) => self.stack.refuse(now, flow, refusal),
            None => return,
        }
        if let Some(entry) = self.flows.remove(&flow) {
            let reason = entry.failure.clone();
            entry
                .record
                .refuse(reason.unwrap_or(Cow::Borrowed("policy")));
            self.release(flow, entry);
        }
    }

    fn release(&mut self, flow: FlowId, entry: Entry) {
        if let Some(caller) = &entry.dialing {
            self.dialing.end(caller);
        }
        if let Some(holder) = entry.holder {
            self.holders.give_back(holder, Held::Other);
        }
        self.ask_no_more(flow, &entry.asking);
        match entry.path {
            Path::Tcp(path) => self.release_tcp(path),
            Path::Udp(path) => self.release_udp(flow, path),
            Path::Echo(path) => self.release_echo_socket(flow, path),
            Path::Pass(path) => self.release_pass(path),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_told_of_a_failed_dial_what_its_own_kernel_would_have_told() {
        let cases = [
            (io::ErrorKind::ConnectionRefused, DialFailure::Refused),
            (
                io::ErrorKind::NetworkUnreachable,
                DialFailure::NetworkUnreachable,
            ),
            (io::ErrorKind::HostUnreachable, DialFailure::HostUnreachable),
            (io::ErrorKind::PermissionDenied, DialFailure::Prohibited),
            (io::ErrorKind::TimedOut, DialFailure::TimedOut),
        ];
        for (kind, expected) in cases {
            let not_dialed = NotDialed::from(io::Error::from(kind));
            assert_eq!(not_dialed.failure, expected, "{kind}");
            assert_eq!(not_dialed.counted, expected.name());
            assert_eq!(not_dialed.reason, kind.to_string());
        }
    }

    #[test]
    fn a_host_without_descriptors_has_not_refused() {
        const EMFILE: i32 = 24;
        let not_dialed = NotDialed::from(io::Error::from_raw_os_error(EMFILE));
        assert_eq!(not_dialed.counted, "exhausted");
        assert_eq!(not_dialed.failure, DialFailure::Exhausted);
    }
}
