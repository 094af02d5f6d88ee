//! What a message of Darwin's routing socket is news of (route(4)).

use super::Changes;
use crate::routing_messages::{self as routing, RouteMessage, kind};

/// What messages of a routing socket are about.
pub(crate) fn kinds(bytes: &[u8]) -> Changes {
    routing::messages(bytes).fold(Changes::default(), |changes, message| {
        changes.and(message.map_or(Changes::EVERYTHING, about))
    })
}

fn about(message: &[u8]) -> Changes {
    let nothing = Changes::default();
    match routing::kind_of(message) {
        Some(kind::INTERFACE) => Changes {
            links: true,
            ..nothing
        },
        Some(kind::NEW_ADDRESS | kind::OLD_ADDRESS) => Changes {
            addresses: true,
            ..nothing
        },
        Some(kind::ADD | kind::DELETE | kind::CHANGE | kind::REDIRECT) => Changes {
            routes: tells_of_the_network(message),
            ..nothing
        },
        // Look-ups, misses, multicast memberships.
        _ => nothing,
    }
}

/// Each neighbour and each destination gets a cloned route of its own: that is traffic, not a change.
fn tells_of_the_network(message: &[u8]) -> bool {
    RouteMessage::parse(message).is_none_or(|route| !route.is_cloned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::routing_messages::{Gateway, flag};

    fn event(kind: u8) -> Vec<u8> {
        let mut bytes = vec![0; 112];
        bytes[0..2].copy_from_slice(&112_u16.to_ne_bytes());
        bytes[2] = 5;
        bytes[3] = kind;
        bytes
    }

    fn route(kind: u8, flags: u32) -> Vec<u8> {
        let route = RouteMessage {
            kind,
            flags,
            destination: "198.51.100.0/24".parse().ok(),
            gateway: Some(Gateway::Interface(4)),
            ..RouteMessage::default()
        };
        route.to_bytes()
    }

    #[test]
    fn links_addresses_and_routes_are_told_apart() {
        let nothing = Changes::default();
        let links = Changes {
            links: true,
            ..nothing
        };
        let addresses = Changes {
            addresses: true,
            ..nothing
        };
        let routes = Changes {
            routes: true,
            ..nothing
        };
        assert_eq!(kinds(&event(kind::INTERFACE)), links);
        assert_eq!(kinds(&event(kind::OLD_ADDRESS)), addresses);
        assert_eq!(kinds(&route(kind::ADD, flag::UP)), routes);
        let several = [event(kind::NEW_ADDRESS), route(kind::DELETE, flag::UP)].concat();
        assert_eq!(kinds(&several), addresses.and(routes));
    }

    #[test]
    fn a_route_that_traffic_made_is_no_news() {
        let cloned = route(kind::ADD, flag::UP | flag::WAS_CLONED);
        assert!(!kinds(&cloned).any());
        assert!(!kinds(&event(kind::MISS)).any());
    }

    #[test]
    fn a_truncated_message_may_have_been_anything() {
        assert_eq!(kinds(&event(kind::INTERFACE)[..100]), Changes::EVERYTHING);
        let mut other_version = event(kind::INTERFACE);
        other_version[2] = 4;
        assert_eq!(kinds(&other_version), Changes::EVERYTHING);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            kinds(&bytes);
        }
    }
}
