//! The congestion control with which programs send into the TUN device: a metric of the routes that lead there.
//!
//! From a program to us there is no network, only a queue in this kernel that tells nobody how full it is. An algorithm
//! that paces by what it believes of a path (BBR, the default of some systems) fills that queue with packets of a segment
//! or two, a timer behind each: 512 connections took ten times as long as with CUBIC. The network behind us sees our own
//! sockets, which follow the host's choice; only services whose packets we pass on as they are take CUBIC to their clients.

use std::fs;

use netlink_packet_route::route::{RouteAttribute, RouteMetric};

/// What the kernel has, in its own network namespace and in every other.
const AVAILABLE: &str = "/proc/sys/net/ipv4/tcp_available_congestion_control";
/// What is wanted, best first. Linux always has the last.
const WANTED: [&str; 2] = ["cubic", "reno"];

/// The attribute of a route to the TUN device; `None` where the kernel does not say what it has.
pub(crate) fn metric() -> Option<RouteAttribute> {
    let available = fs::read_to_string(AVAILABLE).ok()?;
    let algorithm = choose(&available)?.to_owned();
    Some(RouteAttribute::Metrics(vec![RouteMetric::CcAlgo(
        algorithm,
    )]))
}

fn choose(available: &str) -> Option<&'static str> {
    WANTED
        .into_iter()
        .find(|wanted| available.split_ascii_whitespace().any(|has| has == *wanted))
}

#[cfg(test)]
mod tests {
    use super::choose;

    #[test]
    fn cubic_is_taken_where_it_is_and_else_reno() {
        assert_eq!(choose("reno bbr cubic\n"), Some("cubic"));
        assert_eq!(choose("bbr reno\n"), Some("reno"));
        assert_eq!(choose("cubic_like\n"), None);
        assert_eq!(choose(""), None);
    }
}
