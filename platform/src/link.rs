//! One network interface: up or down, its MTU and queue, and that it makes no addresses of its own.

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, LinkAttribute, LinkFlags, LinkMessage,
};
use thiserror::Error;

use crate::netlink::{Connection, NetlinkError};

/// What to set on a link; `None` and `false` leave a thing as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkSettings {
    /// Set it up.
    pub up: bool,
    /// Largest packet in bytes.
    pub mtu: Option<u32>,
    /// Packets that wait for a reader before the kernel drops (`txqueuelen`).
    pub queue_length: Option<u32>,
    /// No IPv6 address of its own: no link-local one (`addr_gen_mode none`), none from routers (`accept_ra 0`).
    pub unnumbered: bool,
}

/// A link could not be set as wished.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LinkError {
    /// There is no such interface.
    #[error("no network interface is named {0:?}")]
    Missing(String),
    /// The kernel refused the change.
    #[error("cannot configure network interface {name:?}: {source}")]
    Refused {
        /// The interface.
        name: String,
        /// Why.
        #[source]
        source: NetlinkError,
    },
}

/// Index of the link `name` in the calling thread's network namespace.
///
/// # Errors
/// [`LinkError::Missing`].
pub fn index(name: &str) -> Result<u32, LinkError> {
    match crate::sys::interface::index(name) {
        Ok(index) => Ok(index.into()),
        Err(_) => Err(LinkError::Missing(name.to_owned())),
    }
}

/// Configures the link `name` of the calling thread's network namespace, in one request.
///
/// # Errors
/// See [`LinkError`]; needs `CAP_NET_ADMIN` over the namespace.
pub fn configure(name: &str, settings: &LinkSettings) -> Result<(), LinkError> {
    let refused = |source| LinkError::Refused {
        name: name.to_owned(),
        source,
    };
    let mut connection = Connection::route().map_err(refused)?;
    if settings.unnumbered {
        // Before the link is up: a link-local address is made the moment it comes up.
        prepare_ipv6(name);
        without_ipv6_is_fine(connection.change(&no_address_generation(name), 0))
            .map_err(refused)?;
    }
    connection
        .change(&link_request(name, settings), 0)
        .map_err(|source| {
            if source.refusal() == Some(libc::ENODEV) {
                LinkError::Missing(name.to_owned())
            } else {
                refused(source)
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
        if let Err(error) = std::fs::write(format!("/proc/sys/net/ipv6/conf/{name}/{setting}"), "0")
        {
            tracing::debug!(name, setting, %error, "the setting stays as it is");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
