//! Host capture: each flow under its own program's name, and judged by that.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tidegate_lab::{Lab, User, address, client, endpoint, service, wait_until};

const RECEIVE_ERROR: i32 = 56;
const NOT_CONNECTED: i32 = 7;
const TIMED_OUT: i32 = 28;
/// How long a flow that no longer passes may live on.
const CUT: Duration = Duration::from_secs(1);
/// How late a test may look, on a busy machine.
const SLACK: Duration = Duration::from_secs(1);

#[test]
fn of_two_names_of_one_program_one_is_blocked_and_the_other_is_not() -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    lab.program("/usr/bin/curl", "red")?;
    lab.program("/usr/bin/curl", "green")?;
    let tidegate = lab.tidegate(&block("app = \"**/red\"", "block"))?;
    for server in [address::SERVER_V4, address::SERVER_V6] {
        let server = endpoint(server, 80)?.to_string();
        let codes = lab.host.bash(&format!(
            "cd {}; for _ in 1 2 3 4 5; do
                 ./red -s -m 5 http://{server}/whoami & red=$!
                 ./green -s -m 5 -o /dev/null http://{server}/whoami & green=$!
                 wait $red; echo -n red $?,; wait $green; echo green $?
             done | sort | uniq -c",
            lab.folder().display()
        ))?;
        let codes = codes.success()?;
        let words: Vec<_> = codes.split_whitespace().collect();
        ensure!(words == ["5", "red", "7,green", "0"], "{codes}");
        for flow in tidegate.flows_to(&server)? {
            let expected = if flow["app"]["name"] == "red" {
                "block"
            } else {
                "allow"
            };
            ensure!(flow["verdict"] == expected, "{flow}");
        }
        ensure!(tidegate.flows_to(&server)?.len() == 10);
    }
    Ok(())
}

#[test]
fn block_refuses_at_once_and_drop_is_silence() -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let _echo = service::UdpEcho::start(&lab.server, &[address::OTHER_V4, address::OTHER_V6], 7)?;
    for (action, tcp, udp) in [
        (
            "block",
            "ECONNREFUSED",
            &["ECONNREFUSED", "EACCES", "EHOSTUNREACH"][..],
        ),
        ("drop", "timeout", &["timeout"][..]),
    ] {
        let tidegate = lab.tidegate(&block(
            "to = [\"203.0.113.20\", \"2001:db8:113::20\"]",
            action,
        ))?;
        for server in [address::OTHER_V4, address::OTHER_V6] {
            let before = Instant::now();
            let seen = lab.host.bash(&client::connect(server, 80, 2))?.success()?;
            ensure!(seen == tcp, "{action} {server}: {seen}");
            let seen = lab.host.bash(&client::udp_echo(server, 7, 2))?.success()?;
            ensure!(udp.contains(&seen.as_str()), "{action} {server}: {seen}");
            ensure!((before.elapsed() < Duration::from_secs(2)) == (action == "block"));
            let flow = tidegate.flow_to(&endpoint(server, 80)?.to_string())?;
            ensure!(flow["verdict"] == action && flow["rule"] == "no", "{flow}");
        }
    }
    Ok(())
}

#[test]
fn three_hundred_short_lived_programs_are_each_seen_under_their_own_name() -> Result<()> {
    const COUNT: usize = 300;
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    for number in 0..COUNT {
        lab.program("/usr/bin/curl", &format!("curl{number}"))?;
    }
    let tidegate = lab.tidegate("")?;
    // Twenty at a time, while unrelated processes come and go.
    let _noise = lab.host.background("while true; do /bin/true; done")?;
    lab.host
        .bash(&format!(
            "cd {}; seq 0 {} | xargs -P 20 -I N env ./curlN -sS -o /dev/null http://203.0.113.10/whoami",
            lab.folder().display(),
            COUNT - 1
        ))?
        .success()?;
    let flows = tidegate.flows_to("203.0.113.10:80")?;
    let mut names: Vec<_> = flows
        .iter()
        .map(|flow| flow["app"]["name"].as_str().unwrap_or("unknown").to_owned())
        .collect();
    names.sort();
    let mut expected: Vec<_> = (0..COUNT).map(|number| format!("curl{number}")).collect();
    expected.sort();
    ensure!(names == expected, "{names:?}");
    Ok(())
}

#[test]
fn a_user_s_programs_are_judged_by_the_user() -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let tidegate = lab.tidegate(&block("app = { uid = 64001 }", "block"))?;
    let fetch = "curl -s -m 5 http://203.0.113.10/whoami";
    ensure!(lab.host.bash_as(User::ALICE, fetch)?.code() == NOT_CONNECTED);
    lab.host.bash_as(User::BOB, fetch)?.success()?;
    lab.host.bash(fetch)?.success()?;
    let blocked = tidegate.ask(&["flows", "--json", "--verdict", "block"])?;
    let blocked: serde_json::Value = serde_json::from_str(&blocked.success()?)?;
    ensure!(blocked["app"]["uid"] == User::ALICE.0, "{blocked}");
    Ok(())
}

#[test]
fn echoes_are_blocked_and_dropped_as_the_policy_says() -> Result<()> {
    let lab = Lab::new()?;
    let tidegate = lab.tidegate(
        "[[rule]]\nname = \"refused\"\nport = [\"icmp\"]\nto = \"203.0.113.20\"\naction = \"block\"
[[rule]]\nname = \"silent\"\nport = [\"icmp\"]\nto = \"2001:db8:113::20\"\naction = \"drop\"\n",
    )?;
    let ping = |server| lab.host.bash(&format!("ping -n -c 1 -W 2 {server}"));
    ensure!(ping(address::OTHER_V4)?.failure()?.contains("+1 errors"));
    ensure!(
        ping(address::OTHER_V6)?
            .failure()?
            .contains("0 received, 100%")
    );
    ping(address::SERVER_V4)?.success()?;
    for (rule, verdict) in [("refused", "block"), ("silent", "drop")] {
        tidegate.wait_for_flow(rule, |flow| {
            flow["rule"] == rule && flow["verdict"] == verdict
        })?;
    }
    Ok(())
}

#[test]
fn a_reload_cuts_a_live_flow_that_no_longer_passes() -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    lab.program("/usr/bin/curl", "red")?;
    lab.program("/usr/bin/curl", "green")?;
    let tidegate = lab.tidegate("")?;
    let drip = |name: &str| {
        let start = format!(
            "exec {}/{name} -sSN http://203.0.113.10/drip",
            lab.folder().display()
        );
        let client = lab.host.background(&start)?;
        client.wait_for_output("drip")?;
        anyhow::Ok(client)
    };
    let (mut red, mut green) = (drip("red")?, drip("green")?);
    tidegate.rewrite_config(&block("app = \"**/red\"", "block"))?;
    ensure!(red.wait(CUT + SLACK)? == RECEIVE_ERROR, "{}", red.output());
    let heard = green.output().len();
    wait_until("the other goes on", CUT, || green.output().len() > heard)?;
    ensure!(!green.has_ended());
    Ok(())
}

#[test]
fn sighup_reloads_and_a_bad_file_changes_nothing_but_a_message() -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let mut tidegate = lab.tidegate(&block("to = \"203.0.113.20\"", "block"))?;
    let mut drip = lab
        .host
        .background("exec curl -sSN http://203.0.113.10/drip")?;
    drip.wait_for_output("drip")?;
    tidegate.rewrite_config("[policy]\ndefault = \"block\"\nnonsense = 1\n")?;
    tidegate.process().signal(SIGHUP)?;
    wait_until("the failure is told", Duration::from_secs(5), || {
        tidegate.status().is_ok_and(|status| {
            let failure = status["policy"]["reload_failure"]["message"].to_string();
            failure.contains("nonsense") && failure.contains("tidegate.toml:3:")
        })
    })
    .with_context(|| format!("{:?}", tidegate.status()))?;
    let connect = |server| lab.host.bash(&client::connect(server, 80, 5))?.success();
    ensure!(connect(address::SERVER_V4)? == "connected");
    ensure!(connect(address::OTHER_V4)? == "ECONNREFUSED");
    ensure!(!drip.has_ended(), "{}", drip.output());
    tidegate.rewrite_config("")?;
    tidegate.process().signal(SIGHUP)?;
    wait_until("the new policy holds", CUT + SLACK, || {
        connect(address::OTHER_V4).is_ok_and(|seen| seen == "connected")
    })?;
    ensure!(tidegate.status()?["policy"]["reload_failure"].is_null());
    ensure!(!drip.has_ended(), "{}", drip.output());
    Ok(())
}

#[test]
fn a_dropped_program_waits_in_vain_and_the_record_says_why() -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let tidegate = lab.tidegate(&block("app = \"/usr/bin/curl\"", "drop"))?;
    let fetch = lab.host.bash("curl -s -m 2 http://203.0.113.10/whoami")?;
    ensure!(fetch.code() == TIMED_OUT);
    let flow = tidegate.flow_to("203.0.113.10:80")?;
    ensure!(flow["verdict"] == "drop" && flow["bytes_up"] == 0, "{flow}");
    ensure!(flow["rule"] == "no" && flow["egress"].is_null(), "{flow}");
    Ok(())
}

const SIGHUP: i32 = 1;

fn block(condition: &str, action: &str) -> String {
    format!("[[rule]]\nname = \"no\"\n{condition}\naction = \"{action}\"\n")
}
