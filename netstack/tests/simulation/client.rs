//! The program: a smoltcp client, which judges us. It sends SACK blocks, and so sees them used.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr};

use crate::world::{Ending, MTU, Plan, pattern};

const PORT: u16 = 40_000;

/// The program.
pub(crate) struct Client {
    interface: Interface,
    device: Queues,
    sockets: SocketSet<'static>,
    handle: SocketHandle,
    sent: usize,
    pub(crate) received: usize,
    pub(crate) saw_fin: bool,
    finished: bool,
}

impl Client {
    pub(crate) fn new(plan: &Plan) -> Self {
        let mut device = Queues::default();
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = plan.seed;
        let mut interface = Interface::new(config, &mut device, smoltcp::time::Instant::ZERO);
        let (own, far): (IpAddr, IpAddr) = if plan.v6 {
            (
                Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1).into(),
                Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9).into(),
            )
        } else {
            (
                Ipv4Addr::new(10, 0, 0, 1).into(),
                Ipv4Addr::new(203, 0, 113, 9).into(),
            )
        };
        interface.update_ip_addrs(|addresses| {
            // A prefix of 0 puts every destination on the link: smoltcp is built without routes here.
            addresses
                .push(IpCidr::new(IpAddress::from(own), 0))
                .unwrap();
        });
        let mut socket = Socket::new(
            SocketBuffer::new(vec![0; 200_000]),
            SocketBuffer::new(vec![0; 200_000]),
        );
        socket.set_nagle_enabled(false);
        let mut sockets = SocketSet::new(vec![]);
        socket
            .connect(interface.context(), (IpAddress::from(far), 443), PORT)
            .unwrap();
        let handle = sockets.add(socket);
        Self {
            interface,
            device,
            sockets,
            handle,
            sent: 0,
            received: 0,
            saw_fin: false,
            finished: false,
        }
    }

    pub(crate) fn turn(&mut self, plan: &Plan, micros: i64, server_finished: bool) {
        let now = smoltcp::time::Instant::from_micros(micros);
        self.interface
            .poll(now, &mut self.device, &mut self.sockets);
        let socket = self.sockets.get_mut::<Socket<'_>>(self.handle);
        while socket.can_recv() {
            let received = &mut self.received;
            socket
                .recv(|bytes| {
                    for (at, byte) in bytes.iter().enumerate() {
                        assert_eq!(
                            *byte,
                            pattern(2, *received + at),
                            "wrong byte down at {}",
                            *received + at
                        );
                    }
                    *received += bytes.len();
                    (bytes.len(), ())
                })
                .unwrap();
        }
        self.saw_fin |= matches!(
            socket.recv_slice(&mut [0]),
            Err(smoltcp::socket::tcp::RecvError::Finished)
        );
        let may_send = plan.ending != Ending::ServerFirst || self.saw_fin && server_finished;
        while may_send && self.sent < plan.up && socket.can_send() {
            let sent = &mut self.sent;
            socket
                .send(|room| {
                    let filled = room.len().min(plan.up - *sent);
                    for (at, byte) in room[..filled].iter_mut().enumerate() {
                        *byte = pattern(1, *sent + at);
                    }
                    *sent += filled;
                    (filled, ())
                })
                .unwrap();
        }
        if plan.ending == Ending::ClientAborts && self.received > plan.down / 2 {
            socket.abort();
        } else if self.sent == plan.up && may_send && !self.finished {
            socket.close();
            self.finished = true;
        }
        self.interface
            .poll(now, &mut self.device, &mut self.sockets);
    }

    /// What the program has for the device.
    pub(crate) fn take_packet(&mut self) -> Option<Vec<u8>> {
        self.device.outbox.pop_front()
    }

    /// A packet for the program.
    pub(crate) fn give_packet(&mut self, packet: Vec<u8>) {
        self.device.inbox.push_back(packet);
    }

    pub(crate) fn was_reset(&self) -> bool {
        let socket = self.sockets.get::<Socket<'_>>(self.handle);
        socket.state() == State::Closed && !self.saw_fin
    }

    pub(crate) fn next_at(&mut self, micros: i64) -> Option<Duration> {
        let now = smoltcp::time::Instant::from_micros(micros);
        if self.sockets.get::<Socket<'_>>(self.handle).state() == State::TimeWait {
            return None;
        }
        let delay = self.interface.poll_delay(now, &self.sockets)?;
        Some(Duration::from_micros(delay.total_micros()))
    }
}

/// A device made of two queues.
#[derive(Default)]
struct Queues {
    inbox: VecDeque<Vec<u8>>,
    outbox: VecDeque<Vec<u8>>,
}

struct Inbound(Vec<u8>);
struct Outbound<'q>(&'q mut VecDeque<Vec<u8>>);

impl Device for Queues {
    type RxToken<'a> = Inbound;
    type TxToken<'a> = Outbound<'a>;

    fn receive(&mut self, _: smoltcp::time::Instant) -> Option<(Inbound, Outbound<'_>)> {
        Some((Inbound(self.inbox.pop_front()?), Outbound(&mut self.outbox)))
    }

    fn transmit(&mut self, _: smoltcp::time::Instant) -> Option<Outbound<'_>> {
        Some(Outbound(&mut self.outbox))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = MTU;
        capabilities
    }
}

impl RxToken for Inbound {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl TxToken for Outbound<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut packet = vec![0; len];
        let result = f(&mut packet);
        self.0.push_back(packet);
        result
    }
}
