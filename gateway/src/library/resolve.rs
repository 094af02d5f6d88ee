//! Addresses of servers that lists are fetched from, asked past our own capture.
//!
//! The C library's resolver would send from a socket without our mark, and what comes back into our own device is no way
//! out. So the host's resolvers are asked directly: for A and AAAA, by UDP (RFC 1035, RFC 6891).

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};
use tidegate_platform::bypass::Bypass;
use tidegate_platform::random;
use tidegate_platform::resolvers::Resolvers;
use tidegate_policy::Name;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

const HOSTS: &str = "/etc/hosts";
const HTTPS: u16 = 443;
const A: u16 = 1;
const AAAA: u16 = 28;
const HEADER: usize = 12;
/// What an answer has at most (RFC 9715).
const LARGEST: u16 = 1232;
/// How long one resolver may take, and how often all are asked.
const PATIENCE: Duration = Duration::from_secs(2);
const ROUNDS: usize = 2;
/// As many addresses as are tried.
const MOST: usize = 16;

/// Asks the host's resolvers.
#[derive(Debug)]
pub(super) struct PastCapture(pub(super) Bypass);

impl Resolver for PastCapture {
    fn resolve(
        &self,
        uri: &Uri,
        _: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let host = uri.host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let until = Instant::now().checked_add(*timeout.after);
        let addresses = match host.parse() {
            Ok(address) => vec![address],
            Err(_) => self.look_up(host, until).map_err(ureq::Error::Io)?,
        };
        if addresses.is_empty() {
            return Err(ureq::Error::HostNotFound);
        }
        let mut resolved = self.empty();
        for address in addresses.into_iter().take(MOST) {
            resolved.push(SocketAddr::new(address, uri.port_u16().unwrap_or(HTTPS)));
        }
        Ok(resolved)
    }
}

impl PastCapture {
    fn look_up(&self, host: &str, until: Option<Instant>) -> io::Result<Vec<IpAddr>> {
        let name = Name::parse(host).map_err(|refusal| io::Error::other(refusal.message))?;
        let known = of_hosts_file(&fs::read_to_string(HOSTS).unwrap_or_default(), &name);
        if !known.is_empty() {
            return Ok(known);
        }
        let servers = Resolvers::of_host()?.servers;
        let mut failure = io::Error::other("the host has no resolver");
        for server in std::iter::repeat_n(&servers, ROUNDS).flatten() {
            if until.is_some_and(|until| Instant::now() >= until) {
                break;
            }
            let mut found = Vec::new();
            for kind in [A, AAAA] {
                match self.ask(*server, &name, kind) {
                    Ok(addresses) => found.extend(addresses),
                    Err(error) => failure = error,
                }
            }
            if !found.is_empty() {
                return Ok(found);
            }
        }
        Err(failure)
    }

    fn ask(&self, server: SocketAddr, name: &Name, kind: u16) -> io::Result<Vec<IpAddr>> {
        let domain = Domain::for_address(server);
        let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
        self.0.apply(&socket)?;
        // Answers of others are not heard.
        socket.connect(&server.into())?;
        let socket = UdpSocket::from(socket);
        let id = u16::try_from(random::seed()? & 0xffff).unwrap_or_default();
        let question = question(name, kind);
        socket.send(&message(id, &question))?;
        let until = Instant::now() + PATIENCE;
        let mut answer = vec![0; usize::from(LARGEST)];
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            socket.set_read_timeout(Some(left))?;
            let length = socket.recv(&mut answer)?;
            if let Some(addresses) = addresses(&answer[..length], id, &question) {
                return addresses;
            }
        }
    }
}

/// The addresses that a hosts file (hosts(5)) has for a name.
fn of_hosts_file(text: &str, name: &Name) -> Vec<IpAddr> {
    let lines = text
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default());
    let found = lines.filter_map(|line| {
        let mut words = line.split_whitespace();
        let address = words.next()?.parse().ok()?;
        let is_meant = words.any(|word| word.eq_ignore_ascii_case(name.as_str()));
        is_meant.then_some(address)
    });
    found.collect()
}

/// Name, type, and class `IN`.
fn question(name: &Name, kind: u16) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.as_str().split('.') {
        // A label of a name has at most 63 bytes.
        bytes.push(u8::try_from(label.len()).unwrap_or_default());
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes.extend(kind.to_be_bytes());
    bytes.extend([0, 1]);
    bytes
}

/// One question, recursion desired, and an OPT record that says how large an answer may be.
fn message(id: u16, question: &[u8]) -> Vec<u8> {
    let mut bytes = id.to_be_bytes().to_vec();
    bytes.extend([0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 1]);
    bytes.extend(question);
    bytes.extend([0, 0, 41]);
    bytes.extend(LARGEST.to_be_bytes());
    bytes.extend([0; 6]);
    bytes
}

/// The addresses in an answer to this question; none: it is no answer to it.
fn addresses(bytes: &[u8], id: u16, question: &[u8]) -> Option<io::Result<Vec<IpAddr>>> {
    const RESPONSE: u8 = 0x80;
    const CODE: u8 = 0x0f;
    let header: &[u8; HEADER] = bytes.first_chunk()?;
    let repeated = bytes.get(HEADER..HEADER + question.len())?;
    let is_answer = header[..2] == id.to_be_bytes()
        && header[2] & RESPONSE != 0
        && header[4..6] == [0, 1]
        && repeated.eq_ignore_ascii_case(question);
    if !is_answer {
        return None;
    }
    match header[3] & CODE {
        0 => {}
        3 => return Some(Err(io::Error::other("there is no such name"))),
        code => {
            return Some(Err(io::Error::other(format!(
                "the resolver answers code {code}"
            ))));
        }
    }
    let count = u16::from_be_bytes([header[6], header[7]]);
    let mut rest = bytes.get(HEADER + question.len()..)?;
    let mut found = Vec::new();
    for _ in 0..count {
        let Some((kind, data, after)) = record(rest) else {
            break;
        };
        rest = after;
        if kind == A
            && let Ok(address) = <[u8; 4]>::try_from(data)
        {
            found.push(Ipv4Addr::from(address).into());
        } else if kind == AAAA
            && let Ok(address) = <[u8; 16]>::try_from(data)
        {
            found.push(Ipv6Addr::from(address).into());
        }
    }
    Some(Ok(found))
}

/// A record's type and data, and what follows it.
fn record(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let mut rest = bytes;
    loop {
        let (length, after) = rest.split_first()?;
        match length {
            0 => {
                rest = after;
                break;
            }
            // A pointer ends a name (RFC 1035 section 4.1.4).
            192.. => {
                rest = after.get(1..)?;
                break;
            }
            length => rest = after.get(usize::from(*length)..)?,
        }
    }
    let (head, rest) = rest.split_first_chunk::<10>()?;
    let kind = u16::from_be_bytes([head[0], head[1]]);
    let length = usize::from(u16::from_be_bytes([head[8], head[9]]));
    let (data, rest) = rest.split_at_checked(length)?;
    Some((kind, data, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> Name {
        Name::parse("lists.example").unwrap()
    }

    /// An answer with a CNAME and two addresses, as resolvers write it.
    fn answer() -> Vec<u8> {
        let mut bytes = vec![0x12, 0x34, 0x81, 0x80, 0, 1, 0, 3, 0, 0, 0, 0];
        bytes.extend(question(&name(), A));
        let record = |kind: u8, data: &[u8]| {
            let length = u8::try_from(data.len()).unwrap();
            [&[0xc0, 12, 0, kind, 0, 1, 0, 0, 0, 9, 0, length], data].concat()
        };
        bytes.extend(record(5, b"\x01x\xc0\x0c"));
        bytes.extend(record(1, &[192, 0, 2, 1]));
        bytes.extend(record(1, &[192, 0, 2, 2]));
        bytes
    }

    #[test]
    fn the_addresses_of_an_answer_are_found_behind_its_aliases() {
        let found = addresses(&answer(), 0x1234, &question(&name(), A))
            .unwrap()
            .unwrap();
        assert_eq!(
            found,
            [IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2])]
        );
    }

    #[test]
    fn what_answers_another_question_is_not_heard() {
        let asked = question(&name(), A);
        assert!(addresses(&answer(), 0x1235, &asked).is_none());
        assert!(addresses(&answer(), 0x1234, &question(&name(), AAAA)).is_none());
        let own = message(0x1234, &asked);
        assert!(
            addresses(&own, 0x1234, &asked).is_none(),
            "a question is no answer"
        );
        let mut refused = answer();
        refused[3] = 0x83;
        assert!(addresses(&refused, 0x1234, &asked).unwrap().is_err());
    }

    #[test]
    fn an_answer_that_is_cut_or_changed_anywhere_harms_nobody() {
        let asked = question(&name(), A);
        let whole = answer();
        for end in 0..whole.len() {
            let _ = addresses(&whole[..end], 0x1234, &asked);
            for byte in [0, 0x3f, 0xc0, 0xff] {
                let mut changed = whole.clone();
                changed[end] = byte;
                if let Some(Ok(found)) = addresses(&changed, 0x1234, &asked) {
                    assert!(found.len() <= whole.len() / 12);
                }
            }
        }
    }

    #[test]
    fn a_hosts_file_is_asked_first() {
        let text = "127.0.0.1 localhost\n192.0.2.7 other LISTS.example # here\n# 192.0.2.8 lists.example\n";
        assert_eq!(of_hosts_file(text, &name()), [IpAddr::from([192, 0, 2, 7])]);
    }
}
