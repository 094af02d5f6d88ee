//! Any sequence of packets, verdicts and pauses: the stack never panics and never holds more than it may.
#![no_main]

use std::num::NonZeroU16;
use std::time::{Duration, Instant};

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use tidegate_netstack::{FlowId, Input, Offload, Refusal, Segmentation, Stack, StackConfig};

const MAX_FLOWS: usize = 16;
const BUFFER_BUDGET: usize = 256 << 10;

#[derive(Arbitrary, Debug)]
enum Step {
    /// Bytes as they are.
    Raw {
        packet: Vec<u8>,
        device: Device,
    },
    /// A TCP segment with right sums, on one of a few tuples.
    Tcp {
        v6: bool,
        port: u8,
        sequence: u16,
        acknowledgement: i16,
        flags: u8,
        payload: u16,
    },
    /// A UDP datagram with right sums.
    Udp {
        v6: bool,
        port: u8,
        payload: u16,
    },
    /// A fragment with a right header sum.
    Fragment {
        identification: u8,
        offset: u8,
        more: bool,
        payload: Vec<u8>,
    },
    /// The caller moves bytes of the last flow.
    Move {
        consume: u16,
        commit: u16,
    },
    Finish,
    Abort,
    Refuse(u8),
    Wait {
        millis: u16,
    },
}

#[derive(Arbitrary, Debug)]
struct Device {
    partial_checksum: bool,
    checksum_valid: bool,
    tcp: u16,
    udp: u16,
}

impl From<&Device> for Offload {
    fn from(device: &Device) -> Self {
        let tcp = NonZeroU16::new(device.tcp).map(Segmentation::Tcp);
        let udp = NonZeroU16::new(device.udp).map(Segmentation::Udp);
        Self {
            partial_checksum: device.partial_checksum,
            checksum_valid: device.checksum_valid,
            segmentation: tcp.or(udp),
        }
    }
}

#[derive(Arbitrary, Debug)]
struct Script {
    offload: bool,
    services: bool,
    steps: Vec<Step>,
}

struct Driver {
    stack: Stack,
    now: Instant,
    last: Option<FlowId>,
    /// The stack's next sequence number on the last connection, as a program would know it.
    next: u32,
}

fuzz_target!(|script: Script| {
    let now = Instant::now();
    let config = StackConfig {
        segmentation_offload: script.offload,
        ephemeral_ports: script.services.then_some(32_768..=60_999),
        max_flows: MAX_FLOWS,
        max_half_open: 4,
        buffer_budget: BUFFER_BUDGET,
        receive_window: 64 << 10,
        seed: 1,
        ..StackConfig::default()
    };
    let mut driver = Driver {
        stack: Stack::new(config, now),
        now,
        last: None,
        next: 0,
    };
    for step in script.steps {
        driver.take(step);
        driver.drain();
    }
});

impl Driver {
    fn take(&mut self, step: Step) {
        match step {
            Step::Raw { packet, device } => self.put(&packet, Offload::from(&device)),
            Step::Tcp {
                v6,
                port,
                sequence,
                acknowledgement,
                flags,
                payload,
            } => {
                let acknowledgement = self.next.wrapping_add_signed(i32::from(acknowledgement));
                let mut packet = Vec::new();
                let tcp = ip(v6).tcp(
                    40_000 + u16::from(port % 4),
                    443,
                    u32::from(sequence),
                    60_000,
                );
                let _ = tcp
                    .ack(acknowledgement)
                    .write(&mut packet, &vec![7; usize::from(payload % 3_000)]);
                let at = if v6 { 40 } else { 20 };
                packet[at + 13] = flags;
                self.put(
                    &packet,
                    Offload {
                        checksum_valid: true,
                        ..Offload::default()
                    },
                );
            }
            Step::Udp { v6, port, payload } => {
                let mut packet = Vec::new();
                let udp = ip(v6).udp(40_000 + u16::from(port), 53);
                let _ = udp.write(&mut packet, &vec![7; usize::from(payload % 3_000)]);
                self.put(&packet, Offload::default());
            }
            Step::Fragment {
                identification,
                offset,
                more,
                payload,
            } => {
                let mut header =
                    etherparse::Ipv4Header::new(0, 64, etherparse::IpNumber::UDP, LOCAL, REMOTE)
                        .expect("an empty payload fits");
                header.identification = u16::from(identification % 4);
                header.dont_fragment = false;
                header.more_fragments = more;
                header.fragment_offset = u16::from(offset)
                    .try_into()
                    .expect("eight bits fit into thirteen");
                let mut packet = Vec::new();
                let ip = etherparse::IpHeaders::Ipv4(header, etherparse::Ipv4Extensions::default());
                let _ = etherparse::PacketBuilder::ip(ip).write(
                    &mut packet,
                    etherparse::IpNumber::UDP,
                    &payload,
                );
                self.put(&packet, Offload::default());
            }
            Step::Move { consume, commit } => {
                if let Some(mut tcp) = self.last.and_then(|flow| self.stack.tcp(flow)) {
                    let readable = tcp.readable().len();
                    tcp.consume(readable.min(usize::from(consume)));
                    let room = tcp.writable().len();
                    tcp.commit(room.min(usize::from(commit)));
                }
            }
            Step::Finish => {
                if let Some(mut tcp) = self.last.and_then(|flow| self.stack.tcp(flow)) {
                    tcp.finish();
                }
            }
            Step::Abort => {
                if let Some(tcp) = self.last.and_then(|flow| self.stack.tcp(flow)) {
                    tcp.abort();
                }
            }
            Step::Refuse(how) => {
                if let Some(flow) = self.last {
                    self.stack.refuse(self.now, flow, refusal(how));
                }
            }
            Step::Wait { millis } => {
                self.now += Duration::from_millis(u64::from(millis) * 10);
                self.stack.handle_timeout(self.now);
            }
        }
    }

    fn put(&mut self, packet: &[u8], offload: Offload) {
        let input = self.stack.handle_packet(self.now, packet, offload);
        self.act(input);
    }

    fn act(&mut self, input: Input<'_>) {
        match input {
            Input::TcpSyn { flow, .. } => {
                self.last = Some(flow);
                self.stack.tcp_accept(self.now, flow);
            }
            Input::Udp {
                flow,
                payload,
                segment,
                ..
            } => {
                self.last = Some(flow);
                if self
                    .stack
                    .udp_head(self.now, flow, payload, segment)
                    .is_err()
                {
                    let _ = self.stack.udp_send_fragmented(self.now, flow, payload);
                }
            }
            Input::Echo {
                flow,
                sequence,
                payload,
                ..
            } => {
                self.last = Some(flow);
                let _ = self
                    .stack
                    .echo_reply_head(self.now, flow, sequence, payload);
            }
            Input::Reassembled(whole) => {
                let input = self.stack.handle_reassembled(self.now, &whole);
                self.act(input);
            }
            Input::Unknown { key, packet, .. } => {
                let how = packet.last().copied().unwrap_or_default();
                let _ = self.stack.reject(self.now, packet, refusal(how));
                if how % 3 == 0 {
                    self.last = self.stack.pass(self.now, key).ok();
                }
            }
            Input::TcpPayload { flow, payload } => {
                if let Some(mut tcp) = self.stack.tcp(flow) {
                    tcp.take_in(payload, payload.len() / 2);
                }
            }
            Input::Handled | Input::Tcp(_) | Input::Pass { .. } | Input::Dropped(_) => {}
        }
    }

    fn drain(&mut self) {
        while let Some(transmit) = self.stack.poll_transmit(self.now) {
            let packet = transmit.parts().concat();
            let mut scratch = Vec::new();
            let mut segments = tidegate_netstack::emit::Segments::new(
                &packet,
                transmit.offload(),
                1_500,
                &mut scratch,
            )
            .expect("what the stack writes can be cut");
            while let Some(packet) = segments.next_packet() {
                assert!(packet.len() <= 1_500);
                if let Ok(sliced) = etherparse::SlicedPacket::from_ip(packet)
                    && let Some(etherparse::TransportSlice::Tcp(tcp)) = sliced.transport
                {
                    let control = u32::from(tcp.syn()) + u32::from(tcp.fin());
                    self.next = tcp.sequence_number().wrapping_add(control);
                }
            }
        }
        while self.stack.poll_event().is_some() {}
        if let Some((at, _)) = self.stack.poll_timeout() {
            assert!(
                at + Duration::from_secs(700) > self.now,
                "a deadline that nobody keeps"
            );
        }
        let gauges = self.stack.gauges();
        assert!(
            gauges.flows <= MAX_FLOWS
                && gauges.half_open <= 4
                && gauges.buffer_bytes <= BUFFER_BUDGET
        );
    }
}

const LOCAL: [u8; 4] = [10, 0, 0, 1];
const REMOTE: [u8; 4] = [203, 0, 113, 9];

fn ip(v6: bool) -> etherparse::PacketBuilderStep<etherparse::IpHeaders> {
    if v6 {
        etherparse::PacketBuilder::ipv6([0xfd; 16], [0x20; 16], 64)
    } else {
        etherparse::PacketBuilder::ipv4(LOCAL, REMOTE, 64)
    }
}

fn refusal(how: u8) -> Refusal {
    match how % 5 {
        0 => Refusal::Reset,
        1 => Refusal::NetworkUnreachable,
        2 => Refusal::HostUnreachable,
        3 => Refusal::Prohibited,
        _ => Refusal::Silence,
    }
}
