//! Which resolvers the host uses, from `/etc/resolv.conf`.

use std::fs::File;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::path::Path;

/// A longer file is not read to its end.
const LONGEST_FILE: u64 = 64 << 10;
/// How many name servers the C library uses.
const MOST_SERVERS: usize = 3;
const DNS_PORT: u16 = 53;

/// A host's resolver configuration (resolv.conf(5)).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolvers {
    /// Name servers in the order of preference, with port 53. A link-local one carries its scope.
    pub servers: Vec<SocketAddr>,
    /// Domains to complete short names with.
    pub search: Vec<String>,
    /// Options as they are written, e.g. `edns0`, `ndots:2`.
    pub options: Vec<String>,
}

impl Resolvers {
    /// Reads `/etc/resolv.conf`. A missing file means the resolver of this host, as for the C library.
    ///
    /// # Errors
    /// The system's, if the file is there but cannot be read.
    pub fn of_host() -> io::Result<Self> {
        let mut bytes = Vec::new();
        match File::open(Path::new("/etc/resolv.conf")) {
            Ok(file) => file.take(LONGEST_FILE).read_to_end(&mut bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
        Ok(Self::parse(&String::from_utf8_lossy(&bytes), |name| {
            crate::sys::interface::index(name).ok().map(u32::from)
        }))
    }

    /// Parses the text of a resolv.conf; `scope` gives the index of an interface by its name. Without a valid name server
    /// the loopback one holds. Lines that are not understood are passed over, as the C library does.
    pub fn parse(text: &str, scope: impl Fn(&str) -> Option<u32>) -> Self {
        let mut resolvers = Self::default();
        for line in text.lines() {
            // Comments stand at the beginning of a line only, but are met elsewhere too.
            let line = line.split(['#', ';']).next().unwrap_or_default();
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => {
                    let server = words.next().and_then(|word| parse_server(word, &scope));
                    resolvers
                        .servers
                        .extend(server.filter(|_| resolvers.servers.len() < MOST_SERVERS));
                }
                // The last line of these two holds.
                Some("search" | "domain") => resolvers.search = words.map(str::to_owned).collect(),
                Some("options") => resolvers.options.extend(words.map(str::to_owned)),
                _ => {}
            }
        }
        if resolvers.servers.is_empty() {
            resolvers
                .servers
                .push(SocketAddr::from((Ipv4Addr::LOCALHOST, DNS_PORT)));
        }
        resolvers
    }
}

/// An address, for IPv6 perhaps with `%` and an interface's name or index.
fn parse_server(word: &str, scope: impl Fn(&str) -> Option<u32>) -> Option<SocketAddr> {
    let (address, zone) = word
        .split_once('%')
        .map_or((word, None), |(address, zone)| (address, Some(zone)));
    match (address.parse().ok()?, zone) {
        (IpAddr::V4(address), None) => Some(SocketAddrV4::new(address, DNS_PORT).into()),
        (IpAddr::V4(_), Some(_)) => None,
        (IpAddr::V6(address), zone) => scoped(address, zone, scope),
    }
}

fn scoped(
    address: Ipv6Addr,
    zone: Option<&str>,
    scope: impl Fn(&str) -> Option<u32>,
) -> Option<SocketAddr> {
    let index = match zone {
        None => 0,
        Some(zone) => zone.parse().ok().or_else(|| scope(zone))?,
    };
    Some(SocketAddrV6::new(address, DNS_PORT, 0, index).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Resolvers {
        Resolvers::parse(text, |name| (name == "eth0").then_some(2))
    }

    #[test]
    fn servers_search_and_options_are_read() {
        let resolvers = parse(
            "# comment\nnameserver 192.0.2.1 ; first\nnameserver\t2001:db8::1\nnameserver fe80::1%eth0\nnameserver 192.0.2.9\n\
             domain old.example\nsearch a.example b.example\noptions edns0 ndots:2\noptions rotate\nsortlist x\n",
        );
        let expected = ["192.0.2.1:53", "[2001:db8::1]:53", "[fe80::1%2]:53"];
        assert_eq!(
            resolvers.servers,
            expected.map(|text| text.parse().unwrap())
        );
        assert_eq!(resolvers.search, ["a.example", "b.example"]);
        assert_eq!(resolvers.options, ["edns0", "ndots:2", "rotate"]);
    }

    #[test]
    fn without_a_valid_server_the_hosts_own_holds() {
        for text in [
            "",
            "nameserver\n",
            "nameserver nonsense\nnameserver fe80::1%nosuch\n",
            "nameserver 192.0.2.1%eth0\n",
        ] {
            assert_eq!(
                parse(text).servers,
                ["127.0.0.1:53".parse().unwrap()],
                "{text:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_text_panics_and_there_are_one_to_three_servers(text in "(nameserver |search |[0-9.:%a-f\n ]){0,60}") {
            let servers = parse(&text).servers.len();
            prop_assert!((1..=3).contains(&servers));
        }
    }
}
