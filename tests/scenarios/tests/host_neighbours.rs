//! Host capture among other actors: programs that flush rules, VPN clients, marked and device-bound sockets.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tidegate_lab::{Daemon, Lab, User, address, endpoint, service, wait_until};

/// How long other actors may take captured traffic away.
const RESTORED: Duration = Duration::from_secs(1);
/// What a busy machine may add to that before it counts.
const SLACK: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(5);

#[test]
fn rules_that_another_program_deletes_are_back_within_a_second() -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let tidegate = lab.tidegate("")?;
    let whole = lab.host.network_state()?;
    for family in ["-4", "-6"] {
        lab.host
            .bash(&format!("ip {family} rule flush protocol 219"))?
            .success()?;
        ensure!(!whole.changes(&lab.host.network_state()?).is_empty());
        wait_until("the rules are back", RESTORED + SLACK, || {
            lab.host.network_state().is_ok_and(|now| now == whole)
        })
        .with_context(|| {
            format!(
                "{:?}",
                lab.host.network_state().map(|now| whole.changes(&now))
            )
        })?;
        lab.ensure_captured(&tidegate)?;
    }
    Ok(())
}

#[test]
fn routes_that_another_program_deletes_are_back_within_a_second() -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let tidegate = lab.tidegate("[capture]\nfail = \"closed\"\n")?;
    let whole = lab.host.network_state()?;
    lab.host
        .bash("ip -4 route flush table 5100; ip -6 route flush table 5100")?
        .success()?;
    wait_until("the routes are back", RESTORED + SLACK, || {
        lab.host.network_state().is_ok_and(|now| now == whole)
    })
    .with_context(|| {
        format!(
            "{:?}",
            lab.host.network_state().map(|now| whole.changes(&now))
        )
    })?;
    lab.ensure_captured(&tidegate)
}

#[test]
fn two_rules_without_a_preference_take_captured_traffic_away_for_a_second_at_most() -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let before = lab.host.network_state()?;
    let mut tidegate = lab.tidegate("")?;
    vpn_client(&lab)?;
    for server in [address::SERVER_V4, address::SERVER_V6] {
        let added = Instant::now();
        wait_until(
            "new connections are captured again",
            RESTORED + SLACK,
            || lab.is_captured(&tidegate, server).unwrap_or_default(),
        )
        .with_context(|| {
            format!(
                "after {:?}: {:?}",
                added.elapsed(),
                lab.host.bash("ip rule; ip -6 rule")
            )
        })?;
    }
    let status = tidegate.status()?;
    let named = status["capture"]["overtaken"].to_string();
    ensure!(named.contains("lookup 200"), "{status}");
    ensure!(tidegate.process().stop()? == 0, "{status}");
    lab.host.bash(VPN_CLIENT_LEAVES)?.success()?;
    before.ensure_equals(&lab.host.network_state()?)
}

#[test]
fn a_vpn_that_was_there_before_us_carries_what_we_send() -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let _names = service::UdpEcho::start(&lab.server, &[address::SERVER_V4], 7)?;
    vpn_client(&lab)?;
    let tidegate = lab.tidegate("")?;
    ensure!(lab.is_captured(&tidegate, address::SERVER_V4)?);
    // The VPN's tunnel is down: what would leave through it must not leave in the clear.
    lab.host
        .bash(
            "for family in -4 -6; do ip $family route replace unreachable default table 200; done",
        )?
        .success()?;
    let seen = lab.host.connect(address::SERVER_V4, 80, PATIENCE)?.word;
    ensure!(seen == "ENETUNREACH" || seen == "EHOSTUNREACH", "{seen}");
    Ok(())
}

/// What VPN clients do: a table of their own, and rules to it wherever the kernel puts them.
fn vpn_client(lab: &Lab) -> Result<()> {
    lab.host
        .bash(
            "set -e
ip -4 route add default via 192.168.77.1 dev up0 table 200
ip -6 route add default via 2001:db8:77::1 dev up0 table 200
for family in -4 -6; do
    ip $family rule add from all lookup 200
    ip $family rule add not fwmark 0xca6c lookup 200
done",
        )?
        .success()
        .map(drop)
}

#[test]
fn a_route_that_names_no_device_still_leads_to_the_device_of_its_next_hop() -> Result<()> {
    let lab = Lab::new()?;
    let _tidegate = lab.tidegate("[capture]\nfail = \"closed\"\n")?;
    for (family, router) in [("-4", address::ROUTER_V4), ("-6", address::ROUTER_V6)] {
        let added = lab.host.bash(&format!(
            "ip {family} route add default via {router} table 200 && ip {family} route show table 200"
        ))?;
        let added = added.success()?;
        ensure!(added.contains(&format!("via {router} dev up0")), "{added}");
    }
    Ok(())
}

#[test]
fn a_rule_that_leads_our_own_packets_back_to_us_makes_no_endless_loop() -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let tidegate = lab.tidegate("")?;
    lab.host
        .bash("ip route add default dev tide0 table 200; ip rule add fwmark 0x2000000/0x2000000 lookup 200 pref 1")?
        .success()?;
    let outcome = lab.host.connect(address::SERVER_V4, 80, PATIENCE)?;
    ensure!(outcome.word != "connected", "{outcome:?}");
    let flows = tidegate.flows()?;
    let ours = flows
        .iter()
        .filter(|flow| flow["app"]["name"] == "tidegate");
    ensure!((1..10).contains(&ours.count()), "{flows:?}");
    Ok(())
}

const VPN_CLIENT_LEAVES: &str = "set -e
for family in -4 -6; do
    ip $family rule del not fwmark 0xca6c lookup 200
    ip $family rule del from all lookup 200
    ip $family route flush table 200
done";

#[test]
fn a_vpn_s_marked_sockets_pass_outside() -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let tidegate = lab.tidegate("")?;
    for server in [address::SERVER_V4, address::SERVER_V6] {
        let said = lab.host.python(&connect_with(server, MARKED))?;
        ensure!(said.success()? == "connected");
        // What is captured later is shown; so what came before it and is not, was not.
        ensure!(lab.is_captured(&tidegate, server)?);
        ensure_one_captured(&tidegate, server)?;
    }
    Ok(())
}

#[test]
fn strict_marks_captures_marked_sockets_too() -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let tidegate = lab.tidegate("[capture]\nstrict_marks = true\n")?;
    for server in [address::SERVER_V4, address::SERVER_V6] {
        let said = lab.host.python(&connect_with(server, MARKED))?;
        ensure!(said.success()? == "connected");
        tidegate.flow_to(&endpoint(server, 80)?.to_string())?;
    }
    Ok(())
}

#[test]
fn a_device_bound_socket_passes_and_is_said_not_to_be_seen() -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let tidegate = lab.tidegate("[capture]\nfail = \"closed\"\n")?;
    for server in [address::SERVER_V4, address::SERVER_V6] {
        let said = lab.host.python(&connect_with(server, BOUND))?;
        ensure!(said.success()? == "connected");
        ensure!(lab.is_captured(&tidegate, server)?);
        ensure_one_captured(&tidegate, server)?;
    }
    let not_seen = tidegate.status()?["not_seen"].to_string();
    ensure!(not_seen.contains("SO_BINDTODEVICE"), "{not_seen}");
    Ok(())
}

#[test]
fn multicast_and_neighbour_discovery_stay_outside() -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let tidegate = lab.tidegate("[capture]\nfail = \"closed\"\n")?;
    let listener = lab
        .router
        .python_background_as(User::ROOT, HEAR_MULTICAST)?;
    listener.wait_for_output("ready")?;
    lab.host.bash("ip neigh flush dev up0")?.success()?;
    lab.host.python(
        "import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'hello', ('224.0.0.251', 5353))",
    )?
    .success()?;
    listener.wait_for_output("hello from 192.168.77.2")?;
    lab.ensure_captured(&tidegate)?;
    let flows = tidegate.flows()?;
    let outside = |flow: &serde_json::Value| {
        let remote = flow["remote"].as_str().unwrap_or_default();
        remote.starts_with("224.") || remote.starts_with("[ff") || remote.starts_with("[fe80")
    };
    ensure!(!flows.iter().any(outside), "{flows:?}");
    Ok(())
}

const HEAR_MULTICAST: &str = "
import socket
listener = socket.socket(type=socket.SOCK_DGRAM)
listener.bind(('', 5353))
group = socket.inet_aton('224.0.0.251') + socket.inet_aton('192.168.77.1')
listener.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
print('ready')
said, sender = listener.recvfrom(100)
print(said.decode(), 'from', sender[0])";

#[test]
fn loopback_and_the_host_s_own_addresses_stay_outside() -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let _own = service::Http::start(&lab.host, 80)?;
    let tidegate = lab.tidegate("")?;
    for own in ["127.0.0.1", "[::1]", address::HOST_V4, "[2001:db8:77::2]"] {
        let fetch = format!("curl -sS -m 5 http://{own}/whoami");
        lab.host.bash(&fetch)?.success()?;
        ensure!(tidegate.flows_to(&format!("{own}:80"))?.is_empty());
    }
    lab.ensure_captured(&tidegate)
}

#[test]
fn only_root_and_the_group_may_ask_the_daemon() -> Result<()> {
    let lab = Lab::new()?;
    let tidegate = lab.tidegate("")?;
    tidegate.ask(&["flows"])?.success()?;
    tidegate.ask_as(User::ALICE, &["flows"])?.failure()?;
    Ok(())
}

/// Of the flows to the server, one went through Tidegate. Those that went past it are shown too, as such.
fn ensure_one_captured(tidegate: &Daemon<'_>, server: &str) -> Result<()> {
    let mut flows = tidegate.flows_to(&endpoint(server, 80)?.to_string())?;
    flows.retain(|flow| flow["state"] != "uncaptured");
    ensure!(flows.len() == 1, "{flows:?}");
    Ok(())
}

const MARKED: &str = "client.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, 0x1234)";
const BOUND: &str = "client.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b'up0')";

fn connect_with(server: &str, option: &str) -> String {
    let family = if server.contains(':') {
        "AF_INET6"
    } else {
        "AF_INET"
    };
    format!(
        "
import socket
client = socket.socket(socket.{family})
{option}
client.settimeout(5)
client.connect(('{server}', 80))
print('connected')"
    )
}
