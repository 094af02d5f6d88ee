//! The five scopes an address can lie in. Every address lies in exactly one.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How far an address reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// This host: 127.0.0.0/8, 0.0.0.0/8 (RFC 1122 section 3.2.1.3), `::1`, `::` (RFC 4291 sections 2.5.2 and 2.5.3).
    Loopback,
    /// This link: 169.254.0.0/16 (RFC 3927), fe80::/10 (RFC 4291 section 2.5.6).
    LinkLocal,
    /// Private networks: 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16 (RFC 1918), 100.64.0.0/10 (RFC 6598),
    /// fc00::/7 (RFC 4193).
    Lan,
    /// Many receivers: 224.0.0.0/4 (RFC 5771), 255.255.255.255 (RFC 919), ff00::/8 (RFC 4291 section 2.7).
    Multicast,
    /// Everything else.
    Internet,
}

impl Scope {
    /// All scopes.
    pub const ALL: [Self; 5] = [
        Self::Loopback,
        Self::LinkLocal,
        Self::Lan,
        Self::Multicast,
        Self::Internet,
    ];

    /// The scope that `address` lies in; an IPv4-mapped address is judged as IPv4.
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self::of_v4(v4),
            IpAddr::V6(v6) => Self::of_v6(v6),
        }
    }

    fn of_v4(address: Ipv4Addr) -> Self {
        match address.octets() {
            [0 | 127, ..] => Self::Loopback,
            [169, 254, ..] => Self::LinkLocal,
            [10, ..] | [192, 168, ..] | [172, 16..=31, ..] | [100, 64..=127, ..] => Self::Lan,
            [224..=239, ..] | [255, 255, 255, 255] => Self::Multicast,
            _ => Self::Internet,
        }
    }

    fn of_v6(address: Ipv6Addr) -> Self {
        if address.is_loopback() || address.is_unspecified() {
            Self::Loopback
        } else if address.is_unicast_link_local() {
            Self::LinkLocal
        } else if address.is_unique_local() {
            Self::Lan
        } else if address.is_multicast() {
            Self::Multicast
        } else {
            Self::Internet
        }
    }

    /// The scope of this name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.name() == text)
    }

    /// The name that rules use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Loopback => "loopback",
            Self::LinkLocal => "link-local",
            Self::Lan => "lan",
            Self::Multicast => "multicast",
            Self::Internet => "internet",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
