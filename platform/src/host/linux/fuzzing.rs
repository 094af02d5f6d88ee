//! The parsers of the host's tables, its settings and the journal, for the fuzz targets.

use netlink_packet_route::RouteNetlinkMessage;

use super::links::Links;
use super::routes::Purpose;
use super::{links, routes, rules, settings, uplinks};
use crate::host::journal::Content;

/// A message about a rule, a route or an interface. What was understood can be asked of the kernel again.
pub(crate) fn host_message(message: &RouteNetlinkMessage) {
    let interfaces = Links::for_tests(&[(1, "lo"), (2, "eth0")]);
    if let RouteNetlinkMessage::NewRule(message) = message
        && let Some(rule) = rules::from_message(message)
    {
        rules::to_message(&rule);
    }
    if let RouteNetlinkMessage::NewRoute(message) = message
        && let Some(route) = routes::from_message(message, &interfaces)
    {
        let again = routes::to_message(&route, &interfaces, Purpose::Remove);
        assert!(again.is_ok(), "{route:?} names no interface");
    }
    if let RouteNetlinkMessage::NewLink(message) = message {
        links::link(message);
    }
    uplinks::default_route(message);
}

/// The journal of changes, and the range of ephemeral ports.
pub fn host_files(bytes: &[u8]) {
    Content::parse(bytes);
    settings::port_range(&String::from_utf8_lossy(bytes));
}
