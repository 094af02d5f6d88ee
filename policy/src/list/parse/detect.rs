//! How a list is written, by the look of its first lines.

use super::super::AddressRange;
use super::Format;
use crate::Name;

/// How many lines that say something are looked at.
const LINES: usize = 500;

/// The format that most lines have, of those that have any.
pub(super) fn format(first: &[u8]) -> Format {
    let text = String::from_utf8_lossy(first);
    let mut votes = [0_usize; Format::ALL.len()];
    let looks = text.lines().filter_map(|line| look(line.trim()));
    for format in looks.take(LINES) {
        votes[format as usize] += 1;
    }
    // A filter may hold bare names and hosts lines beside its rules; they are read the same there.
    if votes[Format::AdGuard as usize] > 0 {
        for other in [Format::Domains, Format::Hosts, Format::Wildcards] {
            votes[Format::AdGuard as usize] += std::mem::take(&mut votes[other as usize]);
        }
    }
    let mut best = Format::Domains;
    for format in Format::ALL {
        if votes[format as usize] > votes[best as usize] {
            best = format;
        }
    }
    best
}

/// The format of one line; absent where it could be any.
fn look(line: &str) -> Option<Format> {
    if line.starts_with("[Adblock") {
        return Some(Format::AdGuard);
    }
    if line.is_empty() || line.starts_with(['#', '!', '[', ';']) || line.starts_with("//") {
        return None;
    }
    if ["||", "@@", "|", "/", "://"]
        .iter()
        .any(|begin| line.starts_with(begin))
        || line.ends_with('^')
    {
        return Some(Format::AdGuard);
    }
    if ["address=/", "server=/", "local=/"]
        .iter()
        .any(|begin| line.starts_with(begin))
    {
        return Some(Format::Dnsmasq);
    }
    if ["local-zone:", "local-data:", "server:"]
        .iter()
        .any(|begin| line.starts_with(begin))
    {
        return Some(Format::Unbound);
    }
    let mut words = line.split_whitespace();
    let first = words.next()?;
    let is_record = |word: &str| {
        ["SOA", "CNAME", "NS"]
            .iter()
            .any(|kind| word.eq_ignore_ascii_case(kind))
    };
    if line.starts_with('$') || words.clone().any(is_record) {
        return Some(Format::Rpz);
    }
    if let Some(second) = words.next()
        && first
            .split('%')
            .next()
            .is_some_and(|address| address.parse::<std::net::IpAddr>().is_ok())
        && !second.starts_with([';', '#', '-'])
    {
        return Some(Format::Hosts);
    }
    let said = line.split([';', '#']).next().unwrap_or("").trim();
    if AddressRange::parse(said).is_some() {
        return Some(Format::Addresses);
    }
    if said.starts_with("*.") {
        return Some(Format::Wildcards);
    }
    if line.contains('$') {
        return Some(Format::AdGuard);
    }
    let name = said.strip_prefix('.').unwrap_or(said);
    Name::parse(name).is_ok().then_some(Format::Domains)
}
