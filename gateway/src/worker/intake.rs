//! What comes out of the device: to its flow, to one that begins with it, or to who knows strangers.

use std::time::Instant;

use tidegate_netstack::{FlowId, FlowIs, Input, Offload};

use super::Worker;
use super::entry::Path;
use super::udp::Shape;

impl Worker {
    /// Takes a packet that came out of the device, or was put together from such.
    pub(super) fn take(&mut self, now: Instant, packet: &[u8], offload: Offload) {
        let input = self.stack.handle_packet(now, packet, offload);
        self.act_on(now, packet, offload, input);
    }

    fn act_on(&mut self, now: Instant, packet: &[u8], offload: Offload, input: Input<'_>) {
        match input {
            // The stack counts what it drops.
            Input::Handled | Input::Dropped(_) => {}
            Input::TcpSyn { flow, hop_limit } => self.begin(now, flow, Path::tcp(hop_limit)),
            Input::Tcp(flow) => self.enqueue(flow),
            Input::TcpPayload { flow, payload } => self.send_up(now, flow, payload),
            Input::Udp {
                flow,
                is,
                payload,
                segment,
                fragmentation,
                hop_limit,
                ..
            } => {
                let shape = Shape {
                    segment,
                    fragmentation,
                    hop_limit,
                };
                self.take_datagram(now, flow, is, payload, shape, (packet, offload));
            }
            Input::Echo {
                flow,
                is,
                sequence,
                payload,
                hop_limit,
            } => {
                let is_there = match is {
                    FlowIs::New => self.begin_echo(now, flow),
                    FlowIs::Known if self.ends_with_its_speaker(now, flow) => {
                        return self.take(now, packet, offload);
                    }
                    FlowIs::Known => true,
                };
                if is_there {
                    self.echo_from_program(flow, sequence, payload, hop_limit);
                }
            }
            Input::Reassembled(packet) => {
                let input = self.stack.handle_reassembled(now, &packet);
                self.act_on(now, &packet, Offload::default(), input);
            }
            Input::Pass { flow, .. } if self.ends_with_its_speaker(now, flow) => {
                self.take(now, packet, offload);
            }
            Input::Pass { flow, packet } => self.pass_on(now, flow, packet, offload),
            Input::Unknown { class, key, packet } => {
                self.stranger(now, class, key, packet, offload)
            }
        }
    }

    /// `whole` is the packet, for where the stack must be asked again.
    fn take_datagram(
        &mut self,
        now: Instant,
        flow: FlowId,
        is: FlowIs,
        payload: &[u8],
        shape: Shape,
        whole: (&[u8], Offload),
    ) {
        match is {
            FlowIs::New if self.probe.takes(payload) => self.stack.forget(flow),
            FlowIs::New => self.begin_udp(now, flow, payload, shape, whole),
            FlowIs::Known if self.ends_with_its_speaker(now, flow) => {
                self.take(now, whole.0, whole.1);
            }
            FlowIs::Known => self.datagram_from_program(flow, payload, shape),
        }
    }
}
