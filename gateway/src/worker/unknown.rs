//! Packets of no flow of ours: services of this host, connections older than us, and what is left.
//!
//! The stack says what such a packet is ([`UnknownClass`]); here it is judged, and re-emitted as it is or refused. A flow
//! that passes stays with the stack as `pass`, so that only its first packet takes this way.

use std::time::Instant;

use tidegate_netstack::emit::{readdressed, reset_in_place_of};
use tidegate_netstack::{DropReason, FlowId, FlowKey, Offload, Refusal, UnknownClass};
use tidegate_platform::emit::{EmitError, RawEmitter};
use tidegate_policy::Direction;
use tidegate_routing::flow::State;

use super::entry::{Entry, Judged, Path};
use super::identify::{Identify, Inner};
use super::speaker::Speaking;
use super::waiting::Waiting;
use super::{Worker, count};
use crate::config::Existing;
use crate::record::Carriage;

/// Packets that wait for one flow's verdict; TCP sends again what is over.
const WAITING: usize = 16;

/// What happens to packets of no flow of ours.
#[derive(Debug)]
pub enum Strangers {
    /// Nothing inside an exec capture can be reached from outside or is older than the capture: refused.
    Refuse,
    /// Under host capture they belong to services and to connections older than us.
    Host {
        /// Sends them on.
        emitter: RawEmitter,
        /// MTU of the uplink.
        mtu: usize,
        /// What happens to connections older than us.
        existing: Existing,
    },
}

/// Who spoke first.
#[derive(Clone, Copy)]
pub(super) enum Way {
    /// Known.
    One(Direction),
    /// Most likely the peer, to a service; but it was not seen, and a program may send from such a port on its own.
    Unseen,
}

/// A flow whose packets are re-emitted.
pub(super) struct PassPath {
    waiting: Waiting<Offload>,
    /// Of a UDP flow.
    pub(super) speaking: Speaking,
}

impl Worker {
    pub(super) fn stranger(
        &mut self,
        now: Instant,
        class: UnknownClass,
        key: FlowKey,
        packet: &[u8],
        offload: Offload,
    ) {
        let Strangers::Host { existing, .. } = self.strangers else {
            return self.refuse_stranger(now, class, packet);
        };
        let first = Some((packet, offload));
        let inner = match class {
            UnknownClass::EchoReplyOrError => None,
            UnknownClass::Reset
            | UnknownClass::SynAck
            | UnknownClass::ServiceDatagram
            | UnknownClass::OtherProtocol
            | UnknownClass::Segment => self.identify.inner(&key),
        };
        match class {
            UnknownClass::EchoReplyOrError => self.emit(now, packet, offload, None),
            UnknownClass::Reset => match inner {
                Some(inner) if inner.is_masqueraded(&key) => {}
                inner => self.emit(now, packet, offload, translated(inner, &key)),
            },
            UnknownClass::SynAck => {
                let way = Way::One(self.identify.way_of_syn_ack(&key));
                self.begin_pass(now, key, inner, way, Carriage::Passed, first);
            }
            UnknownClass::ServiceDatagram => {
                self.begin_service(now, key, inner, (packet, offload));
            }
            UnknownClass::OtherProtocol => {
                let way = Way::One(Direction::Out);
                self.begin_pass(now, key, inner, way, Carriage::Passed, first);
            }
            UnknownClass::Segment => {
                match (existing, self.identify.way_of_segment(&key, inner.as_ref())) {
                    // What programs have opened since our start ends here, so this is older.
                    (Existing::Pass, Some(way @ Direction::Out)) => {
                        self.begin_pass(now, key, inner, Way::One(way), Carriage::Existing, first);
                    }
                    // A service's client may be older, or one whose flow has idled.
                    (_, Some(way @ Direction::In)) => {
                        self.begin_pass(now, key, inner, Way::One(way), Carriage::Passed, first);
                    }
                    (Existing::Reset, Some(Direction::Out)) => match self.identify {
                        Identify::Host(_) => self.abort_older(now, key, packet),
                        Identify::Forwarded(_) => self.answer(now, packet, Refusal::Reset),
                    },
                    (_, None) => self.answer(now, packet, Refusal::Reset),
                }
            }
        }
    }

    /// Whether a new flow's datagram is a service's answer from a port that clients get too. Inside an exec capture there are
    /// no services.
    pub(super) fn answers_unasked(&mut self, key: &FlowKey, inner: Option<&Inner>) -> bool {
        !matches!(self.strangers, Strangers::Refuse) && self.identify.is_answer(key, inner)
    }

    /// A datagram that may be a service's answer has come.
    pub(super) fn begin_service(
        &mut self,
        now: Instant,
        key: FlowKey,
        inner: Option<Inner>,
        first: (&[u8], Offload),
    ) {
        let seen = inner.and_then(|inner| inner.direction);
        let way = seen.map_or(Way::Unseen, Way::One);
        self.begin_pass(now, key, inner, way, Carriage::Passed, Some(first));
    }

    fn refuse_stranger(&mut self, now: Instant, class: UnknownClass, packet: &[u8]) {
        match class {
            UnknownClass::Reset | UnknownClass::EchoReplyOrError => {}
            UnknownClass::SynAck | UnknownClass::Segment => {
                self.answer(now, packet, Refusal::Reset)
            }
            UnknownClass::ServiceDatagram | UnknownClass::OtherProtocol => {
                self.answer(now, packet, Refusal::Prohibited);
            }
        }
    }

    pub(super) fn answer(&mut self, now: Instant, packet: &[u8], refusal: Refusal) {
        if let Err(reason) = self.stack.reject(now, packet, refusal) {
            tracing::trace!(reason = reason.name(), "a stranger was not answered");
        }
    }

    /// Passes what comes of this tuple if the policy lets it; `first` is what has come.
    pub(super) fn begin_pass(
        &mut self,
        now: Instant,
        key: FlowKey,
        inner: Option<Inner>,
        way: Way,
        carriage: Carriage,
        first: Option<(&[u8], Offload)>,
    ) {
        match self.stack.pass(now, key) {
            Ok(flow) => {
                let path = Path::Pass(PassPath {
                    waiting: Waiting::default(),
                    speaking: Speaking::default(),
                });
                let (direction, judged) = match way {
                    Way::One(direction) => (direction, Judged::OneWay),
                    Way::Unseen => (Direction::In, Judged::EitherWay),
                };
                let entry = Entry {
                    judged,
                    ..self.entry(key, inner, direction, carriage, path)
                };
                self.flows.insert(flow, entry);
                if let Some((packet, offload)) = first {
                    self.pass_on(now, flow, packet, offload);
                }
                self.drive(now, flow);
            }
            Err(reason) => tracing::trace!(reason = reason.name(), "no room for a passed flow"),
        }
    }

    /// A packet of a flow that passes came out of the device.
    pub(super) fn pass_on(&mut self, now: Instant, flow: FlowId, packet: &[u8], offload: Offload) {
        let Some(entry) = self.flows.get_mut(&flow) else {
            return;
        };
        let Path::Pass(path) = &mut entry.path else {
            return;
        };
        if entry.life.state() == State::Open {
            entry.record.add_bytes_up(count(packet.len()));
            let inner = translated(entry.inner, &entry.key);
            self.emit(now, packet, offload, inner);
        } else {
            if !path.waiting.push(&mut self.room, WAITING, packet, offload) {
                self.drop_packet(DropReason::TooManyHalfOpen);
            }
            self.hold(flow);
        }
    }

    pub(super) fn open_passed(&mut self, flow: FlowId) {
        self.note_dialed(flow, Ok(()));
    }

    /// The verdict is in: what waited goes on.
    pub(super) fn release_passed(&mut self, now: Instant, flow: FlowId) {
        let Some(Path::Pass(path)) = self.flows.get_mut(&flow).map(|entry| &mut entry.path) else {
            return;
        };
        for (packet, offload) in path.waiting.take(&mut self.room) {
            self.pass_on(now, flow, &packet, offload);
        }
    }

    /// The verdict is in: both sides of the connection are told, or nobody is.
    pub(super) fn refuse_passed(&mut self, now: Instant, flow: FlowId, refusal: Refusal) {
        let Some(entry) = self.flows.get_mut(&flow) else {
            return;
        };
        let inner = translated(entry.inner, &entry.key);
        let Path::Pass(path) = &mut entry.path else {
            return;
        };
        let waiting = path.waiting.take(&mut self.room);
        if waiting.is_empty() && refusal != Refusal::Silence {
            self.abort_programs(&[flow]);
        }
        if refusal != Refusal::Silence
            && let Some((packet, _)) = waiting.first()
        {
            self.answer(now, packet, refusal);
            if let Some(reset) = reset_in_place_of(packet) {
                self.emit(now, &reset, Offload::default(), inner);
            }
        }
        // Under silence the stack absorbs what comes again, instead of a new flow and a new record for each packet.
        self.stack.refuse(now, flow, refusal);
    }

    pub(super) fn release_pass(&mut self, mut path: PassPath) {
        path.waiting.take(&mut self.room);
    }

    /// Sends a packet on as it is, or as it was on the `inner` side of the host's address translation. That has changed it on
    /// its way to us, and does so again on its way out: to what is changed already it has no key. Who sent it is told what fits
    /// where its way out has a smaller MTU than our device.
    fn emit(&mut self, now: Instant, packet: &[u8], offload: Offload, inner: Option<Inner>) {
        let Strangers::Host { emitter, mtu, .. } = &mut self.strangers else {
            return;
        };
        let outgoing = match inner {
            None => packet,
            Some(Inner {
                source,
                destination,
                ..
            }) => match readdressed(packet, offload, source, destination, &mut self.readdressed) {
                Ok(()) => &self.readdressed,
                Err(reason) => return self.drop_packet(reason),
            },
        };
        let Err(error) = emitter.send(outgoing, offload, *mtu) else {
            return;
        };
        tracing::trace!(%error, "a packet could not be re-emitted");
        self.shared.counters.packets_dropped.add("not re-emitted");
        if let EmitError::TooBig(Some(mtu)) = error
            && let Err(reason) = self.stack.reject_too_big(now, packet, mtu)
        {
            tracing::trace!(reason = reason.name(), "nobody was told what fits");
        }
    }
}

/// The inner side of a flow that it is another side of.
fn translated(inner: Option<Inner>, key: &FlowKey) -> Option<Inner> {
    inner.filter(|inner| inner.is_translated(key))
}
