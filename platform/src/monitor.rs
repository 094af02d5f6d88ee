//! Tells when the host's network changed: links, addresses, routes or policy routing rules, by whomever.
//!
//! A second netlink socket beside that of `host`, because the kernel answers a connection's own changes there and gives
//! them to others as events. It says only *what kind* of thing changed: who is told reads the facts anew, and so it does
//! not matter how many events there were or whether some were lost.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use netlink_sys::{Socket, SocketAddr, protocols};

use crate::netlink::messages;

/// Which kinds of things changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Interfaces: made, gone, up, down, carrier, MTU.
    pub links: bool,
    /// Addresses.
    pub addresses: bool,
    /// Routes of any table.
    pub routes: bool,
    /// Policy routing rules.
    pub rules: bool,
}

impl Changes {
    /// Nobody knows what: events were lost.
    pub const EVERYTHING: Self = Self {
        links: true,
        addresses: true,
        routes: true,
        rules: true,
    };

    /// Whether there is anything to look at.
    pub fn any(self) -> bool {
        self != Self::default()
    }

    fn and(self, other: Self) -> Self {
        Self {
            links: self.links || other.links,
            addresses: self.addresses || other.addresses,
            routes: self.routes || other.routes,
            rules: self.rules || other.rules,
        }
    }
}

/// A non-blocking socket that becomes readable when the network of the opening thread's namespace changes.
#[derive(Debug)]
pub struct NetworkMonitor {
    socket: Socket,
    buffer: Vec<u8>,
}

/// `RTNLGRP_*` of linux/rtnetlink.h: link, then IPv4 address, route, rule, then IPv6 address, route, rule.
const GROUPS: [u32; 7] = [1, 5, 7, 8, 9, 11, 19];
/// Events come in messages of a few hundred bytes; what is longer counts as lost.
const LONGEST_EVENT: usize = 32 * 1024;
/// A daemon that loads a million routes must not keep us here: the rest is for the next call.
const DATAGRAMS_AT_ONCE: usize = 4096;

impl NetworkMonitor {
    /// Begins to listen. What changes from now on is told; needs no privilege.
    ///
    /// # Errors
    /// The system's.
    pub fn open() -> io::Result<Self> {
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

    /// Takes the events that are there, without waiting.
    ///
    /// # Errors
    /// The system's, apart from lost events, which are [`Changes::EVERYTHING`].
    pub fn drain(&mut self) -> io::Result<Changes> {
        let mut changes = Changes::default();
        for _ in 0..DATAGRAMS_AT_ONCE {
            match self.socket.recv(&mut &mut self.buffer[..], 0) {
                Ok(length) => {
                    changes = changes.and(kinds(self.buffer.get(..length).unwrap_or_default()))
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    changes = Changes::EVERYTHING
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(changes)
    }
}

impl AsFd for NetworkMonitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for NetworkMonitor {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
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
        netlink_packet_core::NLMSG_OVERRUN => Changes::EVERYTHING,
        _ => nothing,
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::*;
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
