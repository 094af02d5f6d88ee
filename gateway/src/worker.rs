//! One data-plane thread: its TUN queue, its stack, its upstream sockets.
//!
//! A packet's way through this module: `Worker::turn` reads a batch from the device and hands each packet to the
//! [`Stack`]; a new flow gets an `Entry` whose [`Flow`](tidegate_routing::flow::Flow) says what to do next
//! (`Worker::drive`): look up the program, judge, dial, accept or refuse. From then on `tcp`, `udp` and `echo` move its
//! bytes. Forwarded packets have a device and a worker of their own, of the same kind. Nothing here waits: the thread sleeps only in `poll`, and what is slow (a search through `/proc`) parks that
//! one flow.

mod asking;
mod branch;
mod caller;
mod closing;
mod descriptions;
mod device;
mod dialing;
mod echo;
mod ending;
mod entry;
mod holders;
mod identify;
mod inbox;
mod intake;
mod keep_alive;
mod network;
mod newcomers;
mod older;
mod packet_dump;
mod scarcity;
mod speaker;
mod tcp;
mod turns;
mod udp;
mod unknown;
mod waiting;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::ops::ControlFlow;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rustc_hash::FxHashMap;
use slab::Slab;
use tidegate_netstack::keyed::keyed_hash;
use tidegate_netstack::{CloseReason, Event, FlowId, Refusal, Stack, StackConfig};
use tidegate_platform::bypass::Bypass;
use tidegate_platform::tun::Tun;
use tidegate_routing::flow::Action;
use tidegate_routing::target::Translation;

use crate::ask::WorkerId;
use crate::probe::Probe;
use crate::shared::{ActivePolicy, Shared, WorkerGauges};

use self::identify::LevelFinder;
pub use self::identify::{ForwardedFlows, HostFlows, Identify};
pub use self::inbox::{Handle, Message};
pub use self::packet_dump::PacketDump;
pub use self::unknown::Strangers;

use self::closing::Closing;
use self::descriptions::Descriptions;
use self::dialing::Dialing;
use self::echo::{EchoSockets, Identifiers};
use self::entry::{Entry, NotDialed, Path};
use self::holders::Holders;
use self::inbox::Inbox;
use self::newcomers::Newcomers;
use self::older::Older;
use self::turns::Turns;
use self::udp::Associations;
use self::waiting::Room;

/// The largest packet with room to spare.
const BUFFER: usize = 65_536 + 128;
const TUN: Token = Token(usize::MAX);
const INBOX: Token = Token(usize::MAX - 1);

/// The hop limit that needs no word: what hosts send with.
const USUAL_HOP_LIMIT: u8 = 64;

/// What a worker needs to start.
#[derive(Debug)]
pub struct WorkerConfig {
    /// Limits of the stack.
    pub stack: StackConfig,
    /// What the gateway's own addresses mean.
    pub translation: Translation,
    /// How our sockets stay out of the capture.
    pub bypass: Bypass,
    /// Who made a flow.
    pub identify: Identify,
    /// What happens to packets of no flow of ours.
    pub strangers: Strangers,
    /// The datagrams that prove the capture.
    pub probe: Arc<Probe>,
    /// How long what programs have sent may still go out once the end was asked for.
    pub linger: Duration,
    /// Most upstream sockets at once.
    pub most_sockets: usize,
    /// Most upstream UDP sockets of one family.
    pub most_udp: usize,
    /// Where the device's packets are kept; absent: nowhere.
    pub packet_dump: Option<PacketDump>,
}

/// One data-plane thread.
#[expect(
    missing_debug_implementations,
    reason = "sockets and buffers say nothing to a reader"
)]
pub struct Worker {
    poll: Poll,
    tun: Tun,
    tun_readable: bool,
    stack: Stack,
    flows: FxHashMap<FlowId, Entry>,
    sources: Slab<Source>,
    /// Flows whose sockets or buffers have something to move.
    turns: Turns,
    retries: BinaryHeap<Reverse<(Instant, FlowId)>>,
    dialing: Dialing,
    newcomers: Newcomers,
    closing: Closing,
    descriptions: Descriptions,
    associations: Associations,
    /// Of upstream sockets.
    holders: Holders,
    /// For packets that wait for a verdict.
    room: Room,
    echo: EchoSockets,
    older: Older,
    inbox: Inbox,
    handle: Handle,
    /// On the board of questions.
    board_id: WorkerId,
    shared: Arc<Shared>,
    gauges: Arc<WorkerGauges>,
    /// Packets that the stack had dropped when the gauges were last noted.
    noted_drops: u64,
    policy: Arc<ActivePolicy>,
    translation: Translation,
    bypass: Bypass,
    identify: Identify,
    levels: LevelFinder,
    strangers: Strangers,
    /// The last packet that was sent on with other addresses.
    readdressed: Vec<u8>,
    probe: Arc<Probe>,
    linger: Duration,
    most_sockets: usize,
    /// UDP sockets of one family.
    most_udp: usize,
    packet_dump: Option<PacketDump>,
    /// Until when upstream connections are asked whether they still stand.
    probing_until: Option<Instant>,
}

/// Whose an upstream socket is.
#[derive(Clone, Copy, Debug)]
enum Source {
    Tcp(FlowId),
    Udp(udp::AssociationId),
    Echo(echo::SocketId),
}

impl Worker {
    /// A worker on this device queue; `Handle` reaches it from other threads.
    pub fn new(tun: Tun, config: WorkerConfig, shared: Arc<Shared>) -> io::Result<(Self, Handle)> {
        let poll = Poll::new()?;
        poll.registry()
            .register(&mut SourceFd(&tun.as_raw_fd()), TUN, Interest::READABLE)?;
        let (inbox, handle) = inbox::open(poll.registry(), INBOX)?;
        let policy = shared.policy.load_full();
        let hash = keyed_hash(config.stack.seed);
        let levels = LevelFinder::new(Arc::clone(&shared.identities), handle.clone());
        let worker = Self {
            poll,
            tun,
            tun_readable: true,
            flows: FxHashMap::default(),
            sources: Slab::new(),
            turns: Turns::default(),
            retries: BinaryHeap::new(),
            dialing: Dialing::new(config.stack.max_half_open),
            newcomers: Newcomers::new(config.stack.max_half_open),
            closing: Closing::start()?,
            descriptions: Descriptions::new(hash.clone()),
            stack: Stack::new(config.stack, Instant::now()),
            holders: Holders::new(hash.clone()),
            associations: Associations::new(hash),
            room: Room::default(),
            echo: EchoSockets::with(match config.identify {
                Identify::Host(_) => Identifiers::LowerHalf,
                Identify::Forwarded(_) => Identifiers::UpperHalf,
            }),
            older: Older::default(),
            inbox,
            board_id: asking::register(&shared.board, &handle),
            handle: handle.clone(),
            gauges: shared.counters.add_worker(),
            noted_drops: 0,
            shared,
            policy,
            translation: config.translation,
            bypass: config.bypass,
            identify: config.identify,
            levels,
            strangers: config.strangers,
            readdressed: Vec::new(),
            probe: config.probe,
            linger: config.linger,
            most_sockets: config.most_sockets,
            most_udp: config.most_udp,
            packet_dump: config.packet_dump,
            probing_until: None,
        };
        Ok((worker, handle))
    }

    /// Serves until told to stop.
    pub fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(256);
        let mut packet = vec![0; BUFFER].into_boxed_slice();
        loop {
            let timeout = self.timeout(Instant::now());
            if self.wait(&mut events, timeout)?.is_break() {
                self.finish(&mut events, &mut packet)?;
                self.close_all(Instant::now());
                return Ok(());
            }
            self.turn(&mut packet)?;
        }
    }

    /// Sleeps until something is ready, notes what, and hears other threads; breaks when one asked to stop.
    fn wait(
        &mut self,
        events: &mut Events,
        timeout: Option<Duration>,
    ) -> io::Result<ControlFlow<()>> {
        match self.poll.poll(events, timeout) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut messages = false;
        for event in &*events {
            match event.token() {
                TUN => self.tun_readable = true,
                INBOX => messages = true,
                Token(source) => self.note_ready(source, event),
            }
        }
        Ok(if messages {
            self.read_inbox(Instant::now())
        } else {
            ControlFlow::Continue(())
        })
    }

    /// One round: device, timers, sockets, device.
    fn turn(&mut self, packet: &mut [u8]) -> io::Result<()> {
        let now = Instant::now();
        self.receive(now, packet)?;
        self.take_newcomers(now);
        self.retry(now);
        self.end_probing(now);
        self.stack.handle_timeout(now);
        self.take_events();
        if self.associations.is_ready() || self.echo.is_ready() {
            self.turns.note_little(now);
        }
        self.receive_datagrams(now);
        self.receive_echoes(now);
        self.take_older(now);
        let mut round = self.turns.round(now);
        while let Some(flow) = self.turns.next(&mut round) {
            round.spend(self.pump(now, flow, round.turn()));
            self.transmit(now);
        }
        self.transmit(now);
        if let Some(dump) = &self.packet_dump {
            dump.flush();
        }
        self.take_events();
        self.closing.close(self.poll.registry());
        self.note_gauges();
        Ok(())
    }

    fn timeout(&mut self, now: Instant) -> Option<Duration> {
        if self.tun_readable
            || !self.turns.is_empty()
            || !self.newcomers.is_empty()
            || self.associations.is_ready()
            || self.echo.is_ready()
            || self.older.is_ready()
        {
            return Some(Duration::ZERO);
        }
        let stack = self.stack.poll_timeout().map(|(at, _)| at);
        let retry = self.retries.peek().map(|Reverse((at, _))| *at);
        let next = [stack, retry, self.probing_until];
        let next = next.into_iter().flatten().min()?;
        // mio rounds up to whole milliseconds, so a deadline that is closer does not spin.
        Some(next.saturating_duration_since(now))
    }

    /// Lets a flow's life go on until it waits for something.
    fn drive(&mut self, now: Instant, flow: FlowId) {
        loop {
            let Some(entry) = self.flows.get_mut(&flow) else {
                return;
            };
            let action = entry.life.poll_action();
            entry.record.set_state(entry.life.state());
            match action {
                Some(Action::LookUp) => self.look_up(now, flow),
                Some(Action::Judge) => self.judge(flow),
                Some(Action::Ask) => self.ask(now, flow),
                Some(Action::Dial) => self.dial(flow),
                Some(Action::Accept) => self.accept(now, flow),
                Some(Action::Refuse(refusal)) => self.refuse(now, flow, refusal),
                Some(Action::Cut) => self.cut(now, flow),
                None => break,
            }
        }
        if let Some(at) = self
            .flows
            .get(&flow)
            .and_then(|entry| entry.life.poll_timeout())
        {
            self.retries.push(Reverse((at, flow)));
        }
    }

    fn retry(&mut self, now: Instant) {
        while let Some(Reverse((at, flow))) = self.retries.peek().copied() {
            if at > now {
                break;
            }
            self.retries.pop();
            if let Some(entry) = self.flows.get_mut(&flow) {
                entry.note_unanswered(now);
                entry.life.handle_timeout(now);
                self.drive(now, flow);
            }
        }
    }

    fn dial(&mut self, flow: FlowId) {
        if self.flows.get(&flow).is_some_and(Entry::is_our_own) {
            return self.note_dialed(flow, Err(NotDialed::LOOP));
        }
        match self.flows.get(&flow).map(|entry| &entry.path) {
            Some(Path::Tcp(_)) => self.dial_tcp(flow),
            Some(Path::Udp(_)) => self.open_udp(flow),
            Some(Path::Echo(_)) => self.open_echo(flow),
            Some(Path::Pass(_)) => self.open_passed(flow),
            None => {}
        }
    }

    fn accept(&mut self, now: Instant, flow: FlowId) {
        match self.flows.get(&flow).map(|entry| &entry.path) {
            Some(Path::Tcp(_)) => self.accept_tcp(now, flow),
            Some(Path::Udp(_)) => self.release_datagrams(flow),
            Some(Path::Echo(_)) => self.release_echo(flow),
            Some(Path::Pass(_)) => self.release_passed(now, flow),
            None => {}
        }
    }

    fn take_events(&mut self) {
        while let Some(event) = self.stack.poll_event() {
            match event {
                Event::Closed(flow, reason) => {
                    // A FIN would tell the far end that all was said.
                    if reason != CloseReason::Finished {
                        self.reset_upstream(flow);
                    }
                    if reason == CloseReason::Evicted {
                        self.shared.counters.count_evicted();
                    }
                    self.end(flow, close_reason(reason));
                }
                Event::KeepAlive(flow, silence) => self.program_asks(flow, silence),
            }
        }
    }

    fn upstream_refused(&self, error: &io::Error) {
        tracing::trace!(%error, "an upstream socket refused a packet");
        self.shared
            .counters
            .packets_dropped
            .add("refused by an upstream socket");
    }

    /// The kernel did not send a datagram: where it said why, the program is told as its own kernel would have told it.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "a foreign enum of forty kinds, three of which matter"
    )]
    fn not_sent(&mut self, flow: FlowId, error: &io::Error) {
        self.upstream_refused(error);
        let refusal = match error.kind() {
            io::ErrorKind::NetworkUnreachable => Refusal::NetworkUnreachable,
            io::ErrorKind::HostUnreachable => Refusal::HostUnreachable,
            io::ErrorKind::PermissionDenied => Refusal::Prohibited,
            _ => return,
        };
        if let Some(entry) = self.flows.get(&flow) {
            let from = entry.key.remote.0.ip();
            self.stack.icmp_error(Instant::now(), flow, from, refusal);
        }
    }

    fn note_gauges(&mut self) {
        let drops = self.stack.drops().iter().map(|(_, count)| count).sum();
        if drops != self.noted_drops {
            self.noted_drops = drops;
            for (reason, count) in self.stack.drops() {
                self.gauges.packets_dropped.set(reason.name(), *count);
            }
        }
        let stack = self.stack.gauges();
        for (gauge, value) in [
            (&self.gauges.flows, stack.flows),
            (&self.gauges.half_open, stack.half_open),
            (&self.gauges.time_wait, stack.time_wait),
            (&self.gauges.buffer_bytes, stack.buffer_bytes),
        ] {
            gauge.store(count(value), Ordering::Relaxed);
        }
    }

    fn enqueue(&mut self, flow: FlowId) {
        if let Some(entry) = self.flows.get_mut(&flow)
            && !entry.queued
        {
            entry.queued = true;
            self.turns.push(flow, entry.load);
        }
    }
}

/// A length as a count of bytes: `usize` is never wider than 64 bits here.
fn count(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

fn close_reason(reason: CloseReason) -> &'static str {
    match reason {
        CloseReason::Finished => "finished",
        CloseReason::ResetByProgram => "reset by program",
        CloseReason::TimedOut => "timed out",
        CloseReason::Idle => "idle",
        CloseReason::Evicted => "evicted",
    }
}
