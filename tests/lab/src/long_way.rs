//! A longer way: two machines behind the server, which forwards to them.
//!
//! ```text
//!  … router core0 ── up0 server far0 ── near0 third far0 ── near0 target
//! ```

use anyhow::Result;

use crate::namespace::Namespace;
use crate::network::{Lab, addresses, default_routes, link};

/// The machines behind the server, which go with it.
#[derive(Debug)]
pub struct LongWay {
    /// The third router on the way, after the lab's router and the server.
    pub third: Namespace,
    /// Where the way ends.
    pub target: Namespace,
}

impl LongWay {
    /// The third router, on the server's side.
    pub const THIRD_V4: &str = "192.0.2.2";
    /// The third router, on the server's side.
    pub const THIRD_V6: &str = "2001:db8:2::2";
    /// The machine at the end.
    pub const TARGET_V4: &str = "198.51.100.10";
    /// The machine at the end.
    pub const TARGET_V6: &str = "2001:db8:51::10";
}

impl Lab {
    /// Makes the way longer. All machines on it say what they have to say, however often.
    pub fn long_way(&self) -> Result<LongWay> {
        let way = LongWay {
            third: Namespace::new(self.folder())?,
            target: Namespace::new(self.folder())?,
        };
        let LongWay { third, target } = &way;
        for machine in [&self.server, third, target] {
            machine.sysctl("net.ipv4.conf.all.rp_filter", "0")?;
            machine.sysctl("net.ipv4.ip_forward", "1")?;
            machine.sysctl("net.ipv6.conf.all.forwarding", "1")?;
            machine.sysctl("net.ipv4.icmp_ratelimit", "0")?;
            machine.sysctl("net.ipv6.icmp.ratelimit", "0")?;
        }
        link((&self.server, "far0"), (third, "near0"))?;
        link((third, "far0"), (target, "near0"))?;
        addresses(&self.server, "far0", &["192.0.2.1", "2001:db8:2::1"])?;
        addresses(third, "near0", &[LongWay::THIRD_V4, LongWay::THIRD_V6])?;
        addresses(third, "far0", &["198.51.100.1", "2001:db8:51::1"])?;
        addresses(target, "near0", &[LongWay::TARGET_V4, LongWay::TARGET_V6])?;
        default_routes(third, "192.0.2.1", "2001:db8:2::1")?;
        default_routes(target, "198.51.100.1", "2001:db8:51::1")?;
        for (machine, destination, via) in [
            (&self.router, "198.51.100.0/24", "203.0.113.10"),
            (&self.router, "2001:db8:51::/64", "2001:db8:113::10"),
            (&self.router, "192.0.2.0/24", "203.0.113.10"),
            (&self.router, "2001:db8:2::/64", "2001:db8:113::10"),
            (&self.server, "198.51.100.0/24", LongWay::THIRD_V4),
            (&self.server, "2001:db8:51::/64", LongWay::THIRD_V6),
        ] {
            machine.ip(&format!("route add {destination} via {via}"))?;
        }
        // Of its several addresses the server speaks as this one.
        let as_itself = "via 2001:db8:113::1 src 2001:db8:113::10";
        self.server
            .ip(&format!("route add 2001:db8:77::/64 {as_itself}"))?;
        Ok(way)
    }
}
