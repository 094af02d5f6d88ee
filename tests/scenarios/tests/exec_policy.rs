//! Exec capture: the policy decides, for the program it names and no other, and at once when it changes.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tidegate_lab::{Job, Lab, Session, User, address, endpoint, service, wait_until};

/// How soon a refusal that comes at once is there.
const AT_ONCE: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(20);
/// Exit statuses of curl.
const CURL_NOT_CONNECTED: i32 = 7;
const CURL_CUT_OFF: i32 = 56;

fn rule(conditions: &str, action: &str) -> String {
    format!("[[rule]]\nname = \"the rule\"\n{conditions}\naction = \"{action}\"\n")
}

#[test]
fn one_name_of_a_program_is_blocked_and_the_other_is_untouched_in_the_same_second() -> Result<()> {
    let lab = Lab::new()?;
    let web = service::Http::start(&lab.server, 80)?;
    lab.program_under_names("/usr/bin/curl", &["good".to_owned(), "bad".to_owned()])?;
    let session = lab.session(&rule("app = { name = \"bad\" }", "block"))?;
    let folder = lab.folder().display();
    // Both at once, twenty times; each says how it ended.
    let said = session.bash(&format!(
        "for n in $(seq 20); do
             for name in good bad; do
                 ({folder}/$name -sS --max-time 10 http://203.0.113.10/bytes/1000 2>/dev/null | wc -c
                  echo $name ${{PIPESTATUS[0]}}) | paste -sd' ' &
             done
             wait
         done | sort | uniq --count"
    ))?;
    let said = said.success()?;
    let flows = session.gateway().flows_to("203.0.113.10:80")?;
    let verdict = |name: &str, verdict: &str| {
        let is =
            |flow: &&serde_json::Value| flow["app"]["name"] == name && flow["verdict"] == verdict;
        flows.iter().filter(is).count()
    };
    ensure!(said.contains("20 1000 good 0"), "{said}");
    ensure!(
        said.contains(&format!("20 0 bad {CURL_NOT_CONNECTED}")),
        "{said}"
    );
    ensure!(said.lines().count() == 2, "{said}");
    ensure!(verdict("good", "allow") == 20, "{flows:?}");
    ensure!(verdict("bad", "block") == 20, "{flows:?}");
    ensure!(web.peers().len() == 20, "{:?}", web.peers());
    Ok(())
}

#[test]
fn a_blocked_connection_is_refused_at_once_and_never_reaches_the_server() -> Result<()> {
    let lab = Lab::new()?;
    let web = service::Http::start(&lab.server, 80)?;
    let session = lab.session(&rule("port = \"tcp/80\"", "block"))?;
    for server in [address::SERVER_V4, address::SERVER_V6] {
        let outcome = session.connect(server, 80, PATIENCE)?;
        ensure!(outcome.word == "ECONNREFUSED", "{server}: {outcome:?}");
        ensure!(outcome.took < AT_ONCE, "{server}: {outcome:?}");
        let flow = session
            .gateway()
            .flow_to(&endpoint(server, 80)?.to_string())?;
        ensure!(flow["verdict"] == "block", "{flow}");
        ensure!(flow["rule"] == "the rule", "{flow}");
        ensure!(flow["egress"].is_null(), "{flow}");
    }
    ensure!(web.peers().is_empty(), "{:?}", web.peers());
    Ok(())
}

#[test]
fn a_blocked_datagram_is_refused_at_once_and_never_reaches_the_server() -> Result<()> {
    let lab = Lab::new()?;
    let echo = service::UdpEcho::start(&lab.server, &[address::SERVER_V4, address::SERVER_V6], 7)?;
    let session = lab.session(&rule("port = \"udp/7\"", "block"))?;
    for server in [address::SERVER_V4, address::SERVER_V6] {
        let outcome = session.echo(server, 7, 20, PATIENCE)?;
        let refusals = ["ECONNREFUSED", "EACCES", "EHOSTUNREACH"];
        ensure!(
            refusals.contains(&outcome.word.as_str()),
            "{server}: {outcome:?}"
        );
        ensure!(outcome.took < AT_ONCE, "{server}: {outcome:?}");
        let flow = session
            .gateway()
            .flow_to(&endpoint(server, 7)?.to_string())?;
        ensure!(flow["verdict"] == "block", "{flow}");
    }
    ensure!(echo.peers().is_empty(), "{:?}", echo.peers());
    Ok(())
}

#[test]
fn a_dropped_program_hears_nothing() -> Result<()> {
    let lab = Lab::new()?;
    let web = service::Http::start(&lab.server, 80)?;
    let echo = service::UdpEcho::start(&lab.server, &[address::SERVER_V4], 7)?;
    let session = lab.session(&rule("", "drop"))?;
    let patience = Duration::from_secs(3);
    let connection = session.connect(address::SERVER_V4, 80, patience)?;
    ensure!(connection.word == "timeout", "{connection:?}");
    let datagram = session.echo(address::SERVER_V4, 7, 20, patience)?;
    ensure!(datagram.word == "timeout", "{datagram:?}");
    let ping = session
        .bash("ping -c 2 -i 0.2 -W 1 203.0.113.10")?
        .failure()?;
    ensure!(
        ping.contains("0 received") && !ping.contains("errors"),
        "{ping}"
    );
    for remote in ["203.0.113.10:80", "203.0.113.10:7"] {
        let flow = session.gateway().flow_to(remote)?;
        ensure!(flow["verdict"] == "drop", "{flow}");
    }
    ensure!(web.peers().is_empty() && echo.peers().is_empty());
    Ok(())
}

#[test]
fn a_blocked_ping_is_told_so() -> Result<()> {
    let lab = Lab::new()?;
    let session = lab.session(&rule("port = \"icmp\"", "block"))?;
    for ping in [
        "ping -c 1 -W 10 203.0.113.10",
        "ping -6 -c 1 -W 10 2001:db8:113::10",
    ] {
        let begun = Instant::now();
        let said = session.bash(ping)?.failure()?;
        ensure!(said.contains("0 received, +1 errors"), "{said}");
        ensure!(begun.elapsed() < Duration::from_secs(5), "{ping}");
    }
    Ok(())
}

#[test]
fn what_no_rule_names_meets_the_default() -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let config = format!(
        "[policy]\ndefault = \"block\"\n{}",
        rule("app = \"/usr/bin/curl\"", "allow")
    );
    let session = lab.session(&config)?;
    session
        .bash("curl -sS http://203.0.113.10/bytes/1")?
        .success()?;
    let outcome = session.connect(address::SERVER_V4, 80, PATIENCE)?;
    ensure!(outcome.word == "ECONNREFUSED", "{outcome:?}");
    let blocked = session
        .gateway()
        .wait_for_flow("a blocked flow", |flow| flow["verdict"] == "block")?;
    ensure!(blocked["rule"].is_null(), "{blocked}");
    Ok(())
}

#[test]
fn rules_tell_destinations_apart() -> Result<()> {
    let lab = Lab::new()?;
    let _server = service::Http::start(&lab.server, 80)?;
    let _other_port = service::Http::start(&lab.server, 81)?;
    let _router = service::Http::start(&lab.router, 80)?;
    let (server, other, router) = (address::SERVER_V4, address::OTHER_V4, address::ROUTER_V4);
    for (condition, blocked, allowed) in [
        (
            "to = \"203.0.113.20\"",
            [(other, 80), (other, 81)],
            [(server, 80), (router, 80)],
        ),
        (
            "to = \"203.0.113.0/28\"",
            [(server, 80), (server, 81)],
            [(other, 80), (router, 80)],
        ),
        (
            "to = \"203.0.113.11-203.0.113.20\"",
            [(other, 80), (other, 81)],
            [(server, 80), (router, 80)],
        ),
        (
            "to = \"internet\"",
            [(server, 80), (other, 81)],
            [(router, 80), (router, 80)],
        ),
        (
            "port = \"tcp/81-90\"",
            [(server, 81), (other, 81)],
            [(server, 80), (other, 80)],
        ),
        (
            "to = \"2001:db8::/32\"",
            [(address::SERVER_V6, 80), (address::OTHER_V6, 81)],
            [(server, 80), (router, 80)],
        ),
    ] {
        let session = lab.session(&rule(condition, "block"))?;
        for (expected, targets) in [("ECONNREFUSED", blocked), ("connected", allowed)] {
            for (address, port) in targets {
                let outcome = session.connect(address, port, PATIENCE)?;
                ensure!(
                    outcome.word == expected,
                    "{condition}: {address} {port}: {outcome:?}"
                );
            }
        }
    }
    Ok(())
}

#[test]
fn rules_tell_users_and_parents_apart() -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let curl = "curl -sS http://203.0.113.10/bytes/1";
    for (uid, expected) in [(User::ALICE.0, CURL_NOT_CONNECTED), (User::BOB.0, 0)] {
        let session = lab.session(&rule(&format!("app = {{ uid = {uid} }}"), "block"))?;
        let code = session.bash(curl)?.code();
        ensure!(
            code == expected,
            "rule for user {uid}: curl ended with {code}"
        );
    }
    let launcher = lab.program("/bin/bash", "launcher")?.display().to_string();
    let parent = format!("app = {{ path = \"/usr/bin/curl\", parent = \"{launcher}\" }}");
    let session = lab.session(&rule(&parent, "block"))?;
    // A command after curl keeps bash from becoming curl.
    let launched = session.bash(&format!("{launcher} -c '{curl}; exit $?'"))?;
    ensure!(launched.code() == CURL_NOT_CONNECTED, "{launched:?}");
    session.bash(&format!("{curl}; exit $?"))?.success()?;
    Ok(())
}

#[test]
fn a_reload_cuts_the_flow_that_no_longer_passes_and_leaves_the_other() -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let session = lab.session("")?;
    let cut = drip(&session, address::SERVER_V4)?;
    let left = drip(&session, address::OTHER_V4)?;
    let generation = session.gateway().status()?["policy"]["generation"].clone();
    session
        .gateway()
        .rewrite_config(&rule("to = \"203.0.113.10\"", "block"))?;
    wait_until("the new policy is in force", Duration::from_secs(3), || {
        let status = session.gateway().status().unwrap_or_default();
        cut.has_ended() || status["policy"]["generation"] != generation
    })?;
    wait_until("the flow is cut", Duration::from_secs(1), || {
        cut.has_ended()
    })?;
    let ended = cut.finish(PATIENCE)?;
    ensure!(ended.code() == CURL_CUT_OFF, "{ended:?}");
    ensure!(ended.stderr.contains("reset"), "{ended:?}");
    ensure_drips(&left)?;
    let again = session.connect(address::SERVER_V4, 80, PATIENCE)?;
    ensure!(again.word == "ECONNREFUSED", "{again:?}");
    Ok(())
}

#[test]
fn a_reload_cuts_a_datagram_flow_too() -> Result<()> {
    let lab = Lab::new()?;
    let echo = service::UdpEcho::start(&lab.server, &[address::SERVER_V4], 7)?;
    let session = lab.session("")?;
    let talk = session.start_python(
        "
import socket, time
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.settimeout(1)
client.connect(('203.0.113.10', 7))
try:
    while True:
        client.send(b'x')
        client.recv(10)
        print('echoed')
        time.sleep(0.05)
except TimeoutError:
    print('silence')
except OSError:
    print('refused')",
    )?;
    talk.wait_for_output("echoed")?;
    session
        .gateway()
        .rewrite_config(&rule("port = \"udp/7\"", "block"))?;
    wait_until("the flow is cut", Duration::from_secs(5), || {
        talk.has_ended()
    })?;
    ensure!(talk.output().contains("refused"), "{}", talk.output());
    let heard = echo.peers().len();
    let outcome = session.echo(address::SERVER_V4, 7, 20, PATIENCE)?;
    ensure!(outcome.word != "echoed", "{outcome:?}");
    ensure!(echo.peers().len() == heard, "a datagram came through");
    Ok(())
}

#[test]
fn a_bad_file_changes_nothing_but_a_message() -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let good = rule("to = \"203.0.113.20\"", "block");
    let mut session = lab.session(&good)?;
    let live = drip(&session, address::SERVER_V4)?;
    let bad = format!("{good}actoin = \"allow\"\n");
    session.gateway().rewrite_config(&bad)?;
    session
        .process()
        .wait_for_output("tidegate.toml:5:1: error: unknown key `actoin`")?;
    ensure_drips(&live)?;
    let blocked = session.connect(address::OTHER_V4, 80, PATIENCE)?;
    ensure!(blocked.word == "ECONNREFUSED", "{blocked:?}");
    let allowed = session.connect(address::SERVER_V4, 80, PATIENCE)?;
    ensure!(allowed.word == "connected", "{allowed:?}");
    let status = session.gateway().status()?.to_string();
    ensure!(status.contains("actoin"), "{status}");
    // And the next good one counts.
    session
        .gateway()
        .rewrite_config(&rule("to = \"203.0.113.10\"", "block"))?;
    wait_until("the flow is cut", Duration::from_secs(5), || {
        live.has_ended()
    })
}

#[test]
fn a_bad_file_at_the_start_starts_nothing() -> Result<()> {
    let lab = Lab::new()?;
    let exec = lab.exec().config("[policy]\ndefault = \"alow\"\n")?;
    let ended = exec.bash("echo started")?;
    ensure!(ended.code() == 125, "{ended:?}");
    ensure!(ended.stdout.is_empty(), "{ended:?}");
    ensure!(ended.stderr.contains("exec.toml:2:"), "{ended:?}");
    ensure!(ended.stderr.contains("did you mean \"allow\""), "{ended:?}");
    Ok(())
}

/// A download that does not end by itself.
fn drip(session: &Session<'_>, server: &str) -> Result<Job> {
    let job = session.start(&format!("curl -sSN http://{server}/drip"))?;
    job.wait_for_output("drip")?;
    Ok(job)
}

fn ensure_drips(job: &Job) -> Result<()> {
    let before = job.output().len();
    let more = || job.output().len() > before;
    wait_until("more drips", Duration::from_secs(2), || {
        more() || job.has_ended()
    })?;
    ensure!(!job.has_ended(), "the other flow was cut: {}", job.errors());
    Ok(())
}
