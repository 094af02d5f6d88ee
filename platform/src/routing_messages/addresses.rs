//! The socket addresses behind the header of a routing message (sys/socket.h, netinet/in.h, net/if_dl.h of Darwin).
//!
//! Each begins with its own length and its family, and takes a multiple of four bytes. Netmasks are cut short: zeros at
//! their end are left out, and their family means nothing.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{IpAddr, Ipv4Addr, Ipv6Addr, bytes_at};

/// Address families of Darwin.
pub(super) const INET: u8 = 2;
pub(super) const LINK: u8 = 18;
pub(super) const INET6: u8 = 30;
/// Lengths of `sockaddr_in`, `sockaddr_in6`, `sockaddr_dl`.
pub(super) const INET_LEN: u8 = 16;
pub(super) const INET6_LEN: u8 = 28;
pub(super) const LINK_LEN: u8 = 20;
/// Where the address stands in `sockaddr_in` and `sockaddr_in6`.
pub(super) const INET_ADDRESS: usize = 4;
pub(super) const INET6_ADDRESS: usize = 8;

/// Which addresses there are (`RTAX_*`), in this order; the bit set has bit `1 << n` for the nth.
const DESTINATION: u32 = 0;
const GATEWAY: u32 = 1;
const NETMASK: u32 = 2;
const SOURCE: u32 = 5;
const KINDS: u32 = 8;

/// Where a route leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gateway {
    /// To a router.
    Address(IpAddr),
    /// Onto an interface, by index.
    Interface(u16),
}

/// One socket address: its bytes from the length on, without what fills it up.
#[derive(Clone, Copy)]
pub(super) struct Sockaddr<'b>(&'b [u8]);

/// The addresses of a message.
#[derive(Default)]
pub(super) struct Addresses<'b>([Option<Sockaddr<'b>>; KINDS as usize]);

impl<'b> Sockaddr<'b> {
    /// The addresses that `set` names; `None` if one is cut off.
    pub(super) fn read_set(mut bytes: &'b [u8], set: u32) -> Option<Addresses<'b>> {
        let mut addresses = Addresses::default();
        for (kind, place) in (0..KINDS).zip(&mut addresses.0) {
            if set & (1 << kind) == 0 {
                continue;
            }
            let length = usize::from(*bytes.first()?);
            *place = Some(Self(bytes.get(..length)?));
            // The last one may lack its filling.
            bytes = bytes.get(taken(length)..).unwrap_or_default();
        }
        Some(addresses)
    }

    fn family(self) -> Option<u8> {
        self.0.get(1).copied()
    }

    fn ip(self) -> Option<IpAddr> {
        match self.family()? {
            INET => Some(Ipv4Addr::from(bytes_at::<4>(self.0, INET_ADDRESS)?).into()),
            INET6 => {
                let bytes = bytes_at::<16>(self.0, INET6_ADDRESS)?;
                Some(without_scope(Ipv6Addr::from(bytes)).into())
            }
            _ => None,
        }
    }

    fn interface(self) -> Option<u16> {
        (self.family()? == LINK).then(|| bytes_at(self.0, 2).map(u16::from_ne_bytes))?
    }

    /// The bytes from `at` on, zeros where there are none.
    fn padded<const N: usize>(self, at: usize) -> [u8; N] {
        let mut padded = [0; N];
        for (byte, place) in self.0.iter().skip(at).zip(&mut padded) {
            *place = *byte;
        }
        padded
    }
}

impl Addresses<'_> {
    fn of(&self, kind: u32) -> Option<Sockaddr<'_>> {
        *self.0.get(usize::try_from(kind).ok()?)?
    }

    /// The destination with its mask. Without a mask it is a host, or everything if it is the unspecified address.
    pub(super) fn destination(&self, host: bool) -> Option<IpNet> {
        let address = self.of(DESTINATION)?.ip()?;
        match (self.of(NETMASK), address) {
            (None, _) if host || !address.is_unspecified() => Some(IpNet::from(address)),
            (None, _) => IpNet::new(address, 0).ok(),
            (Some(mask), IpAddr::V4(address)) => {
                let mask = Ipv4Addr::from(mask.padded::<4>(INET_ADDRESS));
                Some(Ipv4Net::with_netmask(address, mask).ok()?.trunc().into())
            }
            (Some(mask), IpAddr::V6(address)) => {
                let mask = Ipv6Addr::from(mask.padded::<16>(INET6_ADDRESS));
                Some(Ipv6Net::with_netmask(address, mask).ok()?.trunc().into())
            }
        }
    }

    pub(super) fn gateway(&self) -> Option<Gateway> {
        let gateway = self.of(GATEWAY)?;
        let address = gateway.ip().map(Gateway::Address);
        address.or_else(|| gateway.interface().map(Gateway::Interface))
    }

    pub(super) fn source(&self) -> Option<IpAddr> {
        self.of(SOURCE)?.ip()
    }
}

/// Darwin keeps the interface of a link-local address in its second group; on the wire and to users that is zero.
pub(crate) fn without_scope(address: Ipv6Addr) -> Ipv6Addr {
    if !address.is_unicast_link_local() {
        return address;
    }
    let mut groups = address.segments();
    groups[1] = 0;
    Ipv6Addr::from(groups)
}

/// How many bytes an address of this length takes.
fn taken(length: usize) -> usize {
    length.max(1).next_multiple_of(4)
}

/// Puts addresses behind a header. They have to come in the order of their kinds.
pub(super) struct Writer {
    set: u32,
    bytes: Vec<u8>,
}

impl Writer {
    pub(super) fn new(header: usize) -> Self {
        Self {
            set: 0,
            bytes: vec![0; header],
        }
    }

    pub(super) fn destination(&mut self, address: IpAddr) {
        self.ip(DESTINATION, address);
    }

    pub(super) fn gateway(&mut self, gateway: Gateway) {
        match gateway {
            Gateway::Address(address) => self.ip(GATEWAY, address),
            Gateway::Interface(index) => {
                let [low, high] = index.to_ne_bytes();
                self.add(GATEWAY, LINK_LEN, &[LINK_LEN, LINK, low, high]);
            }
        }
    }

    pub(super) fn netmask(&mut self, mask: IpAddr) {
        self.ip(NETMASK, mask);
    }

    pub(super) fn source(&mut self, address: IpAddr) {
        self.ip(SOURCE, address);
    }

    /// The set of addresses, and the message with room for its header.
    pub(super) fn finish(self) -> (u32, Vec<u8>) {
        (self.set, self.bytes)
    }

    fn ip(&mut self, kind: u32, address: IpAddr) {
        match address {
            IpAddr::V4(address) => {
                let head = [INET_LEN, INET, 0, 0];
                self.add(kind, INET_LEN, &[&head[..], &address.octets()].concat());
            }
            IpAddr::V6(address) => {
                let head = [INET6_LEN, INET6, 0, 0, 0, 0, 0, 0];
                self.add(kind, INET6_LEN, &[&head[..], &address.octets()].concat());
            }
        }
    }

    /// Adds an address of `length` bytes that begins with `head`; the rest is zero.
    fn add(&mut self, kind: u32, length: u8, head: &[u8]) {
        self.set |= 1 << kind;
        let end = self.bytes.len() + taken(usize::from(length));
        self.bytes.extend_from_slice(head);
        self.bytes.resize(end, 0);
    }
}
