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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_edges_of_each_scope_are_where_the_rfcs_put_them() {
        let edges = "
            0.0.0.0 loopback | 0.255.255.255 loopback | 1.0.0.0 internet
            9.255.255.255 internet | 10.0.0.0 lan | 10.255.255.255 lan | 11.0.0.0 internet
            100.63.255.255 internet | 100.64.0.0 lan | 100.127.255.255 lan | 100.128.0.0 internet
            126.255.255.255 internet | 127.0.0.0 loopback | 127.255.255.255 loopback | 128.0.0.0 internet
            169.253.255.255 internet | 169.254.0.0 link-local | 169.254.255.255 link-local | 169.255.0.0 internet
            172.15.255.255 internet | 172.16.0.0 lan | 172.31.255.255 lan | 172.32.0.0 internet
            192.167.255.255 internet | 192.168.0.0 lan | 192.168.255.255 lan | 192.169.0.0 internet
            223.255.255.255 internet | 224.0.0.0 multicast | 239.255.255.255 multicast | 240.0.0.0 internet
            255.255.255.254 internet | 255.255.255.255 multicast
            :: loopback | ::1 loopback | ::2 internet | 2001:db8::1 internet
            fbff:ffff::1 internet | fc00:: lan | fdff:ffff::1 lan | fe00::1 internet
            fe7f:ffff::1 internet | fe80:: link-local | febf:ffff::1 link-local | fec0:: internet
            feff:ffff::1 internet | ff00:: multicast | ff02::1 multicast
            ::ffff:10.0.0.1 lan | ::ffff:127.0.0.1 loopback | ::ffff:8.8.8.8 internet";
        for edge in edges
            .split(['|', '\n'])
            .map(str::trim)
            .filter(|edge| !edge.is_empty())
        {
            let (address, scope) = edge.split_once(' ').unwrap();
            assert_eq!(
                Scope::of(address.parse().unwrap()).name(),
                scope,
                "{address}"
            );
        }
    }

    #[test]
    fn names_are_read_back() {
        for scope in Scope::ALL {
            assert_eq!(Scope::parse(&scope.to_string()), Some(scope));
        }
        assert_eq!(Scope::parse("LAN"), None);
    }
}
