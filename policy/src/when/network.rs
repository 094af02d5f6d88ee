//! Conditions on the network that the host is in.

use std::fmt;
use std::sync::Arc;

use crate::app_condition::one_of;
use crate::context::{Mac, Network, Uplink};
use crate::facts::Fact;
use crate::pattern::Pattern;
use crate::truth::Truth;

/// Conditions on the network that the host is in.
///
/// All that are there must hold, those on an uplink for one and the same; within a list one value that matches is enough.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct NetworkCondition {
    /// The name of the interface that leads out.
    pub interface: Vec<Pattern>,
    /// The hardware address of the router.
    pub gateway: Vec<Mac>,
    /// The name of the wireless network.
    pub ssid: Vec<Arc<str>>,
    /// Whether another program's tunnel carries what leaves.
    pub vpn: Option<bool>,
}

impl NetworkCondition {
    pub(super) fn truth(&self, network: Option<&Network>) -> Truth {
        let Some(network) = network else {
            return Truth::Unknown;
        };
        let vpn = self
            .vpn
            .map_or(Truth::Holds, |vpn| known(&network.vpn, |up| *up == vpn));
        if self.interface.is_empty() && self.gateway.is_empty() && self.ssid.is_empty() {
            return vpn;
        }
        let uplinks = network.uplinks.iter().map(|uplink| self.of_uplink(uplink));
        vpn.and(Truth::any(uplinks))
    }

    fn of_uplink(&self, uplink: &Uplink) -> Truth {
        let listed = |is_empty: bool, truth: Truth| if is_empty { Truth::Holds } else { truth };
        let interface = known(&uplink.interface, |name| {
            let mut patterns = self.interface.iter();
            patterns.any(|pattern| pattern.matches(name.as_bytes()))
        });
        let gateway = known(&uplink.gateway, |gateway| self.gateway.contains(gateway));
        let ssid = known(&uplink.ssid, |ssid| self.ssid.contains(ssid));
        listed(self.interface.is_empty(), interface)
            .and(listed(self.gateway.is_empty(), gateway))
            .and(listed(self.ssid.is_empty(), ssid))
    }

    /// Whether nothing is asked for.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

fn known<T>(fact: &Fact<T>, holds: impl FnOnce(&T) -> bool) -> Truth {
    match fact {
        Fact::Unknown => Truth::Unknown,
        Fact::Absent => Truth::Fails,
        Fact::Is(value) => Truth::of(holds(value)),
    }
}

impl fmt::Display for NetworkCondition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = |key: &str, text: String| format!("{key} {text}");
        let parts = [
            (!self.interface.is_empty()).then(|| part("interface", one_of(&self.interface))),
            (!self.gateway.is_empty()).then(|| part("gateway", one_of(&self.gateway))),
            (!self.ssid.is_empty()).then(|| part("SSID", one_of(&self.ssid))),
            self.vpn
                .map(|up| if up { "a VPN" } else { "no VPN" }.to_owned()),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        f.write_str(&parts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uplink(interface: &str, gateway: Fact<Mac>) -> Uplink {
        Uplink {
            interface: Fact::Is(interface.into()),
            gateway,
            ssid: Fact::Absent,
        }
    }

    const HOME: Mac = Mac([2, 0, 0, 0, 0, 1]);

    fn condition() -> NetworkCondition {
        NetworkCondition {
            interface: vec![Pattern::parse("wlan*").unwrap()],
            gateway: vec![HOME],
            ..NetworkCondition::default()
        }
    }

    #[test]
    fn one_uplink_must_meet_all_that_is_asked_of_an_uplink() {
        let other = Mac([2, 0, 0, 0, 0, 2]);
        let network = |uplinks: Vec<Uplink>| Network {
            uplinks,
            vpn: Fact::Is(false),
        };
        let truth = |uplinks| condition().truth(Some(&network(uplinks)));
        let known = Fact::Is;
        assert_eq!(truth(vec![uplink("wlan0", known(HOME))]), Truth::Holds);
        let apart = vec![uplink("wlan0", known(other)), uplink("eth0", known(HOME))];
        assert_eq!(truth(apart), Truth::Fails);
        assert_eq!(truth(Vec::new()), Truth::Fails);
        assert_eq!(truth(vec![uplink("wlan0", Fact::Unknown)]), Truth::Unknown);
        assert_eq!(truth(vec![uplink("eth0", Fact::Unknown)]), Truth::Fails);
        assert_eq!(condition().truth(None), Truth::Unknown);
    }

    #[test]
    fn a_vpn_is_asked_for_beside_the_uplink() {
        let asked = NetworkCondition {
            vpn: Some(true),
            ..NetworkCondition::default()
        };
        let network = |vpn| Network {
            uplinks: Vec::new(),
            vpn,
        };
        assert_eq!(asked.truth(Some(&network(Fact::Is(true)))), Truth::Holds);
        assert_eq!(asked.truth(Some(&network(Fact::Is(false)))), Truth::Fails);
        assert_eq!(asked.truth(Some(&network(Fact::Unknown))), Truth::Unknown);
    }
}
