//! Addresses that follow one another.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// Addresses from one to another, both included, of one family. An IPv4 address mapped into IPv6 is IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AddressRange {
    /// Of IPv4.
    V4(Ipv4Addr, Ipv4Addr),
    /// Of IPv6.
    V6(Ipv6Addr, Ipv6Addr),
}

impl AddressRange {
    /// The range between two addresses, where they are of one family and in order.
    pub fn new(first: IpAddr, last: IpAddr) -> Option<Self> {
        match (first.to_canonical(), last.to_canonical()) {
            (IpAddr::V4(first), IpAddr::V4(last)) if first <= last => Some(Self::V4(first, last)),
            (IpAddr::V6(first), IpAddr::V6(last)) if first <= last => Some(Self::V6(first, last)),
            _ => None,
        }
    }

    /// Reads an address, a network or `first-last`.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some((first, last)) = text.split_once('-') {
            return Self::new(first.trim().parse().ok()?, last.trim().parse().ok()?);
        }
        if text.contains('/') {
            let net: IpNet = text.parse().ok()?;
            return Self::new(net.network(), net.broadcast());
        }
        let address = text.parse().ok()?;
        Self::new(address, address)
    }

    /// Whether it is every address of its family.
    pub fn is_whole_family(&self) -> bool {
        match self {
            Self::V4(first, last) => first.to_bits() == 0 && last.to_bits() == u32::MAX,
            Self::V6(first, last) => first.to_bits() == 0 && last.to_bits() == u128::MAX,
        }
    }

    /// The first and the last address.
    pub fn ends(&self) -> (IpAddr, IpAddr) {
        match *self {
            Self::V4(first, last) => (first.into(), last.into()),
            Self::V6(first, last) => (first.into(), last.into()),
        }
    }

    /// The one address, where it is one.
    pub fn single(&self) -> Option<IpAddr> {
        let (first, last) = self.ends();
        (first == last).then_some(first)
    }

    /// The one network it is, where it is one.
    pub fn net(&self) -> Option<IpNet> {
        let (first, last) = self.ends();
        let (width, differing) = match (first, last) {
            (IpAddr::V4(first), IpAddr::V4(last)) => {
                (32, 32 - (first.to_bits() ^ last.to_bits()).leading_zeros())
            }
            (IpAddr::V6(first), IpAddr::V6(last)) => (
                128,
                128 - (first.to_bits() ^ last.to_bits()).leading_zeros(),
            ),
            _ => return None,
        };
        let prefix = u8::try_from(width - differing).ok()?;
        let net = IpNet::new(first, prefix).ok()?;
        (net.network() == first && net.broadcast() == last).then_some(net)
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = self.ends();
        if first == last {
            return first.fmt(f);
        }
        match self.net() {
            Some(net) => net.fmt(f),
            None => write!(f, "{first}-{last}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_form_is_a_range() {
        for (text, written) in [
            ("192.0.2.7", "192.0.2.7"),
            ("192.0.2.7/24", "192.0.2.0/24"),
            ("192.0.2.0 - 192.0.2.255", "192.0.2.0/24"),
            ("192.0.2.1-192.0.2.9", "192.0.2.1-192.0.2.9"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("2001:db8::/32", "2001:db8::/32"),
        ] {
            assert_eq!(AddressRange::parse(text).unwrap().to_string(), written);
        }
        for text in [
            "",
            "1.2.3",
            "192.0.2.9-192.0.2.1",
            "192.0.2.1-::1",
            "1.2.3.4/33",
            "a",
        ] {
            assert_eq!(AddressRange::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_the_same(first: u32, length in 0_u32..70_000, v6: bool) {
            let last = first.saturating_add(length);
            let range = if v6 {
                AddressRange::V6(Ipv6Addr::from_bits(u128::from(first) << 96), Ipv6Addr::from_bits(u128::from(last) << 96))
            } else {
                AddressRange::V4(first.into(), last.into())
            };
            prop_assert_eq!(AddressRange::parse(&range.to_string()), Some(range));
        }
    }
}
