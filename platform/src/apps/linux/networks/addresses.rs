//! The addresses that a network namespace has, from its `fib_trie` and `if_inet6` tables.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Every address that packets of that namespace may come from. Loopback is everybody's, and link-local addresses are told
/// apart by their links only: neither is forwarded.
pub(in crate::apps::linux) fn addresses<'a>(
    fib_trie: &'a str,
    if_inet6: &'a str,
) -> impl Iterator<Item = IpAddr> + 'a {
    v4(fib_trie)
        .map(IpAddr::from)
        .chain(v6(if_inet6).map(IpAddr::from))
}

/// A leaf `|-- 172.17.0.2` is followed by what is known of it: a line `/32 host LOCAL` for an address of its own.
fn v4(text: &str) -> impl Iterator<Item = Ipv4Addr> {
    let mut leaf = None;
    text.lines().filter_map(move |line| {
        let line = line.trim();
        if let Some(address) = line.strip_prefix("|-- ") {
            leaf = address.parse().ok();
            return None;
        }
        let is_own = line.starts_with("/32 ") && line.ends_with(" LOCAL");
        leaf.filter(|address: &Ipv4Addr| is_own && !address.is_loopback())
    })
}

/// A line is the address in 32 hexadecimal digits, then device number, prefix length, scope, flags and device.
fn v6(text: &str) -> impl Iterator<Item = Ipv6Addr> {
    text.lines().filter_map(|line| {
        let digits = line.split_ascii_whitespace().next()?;
        let number = u128::from_str_radix(digits, 16).ok()?;
        let address = Ipv6Addr::from(number);
        let is_one = digits.len() == 32 && !address.is_loopback();
        (is_one && !address.is_unicast_link_local()).then_some(address)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn its_own_addresses_are_told_from_networks_and_broadcasts() {
        let fib_trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n     \
            |-- 172.17.0.0\n        /16 link UNICAST\nLocal:\n     +-- 127.0.0.0/8 2 0 2\n           |-- 127.0.0.1\n              \
            /32 host LOCAL\n     |-- 172.17.0.2\n        /32 host LOCAL\n     |-- 172.17.255.255\n        /32 link BROADCAST\n";
        let if_inet6 = "00000000000000000000000000000001 01 80 10 80       lo\n\
            fe80000000000000004211fffe110002 02 40 20 80     eth0\n\
            fd001700000000000000000000000002 02 40 00 82     eth0\n";
        let expected: [IpAddr; 2] = [
            "172.17.0.2".parse().unwrap(),
            "fd00:1700::2".parse().unwrap(),
        ];
        assert_eq!(addresses(fib_trie, if_inet6).collect::<Vec<_>>(), expected);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[0-9a-f.:/|+ \\-LOCAL\n\u{e9}]{0,200}") {
            addresses(&text, &text).count();
        }
    }
}
