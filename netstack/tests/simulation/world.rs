//! The two ends and the clock.

use std::time::{Duration, Instant};

use tidegate_netstack::{
    CloseReason, CongestionControl, Event, FlowId, Input, Offload, Stack, StackConfig,
};

use crate::client::Client;
use crate::fault::{Fault, Saboteur};
use crate::link::{Link, Weather};

pub(crate) const MTU: usize = 1_500;
/// Virtual time after which a run is stuck.
const LIMIT: Duration = Duration::from_secs(900);

/// Who ends the connection, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Each side finishes when it has sent everything.
    Both,
    /// Our side finishes first, the client sends only then.
    ServerFirst,
    /// The client finishes first, our side sends only then.
    ClientFirst,
    ClientAborts,
    ServerAborts,
    ClientVanishes,
}

/// What happens in a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) weather: Weather,
    pub(crate) offload: bool,
    pub(crate) v6: bool,
    /// Bytes from the program.
    pub(crate) up: usize,
    /// Bytes to the program.
    pub(crate) down: usize,
    /// Most bytes that upstream takes at a time.
    pub(crate) upstream_per_turn: usize,
    pub(crate) ending: Ending,
    /// The packet from the program that is lost, counted from 0.
    pub(crate) lost_up: Option<u64>,
    /// The packet to the program that is lost.
    pub(crate) lost_down: Option<u64>,
    pub(crate) congestion: CongestionControl,
    pub(crate) fault: Fault,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            seed: 0,
            weather: Weather::default(),
            offload: false,
            v6: false,
            up: 300_000,
            down: 300_000,
            upstream_per_turn: usize::MAX,
            ending: Ending::Both,
            lost_up: None,
            lost_down: None,
            congestion: CongestionControl::None,
            fault: Fault::None,
        }
    }
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    plan: Plan,
    received_up: usize,
    received_down: usize,
    pub(crate) closed: Option<CloseReason>,
    pub(crate) client_was_reset: bool,
    pub(crate) flows: usize,
    pub(crate) buffer_bytes: usize,
    pub(crate) time_wait: usize,
    pub(crate) largest_packet: usize,
    /// Until both ends had every byte and the FIN of the other.
    pub(crate) took: Option<Duration>,
    /// Packets from the program and to it.
    pub(crate) packets: (u64, u64),
}

impl Outcome {
    /// Whether both ends have every byte and the FIN of the other.
    pub(crate) fn is_complete(&self) -> bool {
        self.took.is_some() && self.closed == Some(CloseReason::Finished)
    }

    pub(crate) fn assert_everything_arrived(&self) {
        assert_eq!(self.received_up, self.plan.up, "{self:?}");
        assert_eq!(self.received_down, self.plan.down, "{self:?}");
        assert_eq!(self.closed, Some(CloseReason::Finished), "{self:?}");
        assert_eq!((self.flows, self.buffer_bytes), (0, 0), "{self:?}");
    }
}

/// Byte `at` of the stream `salt`: so that a byte in the wrong place is seen.
pub(crate) fn pattern(salt: u64, at: usize) -> u8 {
    let mixed = u64::try_from(at)
        .unwrap()
        .wrapping_add(salt)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed.to_be_bytes()[0]
}

/// Both ends, the link and the clock.
pub(crate) struct World {
    plan: Plan,
    start: Instant,
    now: Instant,
    stack: Stack,
    scratch: Vec<u8>,
    to_stack: Link,
    to_client: Link,
    client: Client,
    saboteur: Saboteur,
    flow: Option<FlowId>,
    received_up: usize,
    /// Whether the worker would be woken by its upstream socket.
    upstream_is_behind: bool,
    sent_down: usize,
    server_finished: bool,
    read_finished: bool,
    closed: Option<CloseReason>,
    largest_packet: usize,
    took: Option<Duration>,
}

impl World {
    pub(crate) fn new(plan: Plan) -> Self {
        let start = Instant::now();
        let mut to_stack = Link::new(plan.weather, plan.seed.wrapping_mul(2) + 1);
        let mut to_client = Link::new(plan.weather, plan.seed.wrapping_mul(2) + 2);
        to_stack.lose(plan.lost_up);
        to_client.lose(plan.lost_down);
        let config = StackConfig {
            segmentation_offload: plan.offload,
            seed: plan.seed,
            congestion: plan.congestion,
            ..StackConfig::default()
        };
        Self {
            plan,
            start,
            now: start,
            stack: Stack::new(config, start),
            scratch: Vec::new(),
            to_stack,
            to_client,
            client: Client::new(&plan),
            saboteur: Saboteur::new(plan.fault),
            flow: None,
            received_up: 0,
            upstream_is_behind: false,
            sent_down: 0,
            server_finished: false,
            read_finished: false,
            closed: None,
            largest_packet: 0,
            took: None,
        }
    }

    /// Runs until nothing is left to happen.
    pub(crate) fn run(mut self) -> Outcome {
        loop {
            let micros = i64::try_from((self.now - self.start).as_micros()).unwrap();
            if !self.has_vanished() {
                self.client.turn(&self.plan, micros, self.server_finished);
                while let Some(packet) = self.client.take_packet() {
                    self.to_stack.send(self.now, &packet);
                }
            }
            self.stack_turn();
            self.note_completion();
            let Some(next) = self.next_moment(micros) else {
                break;
            };
            self.now = next.max(self.now + Duration::from_micros(1));
            assert!(self.now - self.start < LIMIT, "stuck: {:?}", self.outcome());
            while let Some(packet) = self.to_client.receive(self.now) {
                self.client.give_packet(packet);
            }
        }
        self.outcome()
    }

    fn note_completion(&mut self) {
        let complete = self.received_up == self.plan.up
            && self.client.received == self.plan.down
            && self.client.saw_fin
            && self.read_finished;
        if complete {
            self.took.get_or_insert(self.now - self.start);
        }
    }

    fn has_vanished(&self) -> bool {
        self.plan.ending == Ending::ClientVanishes && self.received_up > 0
    }

    /// When something is due: the run is over when only records and idle limits are left.
    fn next_moment(&mut self, micros: i64) -> Option<Instant> {
        let timeout = self
            .stack
            .poll_timeout()
            .map(|(at, _)| at)
            .filter(|at| *at < self.now + LIMIT);
        let flows_left = self.stack.gauges().flows > 0;
        let client = if self.has_vanished() {
            None
        } else {
            self.client.next_at(micros)
        };
        let client = client.map(|delay| self.now + delay);
        let upstream = self
            .upstream_is_behind
            .then(|| self.now + Duration::from_millis(1));
        let moments = [
            upstream,
            self.to_stack.next_at(),
            self.to_client.next_at(),
            client,
            timeout.filter(|_| flows_left),
        ];
        moments.into_iter().flatten().min()
    }

    fn stack_turn(&mut self) {
        while let Some(packet) = self.to_stack.receive(self.now) {
            match self
                .stack
                .handle_packet(self.now, &packet, Offload::default())
            {
                Input::TcpSyn { flow, .. } => {
                    assert!(self.stack.tcp_accept(self.now, flow));
                    self.flow = Some(flow);
                }
                Input::Tcp(_) | Input::Handled => {}
                // What a reset client or an aborted flow leaves behind.
                Input::Unknown { packet, .. } => {
                    let _ = self
                        .stack
                        .reject(self.now, packet, tidegate_netstack::Refusal::Reset);
                }
                other @ (Input::Udp { .. }
                | Input::Echo { .. }
                | Input::TcpPayload { .. }
                | Input::Reassembled(_)
                | Input::Pass { .. }
                | Input::Dropped(_)) => panic!("unexpected {other:?}"),
            }
        }
        if self
            .stack
            .poll_timeout()
            .is_some_and(|(at, _)| at <= self.now)
        {
            self.stack.handle_timeout(self.now);
        }
        self.move_bytes();
        while let Some(sent) = self.stack.poll_transmit(self.now) {
            let packet = sent.parts().concat();
            self.largest_packet = self.largest_packet.max(packet.len());
            let mut segments = tidegate_netstack::emit::Segments::new(
                &packet,
                sent.offload(),
                MTU,
                &mut self.scratch,
            )
            .unwrap();
            while let Some(segment) = segments.next_packet() {
                if !self.saboteur.swallows(segment) {
                    self.to_client.send(self.now, segment);
                }
            }
        }
        while let Some(event) = self.stack.poll_event() {
            let Event::Closed(flow, reason) = event else {
                continue;
            };
            assert_eq!(Some(flow), self.flow);
            assert_eq!(self.closed.replace(reason), None, "closed twice");
        }
    }

    /// What a worker does with a flow: upstream takes what it may, and gives what fits.
    fn move_bytes(&mut self) {
        let Some(mut tcp) = self.flow.and_then(|flow| self.stack.tcp(flow)) else {
            return;
        };
        let mut allowance = self.plan.upstream_per_turn;
        while allowance > 0 {
            let readable = tcp.readable();
            let taken = readable.len().min(allowance);
            if taken == 0 {
                break;
            }
            for (at, byte) in readable[..taken].iter().enumerate() {
                assert_eq!(
                    *byte,
                    pattern(1, self.received_up + at),
                    "wrong byte up at {}",
                    self.received_up + at
                );
            }
            tcp.consume(taken);
            self.received_up += taken;
            allowance -= taken;
        }
        self.read_finished |= tcp.read_finished();
        self.upstream_is_behind = !tcp.readable().is_empty();
        if self.plan.ending == Ending::ServerAborts && self.received_up > self.plan.up / 2 {
            return tcp.abort();
        }
        if self.plan.ending == Ending::ClientFirst && !tcp.read_finished() {
            return;
        }
        while self.sent_down < self.plan.down {
            let room = tcp.writable();
            let filled = room.len().min(self.plan.down - self.sent_down);
            if filled == 0 {
                break;
            }
            for (at, byte) in room[..filled].iter_mut().enumerate() {
                *byte = pattern(2, self.sent_down + at);
            }
            tcp.commit(filled);
            self.sent_down += filled;
        }
        if self.sent_down == self.plan.down
            && !self.server_finished
            && self.plan.ending != Ending::ServerAborts
        {
            tcp.finish();
            self.server_finished = true;
        }
    }

    fn outcome(&self) -> Outcome {
        let gauges = self.stack.gauges();
        Outcome {
            plan: self.plan,
            received_up: self.received_up,
            received_down: self.client.received,
            closed: self.closed,
            client_was_reset: self.client.was_reset(),
            flows: gauges.flows,
            buffer_bytes: gauges.buffer_bytes,
            time_wait: gauges.time_wait,
            largest_packet: self.largest_packet,
            took: self.took,
            packets: (self.to_stack.offered(), self.to_client.offered()),
        }
    }
}
