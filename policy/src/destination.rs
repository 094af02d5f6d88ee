//! Conditions on the other end: its address, its names, where it is, the lists it is on.

mod name_pattern;
mod place;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv4Subnets, Ipv6Subnets};

use crate::definitions::Definitions;
use crate::document::Refusal;
use crate::facts::{Fact, FlowFacts, Lists, Names};
use crate::feed::Feed;
use crate::scope::Scope;
use crate::truth::Truth;

pub use name_pattern::{NamePattern, NameRegex};
pub use place::{Continent, Country};

/// Characters that the name of a list or a set has at most.
const LONGEST_LABEL: usize = 64;

/// Where a rule applies.
///
/// IPv4-mapped IPv6 addresses (`::ffff:a.b.c.d`, RFC 4291 section 2.5.5.2) are read, and judged, as IPv4.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Destination {
    /// `*`
    Anywhere,
    /// `192.0.2.1` or `192.0.2.0/24`
    Net(IpNet),
    /// `192.0.2.10-192.0.2.20`: both of one family, in order, both included.
    Range(IpAddr, IpAddr),
    /// `lan`, `internet`, ...
    Scope(Scope),
    /// `example.com`, `.example.com`, `*.example.com`, `ads*.example.com`, `/^ads/`
    Name(NamePattern),
    /// `country:DE`
    Country(Country),
    /// `continent:EU`
    Continent(Continent),
    /// `as:13335`
    System(u32),
    /// `list:trackers`
    List(Arc<str>),
    /// `set:printers`: one of the destinations that the set holds.
    Set(Arc<str>),
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
        if let Some((kind, value)) = text.split_once(':')
            && let Some(destination) = parse_labelled(kind, value)
        {
            return destination;
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
        if let Some((first, last)) = text.split_once('-')
            && first.parse::<IpAddr>().is_ok()
        {
            return parse_range(text, first, last);
        }
        match NamePattern::parse(text) {
            Some(name) => name.map(Self::Name),
            None if text.contains('/') => parse_net(text),
            None => Err(not_a_destination(text)),
        }
    }

    /// Whether `address`, which must be canonical ([`IpAddr::to_canonical`]), lies here, by the address alone.
    pub fn contains(&self, address: IpAddr) -> bool {
        match self {
            Self::Anywhere => true,
            Self::Net(net) => net.contains(&address),
            Self::Range(first, last) => {
                first.is_ipv4() == address.is_ipv4() && (*first..=*last).contains(&address)
            }
            Self::Scope(scope) => *scope == Scope::of(address),
            Self::Name(_)
            | Self::Country(_)
            | Self::Continent(_)
            | Self::System(_)
            | Self::List(_)
            | Self::Set(_) => false,
        }
    }

    /// Whether the flow's other end is meant.
    pub(crate) fn truth(&self, facts: &FlowFacts<'_>, definitions: &Definitions) -> Truth {
        match self {
            Self::Anywhere | Self::Net(_) | Self::Range(..) | Self::Scope(_) => {
                Truth::of(self.contains(facts.other_end()))
            }
            Self::Name(pattern) => match facts.peer.names {
                Names::Awaited => Truth::Awaited,
                Names::Known([]) => Truth::Unknown,
                Names::Known(names) => {
                    Truth::of(names.iter().any(|known| pattern.matches(&known.name)))
                }
            },
            Self::Country(country) => truth_of(facts.peer.country, *country),
            Self::Continent(continent) => truth_of(facts.peer.continent, *continent),
            Self::System(system) => truth_of(facts.peer.system, *system),
            Self::List(list) => match (facts.peer.lists, definitions.list(list)) {
                (Lists::On(lists), Some(id)) if lists.contains(&id) => Truth::Holds,
                (Lists::Unknown, _) | (_, None) => Truth::Unknown,
                (_, Some(id)) if facts.peer.unloaded.contains(&id) => Truth::Unknown,
                (Lists::On(_), Some(_)) if matches!(facts.peer.names, Names::Awaited) => {
                    Truth::Awaited
                }
                (Lists::On(_), Some(_)) => Truth::Fails,
            },
            Self::Set(set) => {
                let members = definitions.members(set);
                let truths = members.map(|members| members.map(|to| to.truth(facts, definitions)));
                truths.map_or(Truth::Unknown, Truth::any)
            }
        }
    }

    /// The fact about the other end that is needed beside its address.
    pub fn feed(&self) -> Option<Feed> {
        match self {
            Self::Anywhere | Self::Net(_) | Self::Range(..) | Self::Scope(_) | Self::Set(_) => None,
            Self::Name(_) => Some(Feed::Names),
            Self::Country(_) | Self::Continent(_) | Self::System(_) => Some(Feed::Places),
            Self::List(_) => Some(Feed::Lists),
        }
    }

    /// The condition on the name.
    pub(crate) fn name(&self) -> Option<&NamePattern> {
        if let Self::Name(pattern) = self {
            Some(pattern)
        } else {
            None
        }
    }

    /// The list that is named.
    pub(crate) fn list(&self) -> Option<&Arc<str>> {
        if let Self::List(list) = self {
            Some(list)
        } else {
            None
        }
    }

    /// The set that is named.
    pub(crate) fn set(&self) -> Option<&Arc<str>> {
        if let Self::Set(set) = self {
            Some(set)
        } else {
            None
        }
    }

    /// Whether it may be that a name must be waited for.
    pub(crate) fn may_wait(&self, definitions: &Definitions) -> bool {
        let alone = |to: &Self| matches!(to, Self::Name(_) | Self::List(_));
        match self.set().map(|set| definitions.members(set)) {
            Some(members) => members.is_some_and(|mut members| members.any(alone)),
            None => alone(self),
        }
    }

    /// The networks that make up a network or a range; none for the rest.
    pub(crate) fn nets(&self) -> Vec<IpNet> {
        match *self {
            Self::Net(net) => vec![net],
            Self::Range(IpAddr::V4(first), IpAddr::V4(last)) => {
                Ipv4Subnets::new(first, last, 0).map(IpNet::V4).collect()
            }
            Self::Range(IpAddr::V6(first), IpAddr::V6(last)) => {
                Ipv6Subnets::new(first, last, 0).map(IpNet::V6).collect()
            }
            Self::Anywhere
            | Self::Range(..)
            | Self::Scope(_)
            | Self::Name(_)
            | Self::Country(_)
            | Self::Continent(_)
            | Self::System(_)
            | Self::List(_)
            | Self::Set(_) => Vec::new(),
        }
    }
}

fn truth_of<T: PartialEq>(fact: Fact<T>, wanted: T) -> Truth {
    match fact {
        Fact::Unknown => Truth::Unknown,
        Fact::Absent => Truth::Fails,
        Fact::Is(value) => Truth::of(value == wanted),
    }
}

/// What stands behind `country:` and its like; nothing if `kind` is none of them.
fn parse_labelled(kind: &str, value: &str) -> Option<Result<Destination, Refusal>> {
    Some(match kind {
        "country" => Country::parse(value)
            .map(Destination::Country)
            .ok_or_else(|| {
                Refusal::new(
                    format!("there is no country \"{value}\""),
                    "write the two letters of ISO 3166-1: country:DE, country:GB",
                )
            }),
        "continent" => Continent::parse(value)
            .map(Destination::Continent)
            .ok_or_else(|| {
                Refusal::new(
                    format!("there is no continent \"{value}\""),
                    "write one of AF, AN, AS, EU, NA, OC, SA",
                )
            }),
        "as" => value.parse().map(Destination::System).map_err(|_| {
            Refusal::new(
                format!("\"{value}\" is no number of an autonomous system"),
                "write as:13335",
            )
        }),
        "list" => label(value).map(Destination::List),
        "set" => label(value).map(Destination::Set),
        _ => return None,
    })
}

/// The name of a list or of a set.
pub(crate) fn label(text: &str) -> Result<Arc<str>, Refusal> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if (1..=LONGEST_LABEL).contains(&text.len()) && text.bytes().all(plain) {
        return Ok(text.into());
    }
    Err(Refusal::new(
        format!("\"{text}\" cannot name a list or a set"),
        "use up to 64 letters, digits, `-`, `_` and `.`",
    ))
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
        "write an address, a network (192.0.2.0/24), a range (192.0.2.1-192.0.2.9), a name (example.com; `printer.` if \
         it has one label), `*`, one of loopback, link-local, lan, multicast, internet, or country:, continent:, as:, \
         list:, set: with a value",
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
            Self::Name(name) => name.fmt(f),
            Self::Country(country) => write!(f, "country:{country}"),
            Self::Continent(continent) => write!(f, "continent:{continent}"),
            Self::System(number) => write!(f, "as:{number}"),
            Self::List(list) => write!(f, "list:{list}"),
            Self::Set(set) => write!(f, "set:{set}"),
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
            "example.com",
            "printer.",
            ".example.com",
            "*.example.com",
            "ads*.example.com",
            "/^ads/",
            "country:DE",
            "continent:EU",
            "as:13335",
            "list:trackers",
            "set:printers",
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
        fn no_text_makes_the_parser_panic(
            text in "(|country:|continent:|as:|list:|set:)[0-9a-fA-F:./%*?{},ü-]{0,30}",
        ) {
            if let Ok(destination) = Destination::parse(&text) {
                prop_assert_eq!(Destination::parse(&destination.to_string()), Ok(destination));
            }
        }
    }
}
