//! On whose behalf flows are: what shares and limits are counted by.
//!
//! Two steps, because a program is copied and run under as many names as somebody likes, and an IPv6 host has as many
//! addresses: first a user or a network, and within it a program or an address.

use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use tidegate_policy::App;

use super::Entry;

/// Whose flow it is: of all processes of one user that run one executable, of a host that we forward for, or of all that
/// nobody could name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Caller {
    Program(Program),
    /// Another host's or a container's.
    Forwarded(IpAddr),
    Unknown,
}

/// The first of these, by user and executable.
#[derive(Clone, Debug)]
pub(super) struct Program(Arc<[App]>);

impl Program {
    fn name(&self) -> Option<(u32, &[u8])> {
        let app = self.0.first()?;
        Some((app.uid, app.path.as_os_str().as_encoded_bytes()))
    }
}

impl PartialEq for Program {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Program {}

impl Hash for Program {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name().hash(state);
    }
}

/// Whom several callers belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Household {
    User(u32),
    /// An IPv4 address, or the first of the 2^64 that an IPv6 host may take by itself.
    Network(IpAddr),
    /// Pings of this host, whose sender the kernel does not tell at once.
    Pings,
    Unknown,
}

impl Caller {
    pub(super) fn of(entry: &Entry) -> Self {
        match entry.inner {
            Some(inner) => Self::Forwarded(inner.source.ip()),
            None if entry.apps.is_empty() => Self::Unknown,
            None => Self::Program(Program(Arc::clone(&entry.apps))),
        }
    }

    pub(super) fn household(&self) -> Household {
        match self {
            Self::Program(program) => program
                .name()
                .map_or(Household::Unknown, |(uid, _)| Household::User(uid)),
            Self::Forwarded(address) => Household::network_of(*address),
            Self::Unknown => Household::Unknown,
        }
    }
}

impl Household {
    pub(super) fn network_of(address: IpAddr) -> Self {
        const HOSTS: u128 = u64::MAX as u128;
        Self::Network(match address.to_canonical() {
            IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !HOSTS).into(),
            v4 => v4,
        })
    }
}

#[cfg(test)]
pub(super) mod tests {

    use super::*;

    /// A program of this user at this path, in a process of its own.
    pub(in crate::worker) fn caller(uid: u32, path: &str, pid: u32) -> Caller {
        Caller::Program(Program(Arc::from([App {
            pid,
            ..App::new(path, uid)
        }])))
    }

    #[test]
    fn processes_of_one_program_are_one_caller_and_another_user_s_are_another() {
        let one = caller(1000, "/usr/bin/one", 1);
        assert_eq!(one, caller(1000, "/usr/bin/one", 2));
        assert_ne!(one, caller(1000, "/usr/bin/other", 1));
        assert_ne!(one, caller(1001, "/usr/bin/one", 1));
        let copy = caller(1000, "/tmp/copy", 1);
        assert_eq!(one.household(), copy.household());
    }

    #[test]
    fn an_ipv6_host_with_many_addresses_is_one_household() {
        let of = |address: &str| Household::network_of(address.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!(of("192.0.2.1"), of("::ffff:192.0.2.1"));
    }
}
