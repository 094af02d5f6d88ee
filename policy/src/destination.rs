//! Conditions on the other end's address: an address, a network, a range, a scope, or anywhere.

use std::fmt;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv4Subnets, Ipv6Subnets};

use crate::document::Refusal;
use crate::scope::Scope;

/// Where a rule applies.
///
/// IPv4-mapped IPv6 addresses (`::ffff:a.b.c.d`, RFC 4291 section 2.5.5.2) are read, and judged, as IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Destination {
    /// `*`
    Anywhere,
    /// `192.0.2.1` or `192.0.2.0/24`
    Net(IpNet),
    /// `192.0.2.10-192.0.2.20`: both of one family, in order, both included.
    Range(IpAddr, IpAddr),
    /// `lan`, `internet`, ...
    Scope(Scope),
}

impl Destination {
    /// Reads a destination as it stands in `to`.
    ///
    /// # Errors
    ///
    /// Anything but the forms above, a network with host bits set, and a range that is empty or mixes families.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        if text == "*" {
            return Ok(Self::Anywhere);
        }
        if let Some(scope) = Scope::parse(text) {
            return Ok(Self::Scope(scope));
        }
        if text.contains('%') {
            return Err(Refusal::new(
                format!("\"{text}\" names an interface"),
                "leave out the part from `%` on",
            ));
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::Net(address.to_canonical().into()));
        }
        if text.contains('/') {
            return parse_net(text);
        }
        match text.split_once('-') {
            Some((first, last)) if first.parse::<IpAddr>().is_ok() => {
                parse_range(text, first, last)
            }
            _ => Err(not_a_destination(text)),
        }
    }

    /// Whether `address`, which must be canonical ([`IpAddr::to_canonical`]), lies here.
    pub fn contains(&self, address: IpAddr) -> bool {
        match self {
            Self::Anywhere => true,
            Self::Net(net) => net.contains(&address),
            Self::Range(first, last) => {
                first.is_ipv4() == address.is_ipv4() && (*first..=*last).contains(&address)
            }
            Self::Scope(scope) => *scope == Scope::of(address),
        }
    }

    /// The networks that make up a network or a range; none for the rest.
    pub(crate) fn nets(&self) -> Vec<IpNet> {
        match *self {
            Self::Anywhere | Self::Scope(_) => Vec::new(),
            Self::Net(net) => vec![net],
            Self::Range(IpAddr::V4(first), IpAddr::V4(last)) => {
                Ipv4Subnets::new(first, last, 0).map(IpNet::V4).collect()
            }
            Self::Range(IpAddr::V6(first), IpAddr::V6(last)) => {
                Ipv6Subnets::new(first, last, 0).map(IpNet::V6).collect()
            }
            Self::Range(..) => Vec::new(),
        }
    }
}

fn parse_net(text: &str) -> Result<Destination, Refusal> {
    let net: IpNet = text.parse().map_err(|_| not_a_destination(text))?;
    let net = unmapped(net);
    if net.addr() != net.network() {
        let hint = format!(
            "write \"{}\" for the network, or the address alone",
            net.trunc()
        );
        return Err(Refusal::new(
            format!("\"{text}\" is a network with host bits set"),
            hint,
        ));
    }
    Ok(Destination::Net(net))
}

/// A network within `::ffff:0:0/96` as the IPv4 network that it maps.
fn unmapped(net: IpNet) -> IpNet {
    let IpNet::V6(v6) = net else { return net };
    let v4 = v6
        .addr()
        .to_ipv4_mapped()
        .zip(v6.prefix_len().checked_sub(96));
    v4.and_then(|(address, length)| Ipv4Net::new(address, length).ok())
        .map_or(net, IpNet::V4)
}

fn parse_range(text: &str, first: &str, last: &str) -> Result<Destination, Refusal> {
    let parse = |end: &str| {
        end.parse::<IpAddr>()
            .map(|address| address.to_canonical())
            .map_err(|_| not_a_destination(text))
    };
    let (first, last) = (parse(first)?, parse(last)?);
    if first.is_ipv4() != last.is_ipv4() {
        return Err(Refusal::new(
            format!("\"{text}\" mixes IPv4 and IPv6"),
            "write one range for each",
        ));
    }
    if last < first {
        return Err(Refusal::new(
            format!("\"{text}\" runs backwards"),
            format!("write \"{last}-{first}\""),
        ));
    }
    Ok(Destination::Range(first, last))
}

fn not_a_destination(text: &str) -> Refusal {
    Refusal::new(
        format!("\"{text}\" is no destination"),
        "write an address, a network (192.0.2.0/24), a range (192.0.2.1-192.0.2.9), `*`, \
         or one of loopback, link-local, lan, multicast, internet",
    )
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anywhere => f.write_str("*"),
            Self::Net(net) if net.prefix_len() == net.max_prefix_len() => net.addr().fmt(f),
            Self::Net(net) => net.fmt(f),
            Self::Range(first, last) => write!(f, "{first}-{last}"),
            Self::Scope(scope) => scope.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn contains(destination: &str, address: &str) -> bool {
        let address: IpAddr = address.parse().unwrap();
        Destination::parse(destination)
            .unwrap()
            .contains(address.to_canonical())
    }

    #[test]
    fn each_form_holds_what_it_says() {
        assert!(contains("*", "203.0.113.7") && contains("*", "2001:db8::7"));
        assert!(contains("192.0.2.7", "192.0.2.7") && !contains("192.0.2.7", "192.0.2.8"));
        assert!(contains("192.0.2.0/24", "192.0.2.255") && !contains("192.0.2.0/24", "192.0.3.0"));
        assert!(
            contains("2001:db8::/32", "2001:db8:ffff::1")
                && !contains("2001:db8::/32", "2001:db9::")
        );
        assert!(
            contains("192.0.2.9-192.0.2.11", "192.0.2.9")
                && contains("192.0.2.9-192.0.2.11", "192.0.2.11")
        );
        assert!(
            !contains("192.0.2.9-192.0.2.11", "192.0.2.8")
                && !contains("192.0.2.9-192.0.2.11", "192.0.2.12")
        );
        assert!(contains("fe80::1-fe80::3", "fe80::2") && !contains("fe80::1-fe80::3", "fe80::4"));
        assert!(contains("internet", "203.0.113.7") && !contains("internet", "10.0.0.1"));
    }

    #[test]
    fn mapped_addresses_are_ipv4_on_both_sides() {
        assert!(contains("192.0.2.7", "::ffff:192.0.2.7"));
        assert!(contains("::ffff:192.0.2.7", "192.0.2.7"));
        assert!(contains("::ffff:192.0.2.0/120", "192.0.2.99"));
        assert!(contains("::ffff:192.0.2.1-192.0.2.9", "192.0.2.5"));
        assert!(!contains("::/0", "192.0.2.7") && !contains("::/0", "::ffff:192.0.2.7"));
        assert!(!contains("0.0.0.0/0", "2001:db8::1"));
    }

    #[test]
    fn the_form_is_read_back_as_written() {
        for text in [
            "*",
            "192.0.2.7",
            "192.0.2.0/24",
            "2001:db8::/32",
            "192.0.2.1-192.0.2.9",
            "link-local",
        ] {
            assert_eq!(Destination::parse(text).unwrap().to_string(), text);
        }
    }

    proptest! {
        #[test]
        fn the_networks_of_a_range_are_the_range(first: u32, length: u32, probe: u32) {
            let first_to_last = (first.into(), first.saturating_add(length).into());
            let range = Destination::Range(IpAddr::V4(first_to_last.0), IpAddr::V4(first_to_last.1));
            for probe in [probe, first, first.wrapping_sub(1), first_to_last.1.into()] {
                let probe = IpAddr::V4(probe.into());
                let within = range.nets().iter().filter(|net| net.contains(&probe)).count();
                prop_assert_eq!(within, usize::from(range.contains(probe)));
            }
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "[0-9a-f:./%*-]{0,30}") {
            if let Ok(destination) = Destination::parse(&text) {
                prop_assert_eq!(Destination::parse(&destination.to_string()), Ok(destination));
            }
        }
    }
}
