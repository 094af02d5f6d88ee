//! The lab's network: a host, a router and a server in a row, with addresses in both families.
//!
//! ```text
//!  host up0 ── down0 router core0 ── up0 server
//! ```
//!
//! The host may have a second uplink to the same router: [`Lab::second_uplink`].
//! The link of the server may be a bad one: [`Lab::impaired`].
//!
//! The host's uplink is a private network, the server's has addresses kept for documentation, so a rule may call the one
//! `lan` and the other not. Behind the router some addresses lead nowhere, each in its own way: see [`address`].

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};

use crate::impaired_link::ImpairedLink;
use crate::impairment::Impairment;
use crate::namespace::{Namespace, User};
use crate::stale;

/// Who has which address. The hosts are written as text where tests put them into commands.
pub mod address {
    /// The host, where Tidegate runs.
    pub const HOST_V4: &str = "192.168.77.2";
    /// The host.
    pub const HOST_V6: &str = "2001:db8:77::2";
    /// The router, on the host's own network.
    pub const ROUTER_V4: &str = "192.168.77.1";
    /// The router, on the host's own network.
    pub const ROUTER_V6: &str = "2001:db8:77::1";
    /// The host on its second uplink; see [`Lab::second_uplink`](crate::Lab::second_uplink).
    pub const SECOND_HOST_V4: &str = "192.168.78.2";
    /// The host on its second uplink.
    pub const SECOND_HOST_V6: &str = "2001:db8:78::2";
    /// The router on the host's second uplink.
    pub const SECOND_ROUTER_V4: &str = "192.168.78.1";
    /// The router on the host's second uplink.
    pub const SECOND_ROUTER_V6: &str = "2001:db8:78::1";
    /// The server.
    pub const SERVER_V4: &str = "203.0.113.10";
    /// The server.
    pub const SERVER_V6: &str = "2001:db8:113::10";
    /// Another address of the server, for rules that tell two destinations apart.
    pub const OTHER_V4: &str = "203.0.113.20";
    /// Another address of the server.
    pub const OTHER_V6: &str = "2001:db8:113::20";
    /// An address of the server that every machine's `resolv.conf` names; see [`Dns`](crate::service::Dns).
    pub const DNS_V4: &str = "203.0.113.53";
    /// An address for the same in the other family.
    pub const DNS_V6: &str = "2001:db8:113::53";
    /// The router drops what is sent here.
    pub const BLACK_HOLE_V4: &str = "203.0.113.66";
    /// The router drops what is sent here.
    pub const BLACK_HOLE_V6: &str = "2001:db8:113::66";
    /// The router answers "host unreachable": EHOSTUNREACH.
    pub const UNREACHABLE_V4: &str = "203.0.113.67";
    /// The router answers "no route": ENETUNREACH.
    pub const UNREACHABLE_V6: &str = "2001:db8:113::67";
    /// The router answers "administratively prohibited": EHOSTUNREACH.
    pub const PROHIBITED_V4: &str = "203.0.113.68";
    /// The router answers "administratively prohibited": EACCES.
    pub const PROHIBITED_V6: &str = "2001:db8:113::68";
}

/// Authorities that Tidegate trusts instead of the system's, where a test puts this file into the lab's folder.
pub const AUTHORITIES: &str = "authorities.pem";

const AVAILABLE_CONGESTION_CONTROL: &str = "/proc/sys/net/ipv4/tcp_available_congestion_control";

/// A private network of three machines.
#[derive(Debug)]
pub struct Lab {
    /// Where programs and Tidegate run.
    pub host: Namespace,
    /// Between them; also the host's neighbour.
    pub router: Namespace,
    /// Where services run.
    pub server: Namespace,
    /// The link between the router and the server where it is a bad one.
    pub upstream: Option<ImpairedLink>,
    folder: Folder,
}

impl Lab {
    /// Builds the network. Needs root.
    pub fn new() -> Result<Self> {
        let lab = Self::machines()?;
        link((&lab.router, "core0"), (&lab.server, "up0"))?;
        lab.number()?;
        Ok(lab)
    }

    /// The same with a bad link between the router and the server, its first end at the router.
    pub fn impaired(impairment: Impairment) -> Result<Self> {
        let mut lab = Self::machines()?;
        let (near, far) = ((&lab.router, "core0"), (&lab.server, "up0"));
        let link = ImpairedLink::between(near, far, impairment)?;
        for (machine, device) in [near, far] {
            bring_up(machine, device)?;
        }
        lab.upstream = Some(link);
        lab.number()?;
        Ok(lab)
    }

    /// The machines without the server's link, and without addresses.
    fn machines() -> Result<Self> {
        stale::sweep();
        let folder = Folder::new()?;
        let lab = Self {
            host: Namespace::new(&folder.0)?,
            router: Namespace::new(&folder.0)?,
            server: Namespace::new(&folder.0)?,
            upstream: None,
            folder,
        };
        lab.forward()?;
        link((&lab.router, "down0"), (&lab.host, "up0"))?;
        Ok(lab)
    }

    /// Gives the host a second link to the router, `up1`, with addresses and without a default route.
    pub fn second_uplink(&self) -> Result<()> {
        use address::*;
        link((&self.router, "down1"), (&self.host, "up1"))?;
        addresses(&self.host, "up1", &[SECOND_HOST_V4, SECOND_HOST_V6])?;
        addresses(&self.router, "down1", &[SECOND_ROUTER_V4, SECOND_ROUTER_V6])
    }

    /// Lets no larger packet than this through the router, which says so to its sender; the machines' own links are wider.
    pub fn narrow(&self, mtu: u32) -> Result<()> {
        // The metric is the one of the kernel's own routes, which these replace.
        for route in [
            "192.168.77.0/24 dev down0",
            "203.0.113.0/24 dev core0",
            "2001:db8:77::/64 dev down0 metric 256",
            "2001:db8:113::/64 dev core0 metric 256",
        ] {
            self.router
                .ip(&format!("route replace {route} mtu lock {mtu}"))?;
        }
        Ok(())
    }

    /// A directory for this lab's files, which every user may read and every machine sees under the same path.
    ///
    /// Not below `/tmp` or `/run`, which `tidegate exec` hides from what it runs.
    pub fn folder(&self) -> &Path {
        &self.folder.0
    }

    /// Has Tidegate keep its state in the lab's folder, and trust the authorities in [`AUTHORITIES`] where it is there.
    pub(crate) fn set_surroundings(&self, command: &mut Command, user: User) -> Result<()> {
        let state = self.folder().join(format!("state-{}", user.0));
        if !state.is_dir() {
            fs::create_dir(&state).with_context(|| format!("cannot create {}", state.display()))?;
            chown(&state, Some(user.0), Some(user.0))
                .with_context(|| format!("cannot give {} away", state.display()))?;
        }
        command.env("STATE_DIRECTORY", state);
        let authorities = self.folder().join(AUTHORITIES);
        if authorities.is_file() {
            command.env("SSL_CERT_FILE", authorities);
        }
        Ok(())
    }

    /// Writes a file into [`folder`](Self::folder).
    pub fn file(&self, name: &str, text: impl AsRef<[u8]>) -> Result<PathBuf> {
        let path = self.folder().join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// The folder in which this user's gateways keep what outlives them.
    pub fn state_of(&self, user: User) -> Result<PathBuf> {
        let path = self.folder().join(format!("state-{}", user.0));
        fs::create_dir_all(&path)
            .and_then(|()| chown(&path, Some(user.0), None))
            .with_context(|| format!("cannot make {}", path.display()))?;
        Ok(path)
    }

    /// Copies a program of the system into [`folder`](Self::folder) under another name.
    pub fn program(&self, original: impl AsRef<Path>, name: &str) -> Result<PathBuf> {
        let (original, copy) = (original.as_ref(), self.folder().join(name));
        fs::copy(original, &copy)
            .with_context(|| format!("cannot copy {} to {}", original.display(), copy.display()))?;
        Ok(copy)
    }

    fn forward(&self) -> Result<()> {
        self.router.sysctl("net.ipv4.ip_forward", "1")?;
        self.router.sysctl("net.ipv6.conf.all.forwarding", "1")?;
        // ICMP errors of many tests at once are not an attack.
        self.router.sysctl("net.ipv4.icmp_ratelimit", "0")?;
        self.router.sysctl("net.ipv6.icmp.ratelimit", "0")?;
        for machine in [&self.host, &self.router, &self.server] {
            // The build machine's setting is inherited. Tests of the filter turn it on themselves.
            machine.sysctl("net.ipv4.conf.all.rp_filter", "0")?;
        }
        Ok(())
    }

    fn number(&self) -> Result<()> {
        use address::*;
        addresses(&self.host, "up0", &[HOST_V4, HOST_V6])?;
        addresses(&self.router, "down0", &[ROUTER_V4, ROUTER_V6])?;
        addresses(&self.router, "core0", &["203.0.113.1", "2001:db8:113::1"])?;
        addresses(
            &self.server,
            "up0",
            &[SERVER_V4, SERVER_V6, OTHER_V4, OTHER_V6, DNS_V4, DNS_V6],
        )?;
        default_routes(&self.host, ROUTER_V4, ROUTER_V6)?;
        default_routes(&self.server, "203.0.113.1", "2001:db8:113::1")?;
        for (kind, destination) in [
            ("blackhole", BLACK_HOLE_V4),
            ("blackhole", BLACK_HOLE_V6),
            ("unreachable", UNREACHABLE_V4),
            ("unreachable", UNREACHABLE_V6),
            ("prohibit", PROHIBITED_V4),
            ("prohibit", PROHIBITED_V6),
        ] {
            self.router.ip(&format!("route add {kind} {destination}"))?;
        }
        Ok(())
    }
}

/// Joins two machines by a pair of virtual Ethernet devices.
pub(crate) fn link(
    (here, near): (&Namespace, &str),
    (there, far): (&Namespace, &str),
) -> Result<()> {
    let far_machine = there.net_path();
    here.ip(&format!(
        "link add {near} type veth peer name {far} netns {far_machine}"
    ))?;
    bring_up(here, near)?;
    bring_up(there, far)
}

pub(crate) fn bring_up(machine: &Namespace, device: &str) -> Result<()> {
    machine.sysctl(&format!("net.ipv4.conf.{device}.rp_filter"), "0")?;
    // Addresses may be used at once: nobody else can have them.
    machine.sysctl(&format!("net.ipv6.conf.{device}.accept_dad"), "0")?;
    machine.ip(&format!("link set {device} up"))
}

pub(crate) fn addresses(machine: &Namespace, device: &str, addresses: &[&str]) -> Result<()> {
    for address in addresses {
        // An address that waits for the look at duplicates cannot be used yet, even where there is none.
        let how = if address.contains(':') {
            "/64 nodad"
        } else {
            "/24"
        };
        machine.ip(&format!("address add {address}{how} dev {device}"))?;
    }
    Ok(())
}

/// Also pins the congestion control to CUBIC: new namespaces inherit the build machine's, and some (BBR) blur figures.
pub(crate) fn default_routes(machine: &Namespace, v4: &str, v6: &str) -> Result<()> {
    let available = machine.inside(|| fs::read_to_string(AVAILABLE_CONGESTION_CONTROL))?;
    let pinned = available.is_ok_and(|names| names.split_whitespace().any(|name| name == "cubic"));
    let pin = if pinned { "congctl cubic" } else { "" };
    machine.ip(&format!("-4 route add default via {v4} {pin}"))?;
    machine.ip(&format!("-6 route add default via {v6} {pin}"))
}

/// The lab's directory, removed with it.
#[derive(Debug)]
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let path = Path::new(stale::PARENT).join(format!(
            "{}{}-{number}",
            stale::PREFIX,
            std::process::id()
        ));
        fs::create_dir(&path).with_context(|| format!("cannot create {}", path.display()))?;
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A file that will not go is found by the next lab's sweep.
        drop(fs::remove_dir_all(&self.0));
    }
}
