//! The tables `/proc/net/icmp` and `/proc/net/raw` and their IPv6 forms: sockets that `sock_diag` does not tell of. In other
//! network namespaces, which cannot be asked without more privileges, those of `tcp` and `udp` too.
//!
//! A ping socket stands there with its echo identifier as local port, a raw socket with its protocol number.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// One socket of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TableRow {
    pub(super) local: IpAddr,
    /// Echo identifier, or protocol number.
    pub(super) local_port: u16,
    pub(super) remote: IpAddr,
    pub(super) remote_port: u16,
    /// As in include/net/tcp_states.h.
    pub(super) state: u8,
    pub(super) uid: u32,
    pub(super) inode: u32,
}

/// Every socket of the table; a line that is not of the kernel's form (the heading, for one) is passed over.
pub(super) fn rows(text: &str) -> impl Iterator<Item = TableRow> {
    text.lines().filter_map(row)
}

/// Columns: slot, local, remote, state, queues, timer, retransmissions, uid, time-out, inode, ...
fn row(line: &str) -> Option<TableRow> {
    let mut columns = line.split_ascii_whitespace();
    let (local, local_port) = endpoint(columns.nth(1)?)?;
    let (remote, remote_port) = endpoint(columns.next()?)?;
    let state = u8::from_str_radix(columns.next()?, 16).ok()?;
    let uid = columns.nth(3)?.parse().ok()?;
    let inode = columns.nth(1)?.parse().ok()?;
    Some(TableRow {
        local,
        local_port,
        remote,
        remote_port,
        state,
        uid,
        inode,
    })
}

/// Hexadecimal address and port. The address is printed as native 32-bit words that hold network order.
fn endpoint(text: &str) -> Option<(IpAddr, u16)> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| {
        let digits = address.get(at..at + 8)?;
        u32::from_str_radix(digits, 16).ok().map(u32::to_ne_bytes)
    };
    let address = match address.len() {
        8 => Ipv4Addr::from(word(0)?).into(),
        32 => {
            let mut octets = [0; 16];
            for (index, place) in octets.chunks_exact_mut(4).enumerate() {
                place.copy_from_slice(&word(index * 8)?);
            }
            Ipv6Addr::from(octets).to_canonical()
        }
        _ => return None,
    };
    Some((address, port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[cfg(target_endian = "little")]
    #[test]
    fn rows_are_read_and_the_heading_is_passed_over() {
        let text = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n\
            \x20 69: 0100007F:0045 0202A8C0:0000 01 00000000:00000000 00:00000000 00000000  1000        0 81234 2 0000000000000000 0\n";
        let expected = TableRow {
            local: Ipv4Addr::LOCALHOST.into(),
            local_port: 0x45,
            remote: Ipv4Addr::new(192, 168, 2, 2).into(),
            remote_port: 0,
            state: 1,
            uid: 1000,
            inode: 81234,
        };
        assert_eq!(rows(text).collect::<Vec<_>>(), [expected]);
        let v6 = "   69: 00000000000000000000000001000000:003A 00000000000000000000000000000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 99 2 0000000000000000 0\n";
        assert_eq!(
            rows(v6).next().map(|row| (row.local, row.local_port)),
            Some((Ipv6Addr::LOCALHOST.into(), 58))
        );
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[0-9A-F: \u{e9}]{0,200}") {
            rows(&text).count();
        }
    }
}
