//! Where a flow really goes: the gateway's own addresses stand for services of the gateway's side.
//!
//! Inside an `exec` capture the gateway has an address of its own. Port 53 there is the host's resolver; any other port
//! is the host's loopback, if the user allowed that. Every other destination is itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What the gateway's own addresses mean.
#[derive(Clone, Debug, Default)]
pub struct Translation {
    /// The gateway's addresses as programs see them; empty under host capture.
    pub gateway: Vec<IpAddr>,
    /// The host's resolvers, in order of preference.
    pub resolvers: Vec<SocketAddr>,
    /// Whether the gateway's address leads to the host's loopback.
    pub host_loopback: HostLoopback,
}

/// Whether programs inside reach services on the host's loopback.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HostLoopback {
    /// They do not.
    #[default]
    Closed,
    /// They do, at the gateway's address.
    Open,
}

/// Where a flow goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// To this address.
    To(SocketAddr),
    /// To the host's resolver at this position in [`Translation::resolvers`].
    Resolver(SocketAddr),
    /// Nowhere: there is no such service at the gateway's address.
    NoService,
}

const DNS_PORT: u16 = 53;

impl Translation {
    /// Where a flow to `remote` goes; `attempt` counts the tries of this flow, so that a resolver that stays silent is
    /// followed by the next.
    pub fn target(&self, remote: SocketAddr, attempt: usize) -> Target {
        if !self.gateway.contains(&remote.ip()) {
            return Target::To(remote);
        }
        if remote.port() == DNS_PORT {
            return match self.resolvers.len() {
                0 => Target::NoService,
                count => Target::Resolver(self.resolvers[attempt % count]),
            };
        }
        match self.host_loopback {
            HostLoopback::Closed => Target::NoService,
            HostLoopback::Open => {
                Target::To(SocketAddr::new(loopback_of(remote.ip()), remote.port()))
            }
        }
    }
}

fn loopback_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translation(host_loopback: HostLoopback) -> Translation {
        Translation {
            gateway: vec!["192.0.0.1".parse().unwrap()],
            resolvers: vec![
                "127.0.0.53:53".parse().unwrap(),
                "198.51.100.1:53".parse().unwrap(),
            ],
            host_loopback,
        }
    }

    #[test]
    fn an_ordinary_destination_is_itself() {
        let remote = "203.0.113.7:443".parse().unwrap();
        assert_eq!(
            translation(HostLoopback::Closed).target(remote, 0),
            Target::To(remote)
        );
    }

    #[test]
    fn port_53_of_the_gateway_is_each_resolver_in_turn() {
        let dns = "192.0.0.1:53".parse().unwrap();
        let translation = translation(HostLoopback::Closed);
        assert_eq!(
            translation.target(dns, 0),
            Target::Resolver("127.0.0.53:53".parse().unwrap())
        );
        assert_eq!(
            translation.target(dns, 1),
            Target::Resolver("198.51.100.1:53".parse().unwrap())
        );
        assert_eq!(
            translation.target(dns, 2),
            Target::Resolver("127.0.0.53:53".parse().unwrap())
        );
    }

    #[test]
    fn other_ports_of_the_gateway_are_the_loopback_only_when_opened() {
        let web = "192.0.0.1:8080".parse().unwrap();
        assert_eq!(
            translation(HostLoopback::Closed).target(web, 0),
            Target::NoService
        );
        assert_eq!(
            translation(HostLoopback::Open).target(web, 0),
            Target::To("127.0.0.1:8080".parse().unwrap())
        );
    }

    #[test]
    fn a_gateway_without_resolvers_has_no_dns() {
        let translation = Translation {
            resolvers: Vec::new(),
            ..translation(HostLoopback::Open)
        };
        assert_eq!(
            translation.target("192.0.0.1:53".parse().unwrap(), 0),
            Target::NoService
        );
    }
}
