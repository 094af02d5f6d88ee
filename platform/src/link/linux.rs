//! Links on Linux: one netlink request (rtnetlink(7)).

use std::io;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, LinkAttribute, LinkFlags, LinkMessage,
};

use super::{LinkError, LinkSettings};
use crate::netlink::{Connection, NetlinkError};

pub(super) fn configure(name: &str, settings: &LinkSettings) -> Result<(), LinkError> {
    let refused = |error: NetlinkError| LinkError::Refused {
        name: name.to_owned(),
        source: io::Error::other(error),
    };
    let mut connection = Connection::route().map_err(refused)?;
    if settings.unnumbered {
        // Before the link is up: a link-local address is made the moment it comes up.
        prepare_ipv6(name);
        without_ipv6_is_fine(connection.change(&no_address_generation(name), 0))
            .map_err(refused)?;
    }
    if settings.forwards {
        set(name, "ipv4", "forwarding", "1");
    }
    connection
        .change(&link_request(name, settings), 0)
        .map_err(|error| {
            if error.refusal() == Some(libc::ENODEV) {
                LinkError::Missing(name.to_owned())
            } else {
                refused(error)
            }
        })
}

fn link_request(name: &str, settings: &LinkSettings) -> RouteNetlinkMessage {
    let mut link = LinkMessage::default();
    link.attributes.push(LinkAttribute::IfName(name.to_owned()));
    link.attributes.extend(settings.mtu.map(LinkAttribute::Mtu));
    link.attributes
        .extend(settings.queue_length.map(LinkAttribute::TxQueueLen));
    if settings.up {
        link.header.flags = LinkFlags::Up;
        link.header.change_mask = LinkFlags::Up;
    }
    RouteNetlinkMessage::NewLink(link)
}

fn no_address_generation(name: &str) -> RouteNetlinkMessage {
    let mut link = LinkMessage::default();
    link.attributes.push(LinkAttribute::IfName(name.to_owned()));
    let mode = AfSpecInet6::AddrGenMode(In6AddrGenMode::None);
    link.attributes
        .push(LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(
            vec![mode],
        )]));
    RouteNetlinkMessage::NewLink(link)
}

/// A kernel without IPv6 has no IPv6 addresses to refuse.
fn without_ipv6_is_fine(result: Result<(), NetlinkError>) -> Result<(), NetlinkError> {
    match result {
        Err(error) if matches!(error.refusal(), Some(libc::EAFNOSUPPORT | libc::EOPNOTSUPP)) => {
            Ok(())
        }
        other => other,
    }
}

/// IPv6 routes may lead through the link whatever the default for new links is, and routers are not listened to. Best
/// effort: where `/proc/sys` is read-only the defaults mostly do, and nobody but us can send into a TUN device.
fn prepare_ipv6(name: &str) {
    for setting in ["accept_ra", "disable_ipv6"] {
        set(name, "ipv6", setting, "0");
    }
}

fn set(name: &str, family: &str, setting: &str, value: &str) {
    let path = format!("/proc/sys/net/{family}/conf/{name}/{setting}");
    if let Err(error) = std::fs::write(path, value) {
        tracing::debug!(name, setting, %error, "the setting stays as it is");
    }
}

#[cfg(test)]
mod tests {
    use crate::link::{LinkSettings, configure};
    use crate::sys::test_network::in_new_network;

    #[test]
    fn a_missing_link_is_named() {
        in_new_network(|| {
            let error = configure(
                "nosuch0",
                &LinkSettings {
                    up: true,
                    ..Default::default()
                },
            )
            .unwrap_err();
            assert_eq!(
                error.to_string(),
                "no network interface is named \"nosuch0\""
            );
        });
    }
}
