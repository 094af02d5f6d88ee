//! Lines of a response policy zone: a zone file whose names are what is asked for, and whose records what is done.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::super::{AddressRange, Effect, Reach};
use super::Reason;
use super::taking::{Taking, is_null};

/// What the lines before this one said.
#[derive(Debug, Default)]
pub(super) struct Zone {
    /// The zone's name, beneath which absolute names are.
    origin: Option<String>,
    /// The name of the record before.
    owner: Option<String>,
    /// Whether a record goes on over several lines.
    open: bool,
}

impl Zone {
    pub(super) fn line(&mut self, text: &str, indented: bool, taking: &mut Taking<'_>) {
        let text = text.split(';').next().unwrap_or("").trim_end();
        if text.is_empty() {
            return taking.comment();
        }
        if self.open || text.contains('(') {
            // Only the SOA is written so.
            let soa = self.open || is_soa(text);
            self.open = !text.contains(')');
            if !self.open && !soa {
                return taking.ignore(Reason::Unsupported);
            }
            self.begin(text);
            return taking.comment();
        }
        let mut words = text.split_whitespace();
        let Some(first) = words.next() else {
            return taking.comment();
        };
        if first.starts_with('$') {
            if first.eq_ignore_ascii_case("$ORIGIN") {
                self.origin = words.next().map(in_one_form);
            }
            return taking.comment();
        }
        if is_soa(text) {
            self.begin(text);
            return taking.comment();
        }
        let owner = if indented {
            words = text.split_whitespace();
            self.owner.clone()
        } else {
            Some(first.to_owned())
        };
        let Some(owner) = owner else {
            return taking.ignore(Reason::Syntax);
        };
        self.record(&owner, words, taking);
        self.owner = Some(owner);
    }

    /// Keeps the zone's name, which the SOA stands at.
    fn begin(&mut self, text: &str) {
        if !is_soa(text) {
            return;
        }
        let name = text.split_whitespace().next();
        self.owner = name.map(str::to_owned);
        if self.origin.is_none() {
            self.origin = name.filter(|name| name.ends_with('.')).map(in_one_form);
        }
    }

    fn record<'t>(
        &self,
        owner: &str,
        words: impl Iterator<Item = &'t str>,
        taking: &mut Taking<'_>,
    ) {
        let is_preface = |word: &&str| {
            word.bytes().all(|byte| byte.is_ascii_digit()) || word.eq_ignore_ascii_case("IN")
        };
        let mut words = words.skip_while(is_preface);
        let (Some(kind), Some(data)) = (words.next(), words.next()) else {
            return taking.ignore(Reason::Syntax);
        };
        let kind = kind.to_ascii_uppercase();
        if kind == "NS" {
            return taking.comment();
        }
        let effect = match (&*kind, &*data.to_ascii_lowercase()) {
            ("CNAME", "." | "*." | "rpz-drop.") => Effect::Block,
            ("CNAME", "rpz-passthru.") => Effect::Allow,
            ("CNAME", "rpz-tcp-only.") => return taking.ignore(Reason::Unsupported),
            ("A" | "AAAA", address) if is_null(address) => Effect::Block,
            _ => return taking.ignore(Reason::Rewrite),
        };
        let owner = self.relative(owner);
        let Some((trigger, label)) = owner
            .rsplit_once('.')
            .filter(|(_, l)| l.starts_with("rpz-"))
        else {
            return match owner.strip_prefix("*.") {
                Some(name) => taking.name(name, Reach::Below, effect),
                None => taking.name(&owner, Reach::Exact, effect),
            };
        };
        match (label, address(trigger)) {
            ("rpz-ip", Some(range)) => taking.addresses(range, effect),
            ("rpz-ip", None) => taking.ignore(Reason::NotAnAddress),
            _ => taking.ignore(Reason::Unsupported),
        }
    }

    /// An owner's name below the zone's.
    fn relative(&self, owner: &str) -> String {
        let Some(absolute) = owner.strip_suffix('.') else {
            return owner.to_lowercase();
        };
        let absolute = absolute.to_lowercase();
        let below = self.origin.as_deref().and_then(|origin| {
            let below = absolute.strip_suffix(origin)?;
            below.strip_suffix('.')
        });
        below.map_or_else(|| absolute.clone(), str::to_owned)
    }
}

fn is_soa(text: &str) -> bool {
    text.split_whitespace()
        .any(|word| word.eq_ignore_ascii_case("SOA"))
}

fn in_one_form(origin: &str) -> String {
    origin.trim_end_matches('.').to_lowercase()
}

/// `24.0.2.0.192` is 192.0.2.0/24; hextets of IPv6 stand in the same order, `zz` for the longest run of zeros.
fn address(trigger: &str) -> Option<AddressRange> {
    let mut parts = trigger.split('.');
    let prefix: u8 = parts.next()?.parse().ok()?;
    let parts: Vec<&str> = parts.rev().collect();
    let address: IpAddr = if parts.len() == 4 && !parts.contains(&"zz") {
        parts.join(".").parse::<Ipv4Addr>().ok()?.into()
    } else {
        let text = match parts.iter().position(|part| *part == "zz") {
            Some(at) => format!("{}::{}", parts[..at].join(":"), parts[at + 1..].join(":")),
            None => parts.join(":"),
        };
        text.parse::<Ipv6Addr>().ok()?.into()
    };
    let net = IpNet::new(address, prefix).ok()?;
    AddressRange::new(net.network(), net.broadcast())
}

/// The form that [`address`] reads; every hextet is written.
pub(in crate::list) fn trigger(net: IpNet) -> String {
    let mut parts: Vec<String> = match net.network() {
        IpAddr::V4(address) => address.octets().map(|part| part.to_string()).into(),
        IpAddr::V6(address) => address.segments().map(|part| format!("{part:x}")).into(),
    };
    parts.push(net.prefix_len().to_string());
    parts.reverse();
    parts.join(".")
}
