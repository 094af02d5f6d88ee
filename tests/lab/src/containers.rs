//! Containers on the host: machines behind bridges, as container engines make them.
//!
//! ```text
//!  one eth0 ──┐
//!           br0 host up0 ── …
//!  two eth0 ──┘  │
//!              br1 ── eth0 apart
//! ```

use anyhow::Result;

use crate::impaired_link::ImpairedLink;
use crate::impairment::Impairment;
use crate::namespace::Namespace;
use crate::network::{Lab, address, addresses, bring_up, default_routes, link};

/// Three containers behind the host, which go with it.
#[derive(Debug)]
pub struct Containers {
    /// On the first bridge, `br0`.
    pub one: Namespace,
    /// On the first bridge.
    pub two: Namespace,
    /// On a bridge of its own, `br1`.
    pub apart: Namespace,
    /// The link of the first container where it is a bad one, its first end at the host.
    pub link: Option<ImpairedLink>,
}

/// Whether the world sees the containers' addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hidden {
    /// They are masqueraded, as container engines do it. Their bridges are kept apart by a firewall.
    Masqueraded,
    /// They are routed: the router knows the way.
    Routed,
}

impl Containers {
    /// The first container.
    pub const ONE_V4: &str = "172.18.0.10";
    /// The first container.
    pub const ONE_V6: &str = "fd18::10";
    /// The second container.
    pub const TWO_V4: &str = "172.18.0.20";
    /// The second container.
    pub const TWO_V6: &str = "fd18::20";
    /// The one on the second bridge.
    pub const APART_V4: &str = "172.19.0.10";
    /// The one on the second bridge.
    pub const APART_V6: &str = "fd19::10";
    /// Port of the host, of TCP and UDP, that leads to port 80 of the first container, if that is masqueraded.
    pub const PUBLISHED: u16 = 8080;
}

/// What a container engine tells the firewall.
const ENGINE: &str = "
table inet engine {
    chain publish {
        type nat hook prerouting priority dstnat
        fib daddr type local jump ports
    }
    chain publish_here {
        type nat hook output priority -100
        fib daddr type local ip daddr != 127.0.0.0/8 jump ports
        fib daddr type local ip6 daddr != ::1 jump ports
    }
    chain ports {
        meta nfproto ipv4 meta l4proto { tcp, udp } th dport 8080 dnat ip to 172.18.0.10:80
        meta nfproto ipv6 meta l4proto { tcp, udp } th dport 8080 dnat ip6 to [fd18::10]:80
    }
    chain hide {
        type nat hook postrouting priority srcnat
        ip saddr 172.18.0.0/24 oifname != br0 masquerade
        ip6 saddr fd18::/64 oifname != br0 masquerade
        ip saddr 172.19.0.0/24 oifname != br1 masquerade
        ip6 saddr fd19::/64 oifname != br1 masquerade
        ip saddr 172.18.0.0/24 oifname br0 ct status dnat masquerade
        ip6 saddr fd18::/64 oifname br0 ct status dnat masquerade
    }
    chain forward {
        type filter hook forward priority filter; policy drop
        ct state established,related accept
        ct status dnat accept
        iifname br0 oifname br1 drop
        iifname br1 oifname br0 drop
        iifname { br0, br1 } accept
    }
}";

impl Lab {
    /// Puts containers on the host.
    pub fn containers(&self, hidden: Hidden) -> Result<Containers> {
        self.containers_behind(hidden, None)
    }

    /// The same, the link of the first one a bad one.
    pub fn containers_behind(&self, hidden: Hidden, bad: Option<Impairment>) -> Result<Containers> {
        self.host.sysctl("net.ipv4.ip_forward", "1")?;
        self.host.sysctl("net.ipv6.conf.all.forwarding", "1")?;
        self.bridge("br0", ["172.18.0.1", "fd18::1"])?;
        self.bridge("br1", ["172.19.0.1", "fd19::1"])?;
        let one = Namespace::new(self.folder())?;
        let link = match bad {
            None => {
                link((&self.host, "one0"), (&one, "eth0"))?;
                None
            }
            Some(impairment) => {
                let (near, far) = ((&self.host, "one0"), (&one, "eth0"));
                let link = ImpairedLink::between(near, far, impairment)?;
                bring_up(&self.host, "one0")?;
                bring_up(&one, "eth0")?;
                Some(link)
            }
        };
        self.connect(
            &one,
            ("one0", "br0"),
            [Containers::ONE_V4, Containers::ONE_V6],
        )?;
        let two = self.container(("two0", "br0"), [Containers::TWO_V4, Containers::TWO_V6])?;
        let apart = self.container(
            ("apart0", "br1"),
            [Containers::APART_V4, Containers::APART_V6],
        )?;
        match hidden {
            Hidden::Masqueraded => {
                let rules = self.file("engine.nft", ENGINE)?;
                let load = format!("nft -f {}", rules.display());
                self.host.bash(&load)?.success()?;
            }
            Hidden::Routed => {
                for network in ["172.18.0.0/24", "172.19.0.0/24"] {
                    let via = address::HOST_V4;
                    self.router.ip(&format!("route add {network} via {via}"))?;
                }
                for network in ["fd18::/64", "fd19::/64"] {
                    let via = address::HOST_V6;
                    self.router.ip(&format!("route add {network} via {via}"))?;
                }
            }
        }
        Ok(Containers {
            one,
            two,
            apart,
            link,
        })
    }

    fn bridge(&self, name: &str, own: [&str; 2]) -> Result<()> {
        self.host.ip(&format!("link add {name} type bridge"))?;
        bring_up(&self.host, name)?;
        addresses(&self.host, name, &own)
    }

    fn container(&self, (port, bridge): (&str, &str), own: [&str; 2]) -> Result<Namespace> {
        let container = Namespace::new(self.folder())?;
        link((&self.host, port), (&container, "eth0"))?;
        self.connect(&container, (port, bridge), own)?;
        Ok(container)
    }

    fn connect(
        &self,
        container: &Namespace,
        (port, bridge): (&str, &str),
        own: [&str; 2],
    ) -> Result<()> {
        self.host.ip(&format!("link set {port} master {bridge}"))?;
        addresses(container, "eth0", &own)?;
        let [v4, v6] = match bridge {
            "br0" => ["172.18.0.1", "fd18::1"],
            _ => ["172.19.0.1", "fd19::1"],
        };
        // Whoever it is in there may serve on any port.
        container.sysctl("net.ipv4.ip_unprivileged_port_start", "0")?;
        default_routes(container, v4, v6)
    }
}
