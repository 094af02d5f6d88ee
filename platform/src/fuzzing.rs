//! A window for the fuzz targets in `tests/fuzz` to the parsers that are nobody else's business.
//!
//! It exists only where cargo-fuzz compiles (`--cfg fuzzing`) and in this crate's own tests, which replay the committed
//! corpora. Each function takes the bytes that one source may hand us and panics if something is wrong.

use netlink_packet_core::NetlinkDeserializable;
use netlink_packet_route::RouteNetlinkMessage;

pub use crate::apps::fuzzing::process_files;
pub use crate::error_queue::fuzzing::error_report;
pub use crate::host::fuzzing::host_files;
pub use crate::namespaces::fuzzing::{channel_message, namespace_files};
pub use crate::tun::fuzzing::device_header;

use crate::apps::{command_line, darwin_descriptor};
use crate::emit::host_order;
use crate::host::darwin_routes;
use crate::resolvers::Resolvers;
use crate::routing_messages::{self, RouteMessage, kind};
use crate::socket_list::{self, Fit};
use crate::{conntrack, host, inet_diag, monitor, netlink, users};

/// A datagram of the kernel: answers about rules, routes, interfaces, sockets and tracked connections, refusals, events.
pub fn netlink_datagram(datagram: &[u8]) {
    monitor::kinds(datagram);
    for (header, payload) in netlink::messages(datagram).flatten() {
        let _ = netlink::verdict(payload).map_err(|refused| refused.to_string());
        inet_diag::parse(payload);
        conntrack::fuzz_answer(payload);
        if let Ok(message) = RouteNetlinkMessage::deserialize(&header, payload) {
            host::fuzzing::host_message(&message);
        }
    }
}

/// What the kernel of macOS tells of routes and sockets, of a process's descriptor and arguments. Whatever it tells of a
/// route of ours can be asked of it again.
pub fn darwin_messages(bytes: &[u8]) {
    monitor::darwin_events::kinds(bytes);
    let messages = routing_messages::messages(bytes).flatten();
    let routes: Vec<_> = messages.filter_map(RouteMessage::parse).collect();
    for message in &routes {
        let route = darwin_routes::from_message(message, |index| Some(format!("utun{index}")));
        let again =
            route.map(|route| darwin_routes::to_message(&route, kind::DELETE, message.index));
        assert!(
            !matches!(again, Some(Err(_))),
            "{message:?} cannot be undone"
        );
    }
    darwin_routes::best_default(routes.iter());
    let sockets = socket_list::entries(bytes).unwrap_or_default();
    for socket in &sockets {
        let Some((local, remote)) = socket.local_v4.zip(socket.remote_v4) else {
            continue;
        };
        let local = (local, socket.local_port).into();
        let remote = (remote, socket.remote_port).into();
        let found = socket_list::best(&sockets, local, remote, Fit::Exact);
        assert!(found.contains(&socket), "{socket:?} is not its own");
    }
    darwin_descriptor::generation(bytes);
    command_line::of_darwin(bytes);
    host_order::header(bytes);
}

/// `/etc/resolv.conf`, `/etc/passwd` and `/etc/group`.
pub fn etc_files(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let resolvers = Resolvers::parse(&text, |name| u32::try_from(name.len()).ok());
    assert!(!resolvers.servers.is_empty(), "nobody to ask");
    users::parse_users(&text);
    users::Group::parse("tidegate", &text);
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Every committed input of a fuzz target.
    fn replay(target: &str, check: impl Fn(&[u8])) {
        let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus");
        let inputs: Vec<_> = std::fs::read_dir(corpora.join(target)).unwrap().collect();
        assert!(!inputs.is_empty());
        for input in inputs {
            check(&std::fs::read(input.unwrap().path()).unwrap());
        }
    }

    #[test]
    fn the_inputs_that_fuzzing_found_still_pass() {
        replay("channel_message", channel_message);
        replay("darwin_messages", darwin_messages);
        replay("device_header", device_header);
        replay("error_report", error_report);
        replay("etc_files", etc_files);
        replay("host_files", host_files);
        replay("namespace_files", namespace_files);
        replay("netlink_datagram", netlink_datagram);
        replay("process_files", process_files);
    }
}
