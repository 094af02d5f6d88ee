//! Whether the connections upstream still stand. The program's own end is always answered here, so nothing that it asks reaches
//! the other end by itself.
//!
//! After a sleep nobody knows. To reset all would end those that do stand, so each is asked: the kernel's keepalive probes are
//! turned on for a while. A peer that has forgotten answers with RST, silence is found out after [`PROBES`], and either is
//! passed on. Connections with bytes under way are asked by their retransmissions.
//!
//! The connection upstream of a program that sends keepalive probes is probed after as much silence as the program bears.

use std::io;
use std::time::{Duration, Instant};

use socket2::{SockRef, TcpKeepalive};
use tidegate_netstack::FlowId;

use super::Worker;
use super::entry::{Entry, Path};

/// Silence until a connection is asked after a sleep.
const FIRST_PROBE: Duration = Duration::from_secs(1);
/// Between two questions.
const PROBE_PAUSE: Duration = Duration::from_secs(2);
/// Questions without an answer: a radio link needs some seconds to come back.
const PROBES: u32 = 7;
/// After this every connection has answered or is dead.
const PROBING: Duration = Duration::from_secs(20);

/// What a program says again sooner was lost, and is no question: TCP_KEEPIDLE is at least as long (tcp(7)).
const SHORTEST: Duration = Duration::from_secs(1);
/// The longest silence that is taken for a program's habit; Linux's default is as long (tcp(7)).
const LONGEST: Duration = Duration::from_secs(7200);
/// Between two questions that are not answered, at most: Linux's default.
const LONGEST_PAUSE: Duration = Duration::from_secs(75);

/// After how much silence a program asks whether its connection stands, once it has asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct KeepAlive(Option<Duration>);

impl KeepAlive {
    fn after(silence: Duration) -> Self {
        Self(Some(silence.clamp(SHORTEST, LONGEST)))
    }

    fn apply(self, socket: &SockRef<'_>) -> io::Result<()> {
        let Some(silence) = self.0 else {
            return socket.set_keepalive(false);
        };
        let pause = (silence / 4).clamp(Duration::from_secs(1), LONGEST_PAUSE);
        let probes = TcpKeepalive::new()
            .with_time(silence)
            .with_interval(pause)
            .with_retries(PROBES);
        socket.set_tcp_keepalive(&probes)
    }
}

impl Worker {
    /// The program asks, after so much silence, whether its connection still stands, and has been told so.
    pub(super) fn program_asks(&mut self, flow: FlowId, silence: Duration) {
        let Some(Path::Tcp(path)) = self.flows.get_mut(&flow).map(|entry| &mut entry.path) else {
            return;
        };
        // Between two questions a program may pause for longer than before the first.
        if path.keep_alive != KeepAlive::default() || silence < SHORTEST {
            return;
        }
        path.keep_alive = KeepAlive::after(silence);
        if self.probing_until.is_none()
            && let Some(Err(error)) = path.socket().map(|socket| path.keep_alive.apply(&socket))
        {
            not_asked(&error);
        }
    }

    /// The machine has slept: every connection upstream is asked whether it still stands.
    pub(super) fn probe_upstreams(&mut self, now: Instant) {
        self.probing_until = Some(now + PROBING);
        let probes = TcpKeepalive::new()
            .with_time(FIRST_PROBE)
            .with_interval(PROBE_PAUSE)
            .with_retries(PROBES);
        self.each_upstream(|socket, _| socket.set_tcp_keepalive(&probes));
    }

    /// Ends what [`probe_upstreams`](Self::probe_upstreams) began once it has run its time: an idle connection costs nothing.
    pub(super) fn end_probing(&mut self, now: Instant) {
        if self.probing_until.is_some_and(|until| until <= now) {
            self.probing_until = None;
            self.each_upstream(|socket, keep_alive| keep_alive.apply(socket));
        }
    }

    fn each_upstream(&self, change: impl Fn(&SockRef<'_>, KeepAlive) -> io::Result<()>) {
        let paths = self.flows.values().filter_map(Entry::tcp);
        let changed = paths.filter_map(|path| Some(change(&path.socket()?, path.keep_alive)));
        let failures = changed.filter_map(Result::err);
        failures.for_each(|error| not_asked(&error));
    }
}

fn not_asked(error: &io::Error) {
    tracing::debug!(%error, "a connection is not asked whether it stands");
}
