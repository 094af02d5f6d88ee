//! What is read of a host that is set up by `ip`.

use std::net::TcpListener;

use tidegate_routing::plan::{Family, Listener, Mark, Rule, RuleAction, Selector};

use super::uplink;
use crate::host::HostNetwork;
use crate::sys::test_network::{in_new_network, ip};

#[test]
fn the_facts_name_the_uplink_of_each_family_and_never_a_tunnel_before_a_wire() {
    in_new_network(|| {
        uplink();
        ip("tuntap add vpn0 mode tun");
        ip("link set vpn0 up");
        ip("address add 10.8.0.2/24 dev vpn0");
        ip("route add default dev vpn0 metric 1");
        ip("route replace default via 192.0.2.1 dev eth0 metric 100");
        let facts = HostNetwork::open().unwrap().facts().unwrap();
        let v4 = facts.uplink_v4.unwrap();
        assert_eq!((v4.device.as_str(), v4.mtu), ("eth0", 1500));
        assert_eq!(v4.source, "192.0.2.7".parse().ok());
        assert_eq!(v4.gateway, "192.0.2.1".parse().ok());
        let v6 = facts.uplink_v6.unwrap();
        assert_eq!(
            (v6.device.as_str(), v6.source),
            ("eth0", "2001:db8::7".parse().ok())
        );
        assert_eq!(v6.gateway, "2001:db8::1".parse().ok());
    });
}

#[test]
fn the_source_is_the_routes_own_where_it_names_one() {
    in_new_network(|| {
        uplink();
        ip("address add 192.0.2.8/24 dev eth0");
        ip("route replace default via 192.0.2.1 dev eth0 src 192.0.2.8");
        let facts = HostNetwork::open().unwrap().facts().unwrap();
        assert_eq!(facts.uplink_v4.unwrap().source, "192.0.2.8".parse().ok());
    });
}

#[test]
fn a_host_without_default_route_has_no_uplink() {
    in_new_network(|| {
        let facts = HostNetwork::open().unwrap().facts().unwrap();
        assert_eq!((facts.uplink_v4, facts.uplink_v6), (None, None));
        assert_eq!(facts.our_routes, vec![]);
        assert!(facts.ephemeral_ports.is_some());
    });
}

#[test]
fn the_facts_name_who_listens() {
    in_new_network(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let wide = TcpListener::bind("[::]:0").unwrap();
        let facts = HostNetwork::open().unwrap().facts().unwrap();
        for socket in [&listener, &wide] {
            let address = socket.local_addr().unwrap();
            let expected = Listener {
                address: address.ip(),
                port: address.port(),
                uid: 0,
            };
            assert!(facts.listeners.contains(&expected), "{:?}", facts.listeners);
        }
        assert_eq!(facts.listeners.len(), 2);
    });
}

#[test]
fn the_rules_of_others_are_read_as_they_are() {
    in_new_network(|| {
        ip("rule add not fwmark 0xca6c lookup 51820 preference 32764 protocol 3");
        ip("-6 rule add from 2001:db8::/32 iif lo blackhole preference 900");
        let rules = HostNetwork::open().unwrap().facts().unwrap().rules;
        let wireguard = Rule {
            family: Family::V4,
            preference: 32764,
            selector: Selector {
                not: true,
                mark: Some(Mark {
                    value: 0xca6c,
                    mask: u32::MAX,
                }),
                ..Selector::default()
            },
            action: RuleAction::Lookup(51820),
            protocol: 3,
        };
        assert!(rules.contains(&wireguard), "{rules:?}");
        let six = rules.iter().find(|rule| rule.preference == 900).unwrap();
        assert_eq!(
            (six.family, six.action),
            (Family::V6, RuleAction::Blackhole)
        );
        assert!(rules.is_sorted_by_key(|rule| rule.preference));
    });
}
