//! Host capture: what starting, stopping and dying leave of the host's network.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tidegate_lab::{Lab, NetworkState, address, service, wait_until};

const PATIENCE: Duration = Duration::from_secs(15);

#[test]
fn a_clean_stop_leaves_the_network_as_it_was() -> Result<()> {
    let lab = Lab::new()?;
    let before = lab.host.network_state()?;
    let mut tidegate = lab.tidegate("")?;
    ensure_changed(&lab, &before)?;
    ensure!(tidegate.process().stop()? == 0);
    before.ensure_equals(&lab.host.network_state()?)
}

#[test]
fn an_interrupt_leaves_the_network_as_it_was_and_cuts_nobody_off() -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let before = lab.host.network_state()?;
    let mut tidegate = lab.tidegate("[capture]\nfail = \"closed\"\n")?;
    let mut drip = lab
        .host
        .background("exec curl -sSN http://203.0.113.10/drip")?;
    drip.wait_for_output("drip")?;
    tidegate.process().signal(SIGINT)?;
    tidegate.process().wait(PATIENCE)?;
    before.ensure_equals(&lab.host.network_state()?)?;
    // What we carried cannot go on, and is told so.
    const RECEIVE_ERROR: i32 = 56;
    ensure!(
        drip.wait(Duration::from_secs(1))? == RECEIVE_ERROR,
        "{}",
        drip.output()
    );
    ensure_connects(&lab, address::SERVER_V4, "connected")
}

#[test]
fn recover_undoes_what_a_killed_instance_left_behind() -> Result<()> {
    for fail in ["open", "closed"] {
        let lab = Lab::new()?;
        let before = lab.host.network_state()?;
        let mut tidegate = lab.tidegate(&format!("[capture]\nfail = \"{fail}\"\n"))?;
        tidegate.process().kill()?;
        ensure_changed(&lab, &before)?;
        lab.tidegate_command(&["recover"])?.success()?;
        before.ensure_equals(&lab.host.network_state()?)?;
        lab.tidegate_command(&["recover"])?.success()?;
        before.ensure_equals(&lab.host.network_state()?)?;
    }
    Ok(())
}

#[test]
fn a_new_start_takes_over_what_a_killed_instance_left_behind() -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let before = lab.host.network_state()?;
    let mut killed = lab.tidegate("[capture]\nfail = \"closed\"\n")?;
    killed.process().kill()?;
    let mut tidegate = lab.tidegate("[capture]\ntun = \"tide7\"\n")?;
    ensure_connects(&lab, address::SERVER_V4, "connected")?;
    tidegate.flow_to("203.0.113.10:80")?;
    ensure!(tidegate.process().stop()? == 0);
    before.ensure_equals(&lab.host.network_state()?)
}

#[test]
fn a_device_that_another_program_removes_ends_us_and_opens_the_host() -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let before = lab.host.network_state()?;
    let mut tidegate = lab.tidegate("[capture]\nfail = \"closed\"\n")?;
    lab.host.ip("link del tide0")?;
    ensure!(tidegate.process().wait(PATIENCE)? != 0);
    let said = tidegate.process().output();
    ensure!(said.contains("tide0") || said.contains("device"), "{said}");
    before.ensure_equals(&lab.host.network_state()?)?;
    ensure_connects(&lab, address::SERVER_V4, "connected")
}

#[test]
fn a_new_uplink_address_is_the_source_of_new_connections() -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let tidegate = lab.tidegate("")?;
    lab.host
        .bash(
            "ip address del 192.168.77.2/24 dev up0; ip address add 192.168.77.9/24 dev up0; \
             ip -4 route replace default via 192.168.77.1",
        )?
        .success()?;
    let from = "curl -sS -m 2 -o /dev/null -w '%{local_ip}' http://203.0.113.10/whoami";
    wait_until("connections leave from the new address", PATIENCE, || {
        lab.host
            .bash(from)
            .is_ok_and(|said| said.stdout == "192.168.77.9")
    })
    .with_context(|| format!("{:?}", lab.host.bash("ip route show table all; ip rule")))?;
    ensure!(lab.is_captured(&tidegate, address::SERVER_V4)?);
    Ok(())
}

#[test]
fn an_uplink_that_comes_back_is_captured_again() -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let mut tidegate = lab.tidegate("")?;
    lab.host
        .bash("ip -4 route del default; ip -6 route del default")?
        .success()?;
    for server in [address::SERVER_V4, address::SERVER_V6] {
        let seen = lab.host.connect(server, 80, PATIENCE)?.word;
        ensure!(
            seen == "ENETUNREACH" || seen == "EHOSTUNREACH",
            "{server}: {seen}"
        );
    }
    ensure!(
        !tidegate.process().has_ended(),
        "{}",
        tidegate.process().output()
    );
    lab.host.ip("-4 route add default via 192.168.77.1")?;
    lab.host.ip("-6 route add default via 2001:db8:77::1")?;
    wait_until("both families are captured again", PATIENCE, || {
        lab.ensure_captured(&tidegate).is_ok()
    })
}

#[test]
fn recover_leaves_a_living_instance_alone() -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let mut tidegate = lab.tidegate("")?;
    let running = lab.host.network_state()?;
    lab.tidegate_command(&["recover"])?.failure()?;
    running.ensure_equals(&lab.host.network_state()?)?;
    ensure!(!tidegate.process().has_ended());
    ensure_connects(&lab, address::SERVER_V4, "connected")?;
    tidegate.flow_to("203.0.113.10:80").map(drop)
}

#[test]
fn a_second_instance_is_refused_and_the_first_goes_on() -> Result<()> {
    let lab = Lab::new()?;
    let _first = lab.tidegate("")?;
    let running = lab.host.network_state()?;
    let mut second = lab.tidegate_starting("", &[])?;
    ensure!(second.process().wait(PATIENCE)? != 0);
    ensure!(
        second.process().output().contains("another instance"),
        "{}",
        second.process().output()
    );
    running.ensure_equals(&lab.host.network_state()?)
}

#[test]
fn fail_open_opens_the_host_when_we_are_killed() -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let mut tidegate = lab.tidegate("[capture]\nfail = \"open\"\n")?;
    lab.ensure_captured(&tidegate)?;
    tidegate.process().kill()?;
    ensure_connects(&lab, address::SERVER_V4, "connected")?;
    ensure_connects(&lab, address::SERVER_V6, "connected")
}

#[test]
fn fail_closed_shuts_the_host_when_we_are_killed() -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let mut tidegate = lab.tidegate("[capture]\nfail = \"closed\"\n")?;
    lab.ensure_captured(&tidegate)?;
    tidegate.process().kill()?;
    for server in [address::SERVER_V4, address::SERVER_V6, address::ROUTER_V4] {
        let outcome = lab.host.connect(server, 80, PATIENCE)?;
        ensure!(
            outcome.word == "EHOSTUNREACH" || outcome.word == "ENETUNREACH",
            "{server}: {outcome:?}"
        );
        ensure!(
            outcome.took < Duration::from_secs(2),
            "{server}: {outcome:?}"
        );
    }
    lab.tidegate_command(&["recover"])?.success()?;
    ensure_connects(&lab, address::SERVER_V4, "connected")?;
    ensure_connects(&lab, address::SERVER_V6, "connected")
}

#[test]
fn a_strict_reverse_path_filter_is_loosened_while_we_run_and_restored() -> Result<()> {
    for (up0, all) in [("1", "0"), ("0", "1")] {
        let lab = Lab::new()?;
        lab.host.sysctl("net.ipv4.conf.up0.rp_filter", up0)?;
        lab.host.sysctl("net.ipv4.conf.all.rp_filter", all)?;
        let _web = service::Http::start(&lab.server, 80)?;
        let _echo = service::UdpEcho::start(&lab.server, &[address::SERVER_V4], 7)?;
        let before = lab.host.network_state()?;
        let mut tidegate = lab.tidegate("")?;
        let filter = lab.host.bash("cat /proc/sys/net/ipv4/conf/up0/rp_filter")?;
        ensure!(filter.success()? == "2");
        ensure_connects(&lab, address::SERVER_V4, "connected")?;
        let outcome = lab.host.echo(address::SERVER_V4, 7, 20, PATIENCE)?;
        ensure!(outcome.word == "echoed", "{outcome:?}");
        lab.host
            .bash(&format!("ping -c 1 -W 5 {}", address::SERVER_V4))?
            .success()?;
        ensure!(tidegate.flows()?.len() == 3, "{:?}", tidegate.flows()?);
        ensure!(tidegate.process().stop()? == 0);
        before.ensure_equals(&lab.host.network_state()?)?;
    }
    Ok(())
}

#[test]
fn where_another_firewall_drops_what_we_capture_the_start_is_undone_and_the_reason_said()
-> Result<()> {
    for family in ["ip", "ip6"] {
        let lab = Lab::new()?;
        let _web = service::Http::start(&lab.server, 80)?;
        lab.host.bash(&format!(
            "nft 'add table inet other; add chain inet other out {{ type filter hook output priority 0; }};
             add rule inet other out meta nfproto {} oifname != {{ \"lo\", \"up0\" }} drop'",
            if family == "ip" { "ipv4" } else { "ipv6" }
        ))?
        .success()?;
        let before = lab.host.network_state()?;
        let mut tidegate = lab.tidegate_starting("", &[])?;
        ensure!(tidegate.process().wait(PATIENCE)? == 1);
        let said = tidegate.process().output();
        ensure!(
            said.contains("probe") && said.contains("firewall"),
            "{said}"
        );
        before.ensure_equals(&lab.host.network_state()?)?;
        ensure_connects(&lab, address::SERVER_V4, "connected")?;
        ensure_connects(&lab, address::SERVER_V6, "connected")?;
    }
    Ok(())
}

#[test]
fn a_trial_that_nobody_confirms_undoes_itself() -> Result<()> {
    let lab = Lab::new()?;
    let before = lab.host.network_state()?;
    let mut tidegate = lab.tidegate_starting("", &["--try", "3s"])?;
    tidegate.wait_until_capturing()?;
    ensure_changed(&lab, &before)?;
    let left = tidegate.status()?["trial_seconds_left"].clone();
    ensure!(left.as_u64().is_some_and(|left| left <= 3), "{left}");
    tidegate.process().wait(PATIENCE)?;
    before.ensure_equals(&lab.host.network_state()?)
}

#[test]
fn a_trial_that_is_confirmed_stays() -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let started = Instant::now();
    let mut tidegate = lab.tidegate_starting("", &["--try", "2s"])?;
    tidegate.wait_until_capturing()?;
    tidegate.ask(&["confirm"])?.success()?;
    ensure!(tidegate.status()?["trial_seconds_left"].is_null());
    wait_until("the trial would be over", PATIENCE, || {
        started.elapsed() > Duration::from_secs(5)
    })?;
    ensure!(!tidegate.process().has_ended());
    lab.ensure_captured(&tidegate)?;
    tidegate.ask(&["confirm"])?.failure()?;
    Ok(())
}

#[test]
fn a_broken_configuration_is_refused_with_its_line_before_anything_is_touched() -> Result<()> {
    let lab = Lab::new()?;
    let before = lab.host.network_state()?;
    let mut tidegate = lab.tidegate_starting("[capture]\nfail = \"ajar\"\n", &[])?;
    ensure!(tidegate.process().wait(PATIENCE)? == 1);
    let said = tidegate.process().output();
    ensure!(said.contains("tidegate.toml:2:"), "{said}");
    before.ensure_equals(&lab.host.network_state()?)
}

const SIGINT: i32 = 2;

fn ensure_changed(lab: &Lab, before: &NetworkState) -> Result<()> {
    let changes = before.changes(&lab.host.network_state()?);
    for table in ["+ rule4 ", "+ rule6 "] {
        ensure!(
            changes.iter().any(|line| line.starts_with(table)),
            "no `{table}` among {changes:?}"
        );
    }
    Ok(())
}

fn ensure_connects(lab: &Lab, server: &str, expected: &str) -> Result<()> {
    let seen = lab.host.connect(server, 80, PATIENCE)?.word;
    ensure!(seen == expected, "{server}: {seen}, not {expected}");
    Ok(())
}
