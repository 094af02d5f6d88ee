//! A policy routing rule: which packets, and what happens to them.
//!
//! The kernel tries rules by ascending preference and, among equals, in the order they were added (`fib_rules_lookup`).
//! A `goto` names a preference, not a rule: until a rule stands there the `goto` is skipped, and a target at or before
//! its own preference is refused. A lookup that finds no route goes on to the next rule; an `unreachable` route ends it.

use std::fmt;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// A socket mark and the bits of it that count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Mark {
    /// Bits that are set.
    pub value: u32,
    /// Bits that count.
    pub mask: u32,
}

/// Ports from `first` to `last`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PortRange {
    /// Lowest port.
    pub first: u16,
    /// Highest port.
    pub last: u16,
}

/// Address family of a rule or route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// One policy routing rule.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Rule {
    /// Address family.
    pub family: Family,
    /// Preference (`FRA_PRIORITY`): lower is tried first.
    pub preference: u32,
    /// Which packets.
    pub selector: Selector,
    /// What happens to them.
    pub action: RuleAction,
    /// Routing protocol number (`FRA_PROTOCOL`): who made the rule; 0 is unspecified.
    pub protocol: u8,
}

/// Which packets a rule takes: all of these conditions hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Selector {
    /// The whole selector is inverted (`ip rule add not ...`).
    pub not: bool,
    /// Packet mark.
    pub mark: Option<Mark>,
    /// Input interface; `lo` means: made on this host.
    pub input: Option<String>,
    /// Output interface that the socket is bound to.
    pub output: Option<String>,
    /// Source network.
    pub from: Option<IpNet>,
    /// Destination network.
    pub to: Option<IpNet>,
    /// IP protocol number.
    pub ip_protocol: Option<u8>,
    /// Source ports.
    pub source_ports: Option<PortRange>,
    /// Destination ports.
    pub destination_ports: Option<PortRange>,
}

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RuleAction {
    /// Look in this table.
    Lookup(u32),
    /// Go on at the rule with this preference.
    Goto(u32),
    /// Nothing: the target of a `goto`.
    Nop,
    /// Refuse, EACCES and ICMP administratively prohibited.
    Prohibit,
    /// Refuse, EHOSTUNREACH and ICMP host unreachable.
    Unreachable,
    /// Silence.
    Blackhole,
}

impl PortRange {
    /// Whether `port` lies inside.
    #[must_use]
    pub fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }
}

impl Family {
    /// Both families, in the order in which plans list them.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// The family of an address.
    #[must_use]
    pub fn of(address: std::net::IpAddr) -> Self {
        if address.is_ipv4() {
            Self::V4
        } else {
            Self::V6
        }
    }
}

/// As `ip rule show` prints it, so that a user can find the rule again.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} {}", self.preference, self.selector, self.action)?;
        match self.family {
            Family::V4 => Ok(()),
            Family::V6 => write!(f, " (IPv6)"),
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.not {
            write!(f, "not ")?;
        }
        match self.from {
            Some(from) => write!(f, "from {from}")?,
            None => write!(f, "from all")?,
        }
        if let Some(to) = self.to {
            write!(f, " to {to}")?;
        }
        match self.mark {
            // Said without its mask, a mark of 0 means any mark.
            Some(Mark { value: 0, mask }) => write!(f, " fwmark 0/{mask:#x}")?,
            Some(Mark {
                value,
                mask: u32::MAX,
            }) => write!(f, " fwmark {value:#x}")?,
            Some(Mark { value, mask }) => write!(f, " fwmark {value:#x}/{mask:#x}")?,
            None => {}
        }
        if let Some(input) = &self.input {
            write!(f, " iif {input}")?;
        }
        if let Some(output) = &self.output {
            write!(f, " oif {output}")?;
        }
        if let Some(protocol) = self.ip_protocol {
            write!(f, " ipproto {protocol}")?;
        }
        if let Some(ports) = self.source_ports {
            write!(f, " sport {ports}")?;
        }
        if let Some(ports) = self.destination_ports {
            write!(f, " dport {ports}")?;
        }
        Ok(())
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

impl fmt::Display for RuleAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lookup(table) => write!(f, "lookup {table}"),
            Self::Goto(preference) => write!(f, "goto {preference}"),
            Self::Nop => write!(f, "nop"),
            Self::Prohibit => write!(f, "prohibit"),
            Self::Unreachable => write!(f, "unreachable"),
            Self::Blackhole => write!(f, "blackhole"),
        }
    }
}
