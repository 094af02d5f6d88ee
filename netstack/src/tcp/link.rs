//! What smoltcp takes for a network interface, shared by all engines of a stack.
//!
//! smoltcp's `Interface` holds nothing of a connection in this set-up: any address is local, there are no routes, and the
//! socket set is an argument. So there is one for each address family, and its random generator is seeded anew for each
//! connection. The "device" beneath it is one packet in or one packet out, in the caller's buffers.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use smoltcp::iface::{Config, Interface, SocketSet};
use smoltcp::phy::{Checksum, Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant as SmolInstant;
use smoltcp::wire::HardwareAddress;

use crate::tcp::segment::MAX_BARE_SEGMENT;

/// Largest packet handed to the device at once, by the width of the IP length field.
const MAX_SUPER_PACKET: usize = 65_535;

/// What all engines of a stack share.
pub(crate) struct Link {
    v4: Side,
    v6: Side,
    pub(crate) mtu: usize,
    pub(crate) offloads: Offloads,
    /// Where smoltcp's clock starts: a second before the stack does, for it takes zero as "long ago".
    epoch: Instant,
}

/// What the device does for us on transmit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offloads {
    /// It cuts super-packets and completes checksums.
    Segmentation,
    /// Nothing.
    None,
}

/// Address family of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    pub(crate) fn of(address: IpAddr) -> Self {
        if address.is_ipv4() {
            Self::V4
        } else {
            Self::V6
        }
    }
}

/// What engines of one address family share.
struct Side {
    interface: Interface,
    capabilities: DeviceCapabilities,
}

impl Link {
    pub(crate) fn new(mtu: usize, offloads: Offloads, now: Instant) -> Self {
        let mut v4 = DeviceCapabilities::default();
        v4.medium = Medium::Ip;
        v4.max_transmission_unit = mtu;
        // What comes in was verified before (or vouched for by the device).
        v4.checksum.ipv4 = Checksum::Tx;
        v4.checksum.tcp = Checksum::Tx;
        let mut v6 = v4.clone();
        if offloads == Offloads::Segmentation {
            v4.checksum.tcp = Checksum::None;
            v4.segmentation.tcpv4 = NonZeroUsize::new(MAX_SUPER_PACKET);
            v6.checksum.tcp = Checksum::None;
            v6.segmentation.tcpv6 = NonZeroUsize::new(MAX_SUPER_PACKET);
            // smoltcp 0.14 drops IPv6 packets beyond the MTU even where the device segments: `Engine` sets right what it
            // concludes from this.
            v6.max_transmission_unit = MAX_SUPER_PACKET;
        }
        let epoch = now.checked_sub(Duration::from_secs(1)).unwrap_or(now);
        Self {
            v4: Side::new(v4),
            v6: Side::new(v6),
            mtu,
            offloads,
            epoch,
        }
    }

    /// smoltcp's clock.
    pub(crate) fn clock(&self, now: Instant) -> SmolInstant {
        let elapsed = now.saturating_duration_since(self.epoch).as_micros();
        SmolInstant::from_micros(i64::try_from(elapsed).unwrap_or(i64::MAX))
    }

    /// Seeds the generator that the next connection takes its initial sequence number from.
    pub(crate) fn reseed(&mut self, family: Family, seed: u64) {
        let side = self.side(family);
        side.interface = interface(&side.capabilities, seed);
    }

    /// Gives a packet to the one socket of `sockets`; a packet that it answers at once is put into `answer`, and its length
    /// comes back.
    pub(crate) fn feed(
        &mut self,
        family: Family,
        clock: SmolInstant,
        packet: &[u8],
        answer: &mut [u8],
        sockets: &mut SocketSet<'static>,
    ) -> Option<usize> {
        let Side {
            interface,
            capabilities,
        } = self.side(family);
        let mut port = Port {
            capabilities,
            inbound: Some(packet),
            outbound: answer,
            sent: None,
        };
        interface.poll_ingress_single(clock, &mut port, sockets);
        port.sent
    }

    /// Puts the next packet of the one socket of `sockets` into `buffer`; its length comes back.
    pub(crate) fn draw(
        &mut self,
        family: Family,
        clock: SmolInstant,
        buffer: &mut [u8],
        sockets: &mut SocketSet<'static>,
    ) -> Option<usize> {
        let Side {
            interface,
            capabilities,
        } = self.side(family);
        let mut port = Port {
            capabilities,
            inbound: None,
            outbound: buffer,
            sent: None,
        };
        interface.poll_egress(clock, &mut port, sockets);
        port.sent
    }

    /// In how long the one socket of `sockets` has something to do.
    pub(crate) fn poll_delay(
        &mut self,
        family: Family,
        clock: SmolInstant,
        sockets: &SocketSet<'static>,
    ) -> Option<Duration> {
        let at = self.side(family).interface.poll_at(clock, sockets)?;
        let micros = at.total_micros().saturating_sub(clock.total_micros());
        Some(Duration::from_micros(u64::try_from(micros).unwrap_or(0)))
    }

    fn side(&mut self, family: Family) -> &mut Side {
        match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        }
    }
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link")
            .field("mtu", &self.mtu)
            .field("offloads", &self.offloads)
            .finish_non_exhaustive()
    }
}

impl Side {
    fn new(capabilities: DeviceCapabilities) -> Self {
        let interface = interface(&capabilities, 0);
        Self {
            interface,
            capabilities,
        }
    }
}

fn interface(capabilities: &DeviceCapabilities, seed: u64) -> Interface {
    let mut config = Config::new(HardwareAddress::Ip);
    config.random_seed = seed;
    let mut port = Port {
        capabilities,
        inbound: None,
        outbound: &mut [],
        sent: None,
    };
    let mut interface = Interface::new(config, &mut port, SmolInstant::ZERO);
    interface.set_any_ip(true);
    interface
}

/// The device: one packet in at most, one packet out at most.
struct Port<'p> {
    capabilities: &'p DeviceCapabilities,
    inbound: Option<&'p [u8]>,
    outbound: &'p mut [u8],
    /// Length of the packet that smoltcp wrote.
    sent: Option<usize>,
}

struct Inbound<'p>(&'p [u8]);

struct Outbound<'p> {
    buffer: &'p mut [u8],
    sent: &'p mut Option<usize>,
}

impl Device for Port<'_> {
    type RxToken<'a>
        = Inbound<'a>
    where
        Self: 'a;
    type TxToken<'a>
        = Outbound<'a>
    where
        Self: 'a;

    fn receive(&mut self, _: SmolInstant) -> Option<(Self::RxToken<'_>, Self::TxToken<'_>)> {
        let inbound = Inbound(self.inbound.take()?);
        Some((
            inbound,
            Outbound {
                buffer: self.outbound,
                sent: &mut self.sent,
            },
        ))
    }

    fn transmit(&mut self, _: SmolInstant) -> Option<Self::TxToken<'_>> {
        let free = self.sent.is_none() && self.outbound.len() >= MAX_BARE_SEGMENT;
        free.then_some(Outbound {
            buffer: self.outbound,
            sent: &mut self.sent,
        })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        self.capabilities.clone()
    }
}

impl RxToken for Inbound<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}

impl TxToken for Outbound<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        match self.buffer.get_mut(..len) {
            Some(buffer) => {
                *self.sent = Some(len);
                f(buffer)
            }
            // Lost, as on a full link: answers are smaller than their buffer, and nothing answers a SYN at once.
            None => f(&mut vec![0; len]),
        }
    }
}
