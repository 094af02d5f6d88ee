//! Network events of Linux: a netlink socket in the groups of rtnetlink(7).
//!
//! A second socket beside that of `host`, because the kernel answers a connection's own changes there and gives them to
//! others as events.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_sys::{Socket, SocketAddr, protocols};

use super::Changes;
use crate::netlink::messages;

#[derive(Debug)]
pub(super) struct NetworkMonitor {
    socket: Socket,
    buffer: Vec<u8>,
}

/// `RTNLGRP_*` of linux/rtnetlink.h: link, then IPv4 address, route, rule, then IPv6 address, route, rule.
const GROUPS: [u32; 7] = [1, 5, 7, 8, 9, 11, 19];
/// `RTNLGRP_NEIGH`.
const NEIGHBOURS: u32 = 3;
/// Events come in messages of a few hundred bytes; what is longer counts as lost.
const LONGEST_EVENT: usize = 32 * 1024;

impl NetworkMonitor {
    pub(super) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(protocols::NETLINK_ROUTE)?;
        socket.bind(&SocketAddr::new(0, 0))?;
        for group in GROUPS {
            socket.add_membership(group)?;
        }
        socket.set_non_blocking(true)?;
        Ok(Self {
            socket,
            buffer: vec![0; LONGEST_EVENT],
        })
    }

    pub(super) fn with_neighbours() -> io::Result<Self> {
        let monitor = Self::open()?;
        monitor.socket.add_membership(NEIGHBOURS)?;
        Ok(monitor)
    }

    /// What the next datagram is about.
    pub(super) fn receive(&mut self) -> io::Result<Changes> {
        let length = self.socket.recv(&mut &mut self.buffer[..], 0)?;
        Ok(kinds(self.buffer.get(..length).unwrap_or_default()))
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// What a datagram of events is about.
pub(crate) fn kinds(datagram: &[u8]) -> Changes {
    messages(datagram).fold(Changes::default(), |changes, message| {
        changes.and(match message {
            Ok((header, _)) => kind(header.message_type),
            Err(_) => Changes::EVERYTHING,
        })
    })
}

/// What an event is about, by `RTM_NEW*` and `RTM_DEL*` of linux/rtnetlink.h.
fn kind(message_type: u16) -> Changes {
    let nothing = Changes::default();
    match message_type {
        libc::RTM_NEWLINK | libc::RTM_DELLINK => Changes {
            links: true,
            ..nothing
        },
        libc::RTM_NEWADDR | libc::RTM_DELADDR => Changes {
            addresses: true,
            ..nothing
        },
        libc::RTM_NEWROUTE | libc::RTM_DELROUTE => Changes {
            routes: true,
            ..nothing
        },
        libc::RTM_NEWRULE | libc::RTM_DELRULE => Changes {
            rules: true,
            ..nothing
        },
        libc::RTM_NEWNEIGH | libc::RTM_DELNEIGH => Changes {
            neighbours: true,
            ..nothing
        },
        netlink_packet_core::NLMSG_OVERRUN => Changes::EVERYTHING,
        _ => nothing,
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::{Changes, kinds};
    use crate::monitor::NetworkMonitor;
    use crate::sys::test_network::{in_new_network, ip};

    fn event(message_type: u16) -> Vec<u8> {
        let mut bytes = vec![0; 20];
        bytes[0] = 20;
        bytes[4..6].copy_from_slice(&message_type.to_ne_bytes());
        bytes
    }

    /// Gathers changes until all of `expected` are there.
    fn wait_for(monitor: &mut NetworkMonitor, expected: Changes) {
        let deadline = Instant::now() + Duration::from_secs(5);
        let mut changes = Changes::default();
        while changes.and(expected) != changes {
            assert!(
                Instant::now() < deadline,
                "{changes:?} instead of {expected:?}"
            );
            changes = changes.and(monitor.drain().unwrap());
        }
    }

    #[test]
    fn rules_flushed_by_another_program_are_told() {
        in_new_network(|| {
            ip("rule add lookup 77 preference 6000");
            let mut monitor = NetworkMonitor::open().unwrap();
            assert!(!monitor.drain().unwrap().any());
            ip("rule flush");
            wait_for(
                &mut monitor,
                Changes {
                    rules: true,
                    ..Changes::default()
                },
            );
            ip("-6 rule add lookup 77 preference 6000");
            wait_for(
                &mut monitor,
                Changes {
                    rules: true,
                    ..Changes::default()
                },
            );
        });
    }

    #[test]
    fn links_addresses_and_routes_are_told_apart() {
        in_new_network(|| {
            let mut monitor = NetworkMonitor::open().unwrap();
            ip("link add eth0 type veth peer name far0");
            wait_for(
                &mut monitor,
                Changes {
                    links: true,
                    ..Changes::default()
                },
            );
            ip("link set eth0 up");
            ip("address add 192.0.2.1/24 dev eth0");
            wait_for(
                &mut monitor,
                Changes {
                    addresses: true,
                    ..Changes::default()
                },
            );
            while monitor.drain().unwrap().any() {}
            ip("route add 198.51.100.0/24 via 192.0.2.9 dev eth0");
            let deadline = Instant::now() + Duration::from_secs(5);
            let mut told = Changes::default();
            while !told.routes {
                assert!(Instant::now() < deadline, "{told:?}");
                told = told.and(monitor.drain().unwrap());
            }
            assert!(!told.rules);
        });
    }

    #[test]
    fn several_events_in_one_datagram_all_count() {
        let datagram: Vec<u8> = [event(libc::RTM_NEWADDR), event(libc::RTM_DELRULE)].concat();
        assert_eq!(
            kinds(&datagram),
            Changes {
                addresses: true,
                rules: true,
                ..Changes::default()
            }
        );
    }

    #[test]
    fn a_truncated_event_may_have_been_anything() {
        assert_eq!(kinds(&event(libc::RTM_NEWADDR)[..18]), Changes::EVERYTHING);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(datagram: Vec<u8>) {
            let changes = kinds(&datagram);
            prop_assert!(datagram.is_empty() != changes.any() || datagram.len() >= 16);
        }
    }
}
