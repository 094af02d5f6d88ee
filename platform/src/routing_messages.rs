//! Messages of Darwin's routing socket and of its dumps, from bytes and to bytes (route(4), net/route.h).
//!
//! A message is a header, whose first bytes are its length, a version and a kind, and a run of socket addresses: which ones,
//! says a bit set in the header. Pure functions over bytes, so every system tests them; only macOS sends any.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

mod addresses;
#[cfg(target_os = "macos")]
mod layout;

pub(crate) use addresses::{Gateway, without_scope};
use addresses::{Sockaddr, Writer};

/// Kinds of messages (`RTM_*`).
pub(crate) mod kind {
    pub(crate) const ADD: u8 = 1;
    pub(crate) const DELETE: u8 = 2;
    pub(crate) const CHANGE: u8 = 3;
    pub(crate) const GET: u8 = 4;
    pub(crate) const REDIRECT: u8 = 6;
    #[cfg(test)]
    pub(crate) const MISS: u8 = 7;
    pub(crate) const NEW_ADDRESS: u8 = 0xc;
    pub(crate) const OLD_ADDRESS: u8 = 0xd;
    pub(crate) const INTERFACE: u8 = 0xe;
}

/// Properties of routes (`RTF_*`).
pub(crate) mod flag {
    pub(crate) const UP: u32 = 0x1;
    pub(crate) const GATEWAY: u32 = 0x2;
    pub(crate) const HOST: u32 = 0x4;
    pub(crate) const REJECT: u32 = 0x8;
    pub(crate) const STATIC: u32 = 0x800;
    pub(crate) const BLACKHOLE: u32 = 0x1000;
    pub(crate) const WAS_CLONED: u32 = 0x2_0000;
    pub(crate) const PROTOCOL_3: u32 = 0x4_0000;
    pub(crate) const INTERFACE_SCOPE: u32 = 0x100_0000;
}

/// `RTM_VERSION`.
const VERSION: u8 = 5;
/// `struct rt_msghdr`.
pub(crate) const ROUTE_HEADER: usize = 92;

/// The messages in what one read or one dump gave; `None` for a remainder that is no message.
pub(crate) fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Option<&[u8]>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let message = first_message(bytes);
        bytes = message
            .and_then(|message| bytes.get(message.len()..))
            .unwrap_or_default();
        Some(message)
    })
}

fn first_message(bytes: &[u8]) -> Option<&[u8]> {
    let length = usize::from(u16::from_ne_bytes(*bytes.first_chunk()?));
    let message = bytes.get(..length)?;
    (*message.get(2)? == VERSION && kind_of(message).is_some()).then_some(message)
}

/// The kind of a message.
pub(crate) fn kind_of(message: &[u8]) -> Option<u8> {
    message.get(3).copied()
}

/// A message about one route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RouteMessage {
    /// `RTM_*`.
    pub(crate) kind: u8,
    /// Index of the interface; to be given where the route is scoped to it.
    pub(crate) index: u16,
    /// `RTF_*`.
    pub(crate) flags: u32,
    /// Who asked: process id.
    pub(crate) process: i32,
    /// Which of its requests.
    pub(crate) sequence: i32,
    /// Why it was refused: errno, 0 for done.
    pub(crate) error: i32,
    /// What it leads to.
    pub(crate) destination: Option<IpNet>,
    /// Where it leads.
    pub(crate) gateway: Option<Gateway>,
    /// The address of this host that programs send from (`RTA_IFA`).
    pub(crate) source: Option<IpAddr>,
}

impl RouteMessage {
    /// Reads a message of one of the kinds that carry a `struct rt_msghdr`; `None` for others and for what is malformed.
    /// A destination of another address family is left out.
    pub(crate) fn parse(message: &[u8]) -> Option<Self> {
        let kind = kind_of(message)?;
        let has_route_header = matches!(
            kind,
            kind::ADD | kind::DELETE | kind::CHANGE | kind::GET | kind::REDIRECT
        );
        if !has_route_header {
            return None;
        }
        let (header, rest) = message.split_at_checked(ROUTE_HEADER)?;
        let flags = u32::from_ne_bytes(bytes_at(header, 8)?);
        let set = u32::from_ne_bytes(bytes_at(header, 12)?);
        let addresses = Sockaddr::read_set(rest, set)?;
        Some(Self {
            kind,
            index: u16::from_ne_bytes(bytes_at(header, 4)?),
            flags,
            process: i32::from_ne_bytes(bytes_at(header, 16)?),
            sequence: i32::from_ne_bytes(bytes_at(header, 20)?),
            error: i32::from_ne_bytes(bytes_at(header, 24)?),
            destination: addresses.destination(flags & flag::HOST != 0),
            gateway: addresses.gateway(),
            source: addresses.source(),
        })
    }

    /// The message as the kernel reads it. Its length, version and set of addresses follow from the rest.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut flags = self.flags;
        let mut writer = Writer::new(ROUTE_HEADER);
        if let Some(destination) = self.destination {
            writer.destination(destination.network());
        }
        if let Some(gateway) = self.gateway {
            if matches!(gateway, Gateway::Address(_)) {
                flags |= flag::GATEWAY;
            }
            writer.gateway(gateway);
        }
        if let Some(destination) = self.destination {
            if is_host(destination) {
                flags |= flag::HOST;
            } else {
                writer.netmask(destination.netmask());
            }
        }
        if let Some(source) = self.source {
            writer.source(source);
        }
        let (set, mut bytes) = writer.finish();
        let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
        put(&mut bytes, 0, &length.to_ne_bytes());
        put(&mut bytes, 2, &[VERSION, self.kind]);
        put(&mut bytes, 4, &self.index.to_ne_bytes());
        put(&mut bytes, 8, &flags.to_ne_bytes());
        put(&mut bytes, 12, &set.to_ne_bytes());
        put(&mut bytes, 16, &self.process.to_ne_bytes());
        put(&mut bytes, 20, &self.sequence.to_ne_bytes());
        put(&mut bytes, 24, &self.error.to_ne_bytes());
        bytes
    }

    /// Whether traffic made this route, out of one that somebody configured.
    pub(crate) fn is_cloned(&self) -> bool {
        self.flags & flag::WAS_CLONED != 0
    }
}

/// Whether it is one address, which a route says by a flag instead of a mask.
pub(crate) fn is_host(destination: IpNet) -> bool {
    destination.prefix_len() == destination.max_prefix_len()
}

fn bytes_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + value.len()) {
        place.copy_from_slice(value);
    }
}

#[cfg(test)]
mod tests;
