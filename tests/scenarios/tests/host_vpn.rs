//! Host capture beside VPNs that steer by mark or by routes, begun before us or after us, ended before us or after us.
//!
//! The VPN is a small program at either end: packets of a TUN device travel in datagrams. The rules and routes are those of
//! wg-quick, of Tailscale with an exit node, of OpenVPN, and of a client that names no preference.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tidegate_lab::{Background, Daemon, Lab, User, address, endpoint, service, wait_until};

const SOON: Duration = Duration::from_millis(2500);
const SERVERS: [&str; 2] = [address::SERVER_V4, address::SERVER_V6];
const INSIDE: [&str; 2] = ["10.9.0.2", "fd09::2"];
const OUTSIDE: [&str; 2] = [address::HOST_V4, address::HOST_V6];

/// How a VPN client arranges the host.
struct Vpn {
    /// The mark of its own packets, 0 for none.
    mark: u32,
    up: &'static str,
    down: &'static str,
}

/// `wg-quick up` with `AllowedIPs = 0.0.0.0/0, ::/0`.
const WG_QUICK: Vpn = Vpn {
    mark: 51820,
    up: "for family in -4 -6; do
    ip $family route add default dev vpn0 table 51820
    ip $family rule add not fwmark 51820 table 51820
    ip $family rule add table main suppress_prefixlength 0
done",
    down: "for family in -4 -6; do
    ip $family rule del table 51820
    ip $family rule del table main suppress_prefixlength 0
    ip $family route flush table 51820
done",
};

/// `tailscale up --exit-node`.
const TAILSCALE: Vpn = Vpn {
    mark: 0x80000,
    up: "for family in -4 -6; do
    ip $family rule add pref 5210 fwmark 0x80000/0xff0000 table main
    ip $family rule add pref 5230 fwmark 0x80000/0xff0000 table default
    ip $family rule add pref 5250 fwmark 0x80000/0xff0000 type unreachable
    ip $family rule add pref 5270 table 52
    ip $family route add default dev vpn0 table 52
done
ip -4 route add throw 192.168.77.0/24 table 52",
    down: "for family in -4 -6; do
    for pref in 5210 5230 5250 5270; do ip $family rule del pref $pref; done
    ip $family route flush table 52
done",
};

/// OpenVPN's `redirect-gateway def1 ipv6`: no mark, a host route to its server.
const OPENVPN: Vpn = Vpn {
    mark: 0,
    up: "ip route add 203.0.113.53 via 192.168.77.1
ip route add 0.0.0.0/1 dev vpn0
ip route add 128.0.0.0/1 dev vpn0
for net in ::/3 2000::/4 3000::/4 fc00::/7; do ip -6 route add $net dev vpn0; done",
    down: "ip route del 203.0.113.53 via 192.168.77.1
ip route del 0.0.0.0/1 dev vpn0
ip route del 128.0.0.0/1 dev vpn0
for net in ::/3 2000::/4 3000::/4 fc00::/7; do ip -6 route del $net dev vpn0; done",
};

/// Whatever place the kernel gives its rules.
const WITHOUT_PREFERENCE: Vpn = Vpn {
    mark: 0x1234,
    up: "for family in -4 -6; do
    ip $family route add default dev vpn0 table 200
    ip $family rule add table 200
    ip $family rule add fwmark 0x1234 table main
done",
    down: "for family in -4 -6; do
    ip $family rule del fwmark 0x1234 table main
    ip $family rule del table 200
    ip $family route flush table 200
done",
};

#[derive(Clone, Copy, Debug, PartialEq)]
enum When {
    BeforeUs,
    AfterUs,
}

#[test]
fn wg_quick_carries_what_we_send_and_goes_as_it_came() -> Result<()> {
    in_every_order(&WG_QUICK)
}

#[test]
fn tailscale_carries_what_we_send_and_goes_as_it_came() -> Result<()> {
    in_every_order(&TAILSCALE)
}

#[test]
fn openvpn_carries_what_we_send_and_goes_as_it_came() -> Result<()> {
    in_every_order(&OPENVPN)
}

#[test]
fn rules_without_a_preference_carry_what_we_send_and_go_as_they_came() -> Result<()> {
    in_every_order(&WITHOUT_PREFERENCE)
}

/// By a strict filter answers would have to come in where captured traffic goes out: at our own device.
#[test]
fn strict_reverse_path_filters_let_the_answers_to_what_we_send_in() -> Result<()> {
    for begun in [When::BeforeUs, When::AfterUs] {
        let lab = Lab::new()?;
        lab.host.sysctl("net.ipv4.conf.up0.rp_filter", "1")?;
        lab.host.sysctl("net.ipv4.conf.default.rp_filter", "1")?;
        in_order(&lab, &OPENVPN, begun, When::BeforeUs)?;
        in_order(&lab, &OPENVPN, begun, When::AfterUs)?;
    }
    Ok(())
}

fn in_every_order(vpn: &Vpn) -> Result<()> {
    for begun in [When::BeforeUs, When::AfterUs] {
        for ended in [When::BeforeUs, When::AfterUs] {
            in_order(&Lab::new()?, vpn, begun, ended)
                .with_context(|| format!("begun {begun:?}, ended {ended:?}"))?;
        }
    }
    Ok(())
}

fn in_order(lab: &Lab, vpn: &Vpn, begun: When, ended: When) -> Result<()> {
    let _web = service::Http::start(&lab.server, 80)?;
    let untouched = lab.host.network_state()?;
    let (mut tunnel, mut tidegate) = match begun {
        When::BeforeUs => {
            let tunnel = Tunnel::begin(lab, vpn)?;
            ensure_seen_from(lab, INSIDE)?;
            let tidegate = lab.tidegate("")?;
            (tunnel, tidegate)
        }
        When::AfterUs => {
            let tidegate = lab.tidegate("")?;
            ensure_carried(lab, &tidegate, OUTSIDE)?;
            (Tunnel::begin(lab, vpn)?, tidegate)
        }
    };
    ensure_carried(lab, &tidegate, INSIDE).context("both are there")?;
    wait_until("status names the VPN", SOON, || named(&tidegate))
        .with_context(|| format!("{:?}", tidegate.status()))?;
    ensure_no_loop(&tidegate)?;
    match ended {
        When::BeforeUs => {
            tunnel.end(lab)?;
            ensure_carried(lab, &tidegate, OUTSIDE).context("the VPN has gone")?;
            wait_until("status no longer names the VPN", SOON, || !named(&tidegate))?;
            ensure!(tidegate.process().stop()? == 0);
        }
        When::AfterUs => {
            ensure!(tidegate.process().stop()? == 0);
            ensure_seen_from(lab, INSIDE).context("we have gone")?;
            tunnel.end(lab)?;
        }
    }
    ensure_seen_from(lab, OUTSIDE).context("both have gone")?;
    untouched.ensure_equals(&lab.host.network_state()?)
}

/// Both ends of a VPN.
struct Tunnel<'a> {
    vpn: &'a Vpn,
    client: Background,
    _server: Background,
}

impl<'a> Tunnel<'a> {
    fn begin(lab: &Lab, vpn: &'a Vpn) -> Result<Self> {
        let server = lab
            .server
            .python_background_as(User::ROOT, &tunnel("listen", vpn.mark))?;
        server.wait_for_output("ready")?;
        lab.server
            .bash(
                "set -e
ip address add 10.9.0.1/24 dev vpn0
ip address add fd09::1/64 dev vpn0 nodad
ip link set vpn0 up",
            )?
            .success()?;
        let client = lab
            .host
            .python_background_as(User::ROOT, &tunnel("call", vpn.mark))?;
        client.wait_for_output("ready")?;
        let arrange = format!(
            "set -e
ip address add 10.9.0.2/24 dev vpn0
ip address add fd09::2/64 dev vpn0 nodad
ip link set vpn0 mtu 1400 up
{}",
            vpn.up
        );
        lab.host.bash(&arrange)?.success()?;
        Ok(Self {
            vpn,
            client,
            _server: server,
        })
    }

    fn end(&mut self, lab: &Lab) -> Result<()> {
        lab.host
            .bash(&format!("set -e\n{}", self.vpn.down))?
            .success()?;
        // The device goes with its program.
        self.client.kill()
    }
}

/// A program that carries the packets of a TUN device in datagrams.
fn tunnel(role: &str, mark: u32) -> String {
    format!(
        "
import fcntl, os, select, socket, struct
tun = os.open('/dev/net/tun', os.O_RDWR)
fcntl.ioctl(tun, 0x400454ca, struct.pack('16sH22x', b'vpn0', 0x1001))
wire = socket.socket(type=socket.SOCK_DGRAM)
peer = ('{server}', 51820)
if '{role}' == 'listen': wire.bind(('{server}', 51820))
elif {mark}: wire.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, {mark})
if '{role}' == 'call': wire.bind(('', 0))
print('ready')
while True:
    for readable in select.select([tun, wire], [], [])[0]:
        try:
            if readable is tun: wire.sendto(os.read(tun, 2000), peer)
            else:
                packet, peer = wire.recvfrom(2000)
                os.write(tun, packet)
        except OSError as error: print(error)",
        server = address::DNS_V4
    )
}

/// Programs' connections reach the server from these addresses, soon.
fn ensure_seen_from(lab: &Lab, sources: [&str; 2]) -> Result<()> {
    for (server, source) in SERVERS.into_iter().zip(sources) {
        let fetch = format!("curl -sS -m 2 http://{}/whoami", endpoint(server, 80)?);
        let mut said = None;
        wait_until(&format!("{server} sees {source}"), SOON, || {
            said = lab.host.bash(&fetch).ok();
            let peer = said.as_ref().and_then(|said| said.stdout.rsplit_once(':'));
            peer.is_some_and(|(ip, _)| ip.trim_matches(['[', ']']).ends_with(source))
        })
        .with_context(|| format!("{said:?}; {:?}", lab.host.bash("ip rule; ip -6 rule")))?;
    }
    Ok(())
}

/// The same, and they are captured: at the latest once our rules are ahead of the VPN's again.
fn ensure_carried(lab: &Lab, tidegate: &Daemon<'_>, sources: [&str; 2]) -> Result<()> {
    ensure_seen_from(lab, sources)?;
    wait_until("connections are captured", SOON, || {
        lab.ensure_captured(tidegate).is_ok()
    })
}

/// Whether status says of both families that the VPN carries them.
fn named(tidegate: &Daemon<'_>) -> bool {
    tidegate.status().is_ok_and(|status| {
        let uplinks = status["capture"]["uplinks"].as_array().cloned();
        uplinks.is_some_and(|uplinks| {
            uplinks.len() == 2 && uplinks.iter().all(|uplink| uplink["tunnel"] == "vpn0")
        })
    })
}

/// Neither our own packets nor the VPN's, round and round.
fn ensure_no_loop(tidegate: &Daemon<'_>) -> Result<()> {
    let flows = tidegate.flows()?;
    let ours = flows.iter().find(|flow| flow["app"]["name"] == "tidegate");
    ensure!(ours.is_none(), "{ours:?}");
    let wires = flows
        .iter()
        .filter(|flow| flow["remote"] == "203.0.113.53:51820");
    ensure!(wires.count() <= 1, "{flows:?}");
    Ok(())
}
