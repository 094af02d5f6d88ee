//! The interfaces of this network namespace, by index and by name.

use std::collections::BTreeMap;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage,
};

use crate::netlink::{Connection, NetlinkError, attribute};

/// One interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) name: String,
    pub(super) mtu: u32,
    /// Set up, and the driver says that it has a carrier.
    pub(super) running: bool,
    pub(super) nature: Nature,
    /// A port of a bridge, a bond or the like: packets come in by that one.
    pub(super) is_port: bool,
}

/// What an interface sends through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Nature {
    /// A wire or a radio, or something built on one (bridge, VLAN, bond).
    Physical,
    /// Another program's or the kernel's tunnel: its packets leave through a second interface.
    Tunnel,
}

/// A dump of all interfaces.
#[derive(Debug, Default)]
pub(super) struct Links(BTreeMap<u32, Link>);

impl Links {
    pub(super) fn read(connection: &mut Connection) -> Result<Self, NetlinkError> {
        let answers = connection.dump(
            &RouteNetlinkMessage::GetLink(LinkMessage::default()),
            &|_| true,
        )?;
        let links = answers.iter().filter_map(|answer| {
            let RouteNetlinkMessage::NewLink(message) = answer else {
                return None;
            };
            Some((message.header.index, link(message)?))
        });
        Ok(Self(links.collect()))
    }

    pub(super) fn by_index(&self, index: u32) -> Option<&Link> {
        self.0.get(&index)
    }

    pub(super) fn name(&self, index: u32) -> Option<&str> {
        Some(&self.by_index(index)?.name)
    }

    /// The interfaces that packets for this host may come in by.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        let entrances = self.0.values().filter(|link| !link.is_port);
        entrances.map(|link| link.name.as_str())
    }

    pub(super) fn index(&self, name: &str) -> Option<u32> {
        self.0
            .iter()
            .find_map(|(index, link)| (link.name == name).then_some(*index))
    }

    #[cfg(any(fuzzing, test))]
    pub(super) fn for_tests(names: &[(u32, &str)]) -> Self {
        let link = |name: &str| Link {
            name: name.to_owned(),
            mtu: 1500,
            running: true,
            nature: Nature::Physical,
            is_port: false,
        };
        Self(
            names
                .iter()
                .map(|(index, name)| (*index, link(name)))
                .collect(),
        )
    }

    #[cfg(test)]
    pub(super) fn set(&mut self, index: u32, link: Link) {
        self.0.insert(index, link);
    }
}

pub(super) fn link(message: &LinkMessage) -> Option<Link> {
    let up = LinkFlags::Up | LinkFlags::Running;
    Some(Link {
        name: attribute!(message.attributes, LinkAttribute::IfName)?.clone(),
        mtu: attribute!(message.attributes, LinkAttribute::Mtu)
            .copied()
            .unwrap_or_default(),
        running: message.header.flags.contains(up),
        nature: nature(message),
        is_port: attribute!(message.attributes, LinkAttribute::Controller)
            .is_some_and(|controller| *controller != 0),
    })
}

fn nature(message: &LinkMessage) -> Nature {
    let kind = attribute!(message.attributes, LinkAttribute::LinkInfo)
        .and_then(|info| attribute!(info, LinkInfo::Kind).cloned());
    let tunnel_kind = matches!(
        kind,
        Some(
            InfoKind::Tun
                | InfoKind::Wireguard
                | InfoKind::IpIp
                | InfoKind::Ip6Tnl
                | InfoKind::SitTun
                | InfoKind::GreTun
                | InfoKind::GreTun6
                | InfoKind::GreTap
                | InfoKind::GreTap6
                | InfoKind::Vti
                | InfoKind::Vti6
                | InfoKind::Xfrm
        )
    );
    // A raw-IP modem has no link layer either, and no kind: it is not told by its layer.
    let tunnel_layer = matches!(
        message.header.link_layer_type,
        LinkLayerType::Tunnel | LinkLayerType::Tunnel6 | LinkLayerType::Sit | LinkLayerType::Ipgre
    );
    if tunnel_kind || tunnel_layer {
        Nature::Tunnel
    } else {
        Nature::Physical
    }
}
