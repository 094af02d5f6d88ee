//! The policy decides, under either capture: for the program it names and no other, and at once when it changes.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tidegate_lab::{
    Capture, Job, Lab, Session, User, address, endpoint, service, under_both_captures, wait_until,
};

/// How soon a refusal that comes at once is there.
const AT_ONCE: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(20);
const SERVERS: [&str; 2] = [address::SERVER_V4, address::SERVER_V6];
/// Exit statuses of curl.
const CURL_NOT_CONNECTED: i32 = 7;
const CURL_TIMED_OUT: i32 = 28;
const CURL_CUT_OFF: i32 = 56;

under_both_captures! {
    one_name_of_a_program_is_blocked_and_the_other_is_untouched_in_the_same_second,
    a_blocked_connection_is_refused_at_once_and_never_reaches_the_server,
    a_blocked_datagram_is_refused_at_once_and_never_reaches_the_server,
    a_dropped_program_hears_nothing,
    a_dropped_program_waits_in_vain_and_the_record_says_why,
    echoes_are_blocked_dropped_and_let_through_as_the_policy_says,
    what_no_rule_names_meets_the_default,
    rules_tell_destinations_apart,
    rules_tell_users_and_parents_apart,
    a_reload_cuts_the_flow_that_no_longer_passes_and_leaves_the_other,
    a_reload_tells_programs_apart,
    a_reload_cuts_a_datagram_flow_too,
    a_bad_file_changes_nothing_but_a_message,
}

fn rule(conditions: &str, action: &str) -> String {
    format!("[[rule]]\nname = \"the rule\"\n{conditions}\naction = \"{action}\"\n")
}

fn one_name_of_a_program_is_blocked_and_the_other_is_untouched_in_the_same_second(
    capture: Capture,
) -> Result<()> {
    let lab = Lab::new()?;
    lab.program_under_names("/usr/bin/curl", &["good".to_owned(), "bad".to_owned()])?;
    let folder = lab.folder().display();
    for (condition, server) in [
        ("app = { name = \"bad\" }", address::SERVER_V4),
        ("app = \"**/bad\"", address::SERVER_V6),
    ] {
        let web = service::Http::start(&lab.server, 80)?;
        let session = lab.captured(capture, &rule(condition, "block"))?;
        let remote = endpoint(server, 80)?.to_string();
        // Both at once, twenty times; each says how it ended.
        let said = session.bash(&format!(
            "for n in $(seq 20); do
                 for name in good bad; do
                     ({folder}/$name -sS --max-time 10 http://{remote}/bytes/1000 2>/dev/null | wc -c
                      echo $name ${{PIPESTATUS[0]}}) | paste -sd' ' &
                 done
                 wait
             done | sort | uniq --count"
        ))?;
        let said = said.success()?;
        let good = said.contains("20 1000 good 0");
        let bad = said.contains(&format!("20 0 bad {CURL_NOT_CONNECTED}"));
        ensure!(good && bad && said.lines().count() == 2, "{said}");
        let flows = session.gateway().flows_to(&remote)?;
        let count = |name: &str, verdict: &str| {
            let is = |flow: &&Value| flow["app"]["name"] == name && flow["verdict"] == verdict;
            flows.iter().filter(is).count()
        };
        ensure!(flows.len() == 40, "{flows:?}");
        ensure!(count("good", "allow") == 20, "{flows:?}");
        ensure!(count("bad", "block") == 20, "{flows:?}");
        ensure!(web.peers().len() == 20, "{:?}", web.peers());
    }
    Ok(())
}

fn a_blocked_connection_is_refused_at_once_and_never_reaches_the_server(
    capture: Capture,
) -> Result<()> {
    let lab = Lab::new()?;
    let web = service::Http::start(&lab.server, 80)?;
    let session = lab.captured(capture, &rule("port = \"tcp/80\"", "block"))?;
    for server in SERVERS {
        let outcome = session.connect(server, 80, PATIENCE)?;
        ensure!(outcome.word == "ECONNREFUSED", "{server}: {outcome:?}");
        ensure!(outcome.took < AT_ONCE, "{server}: {outcome:?}");
        ensure_ruled(&session.flow_to(server, 80)?, "block")?;
    }
    ensure!(web.peers().is_empty(), "{:?}", web.peers());
    Ok(())
}

fn a_blocked_datagram_is_refused_at_once_and_never_reaches_the_server(
    capture: Capture,
) -> Result<()> {
    let lab = Lab::new()?;
    let echo = service::UdpEcho::start(&lab.server, &SERVERS, 7)?;
    let session = lab.captured(capture, &rule("port = \"udp/7\"", "block"))?;
    for server in SERVERS {
        let outcome = session.echo(server, 7, 20, PATIENCE)?;
        let refusals = ["ECONNREFUSED", "EACCES", "EHOSTUNREACH"];
        ensure!(
            refusals.contains(&outcome.word.as_str()),
            "{server}: {outcome:?}"
        );
        ensure!(outcome.took < AT_ONCE, "{server}: {outcome:?}");
        ensure_ruled(&session.flow_to(server, 7)?, "block")?;
    }
    ensure!(echo.peers().is_empty(), "{:?}", echo.peers());
    Ok(())
}

fn a_dropped_program_hears_nothing(capture: Capture) -> Result<()> {
    let lab = Lab::new()?;
    let web = service::Http::start(&lab.server, 80)?;
    let echo = service::UdpEcho::start(&lab.server, &SERVERS, 7)?;
    let session = lab.captured(capture, &rule("", "drop"))?;
    let patience = Duration::from_secs(2);
    for server in SERVERS {
        let connection = session.connect(server, 80, patience)?;
        ensure!(connection.word == "timeout", "{server}: {connection:?}");
        ensure_ruled(&session.flow_to(server, 80)?, "drop")?;
        let datagram = session.echo(server, 7, 20, patience)?;
        ensure!(datagram.word == "timeout", "{server}: {datagram:?}");
        ensure_ruled(&session.flow_to(server, 7)?, "drop")?;
    }
    ensure!(web.peers().is_empty() && echo.peers().is_empty());
    Ok(())
}

fn a_dropped_program_waits_in_vain_and_the_record_says_why(capture: Capture) -> Result<()> {
    let lab = Lab::new()?;
    let web = service::Http::start(&lab.server, 80)?;
    let session = lab.captured(capture, &rule("app = \"/usr/bin/curl\"", "drop"))?;
    let fetch = session.bash("curl -s -m 2 http://203.0.113.10/whoami")?;
    ensure!(fetch.code() == CURL_TIMED_OUT, "{fetch:?}");
    let flow = session.flow_to(address::SERVER_V4, 80)?;
    ensure!(flow["bytes_up"] == 0, "{flow}");
    ensure_ruled(&flow, "drop")?;
    ensure!(web.peers().is_empty(), "{:?}", web.peers());
    Ok(())
}

fn ensure_ruled(flow: &Value, verdict: &str) -> Result<()> {
    ensure!(flow["verdict"] == verdict, "{flow}");
    ensure!(flow["rule"] == "the rule", "{flow}");
    ensure!(flow["egress"].is_null(), "{flow}");
    Ok(())
}

fn echoes_are_blocked_dropped_and_let_through_as_the_policy_says(capture: Capture) -> Result<()> {
    let lab = Lab::new()?;
    lab.host
        .sysctl("net.ipv4.ping_group_range", "0 2147483647")?;
    let session = lab.captured(
        capture,
        "[[rule]]
name = \"refused\"
port = \"icmp\"
to = [\"203.0.113.20\", \"2001:db8:113::20\"]
action = \"block\"
[[rule]]
name = \"silent\"
port = \"icmp\"
to = [\"203.0.113.53\", \"2001:db8:113::53\"]
action = \"drop\"
",
    )?;
    let ping = |server| session.bash(&format!("ping -n -c 1 -W 2 {server}"));
    for server in [address::OTHER_V4, address::OTHER_V6] {
        let begun = Instant::now();
        let said = ping(server)?.failure()?;
        ensure!(said.contains("0 received, +1 errors"), "{said}");
        ensure!(begun.elapsed() < Duration::from_secs(2), "{said}");
        let flow = session.echo_flow_to(server)?;
        ensure!(flow["rule"] == "refused", "{flow}");
        ensure!(flow["verdict"] == "block", "{flow}");
    }
    for server in [address::DNS_V4, address::DNS_V6] {
        let said = ping(server)?.failure()?;
        ensure!(said.contains("0 received, 100%"), "{said}");
        let flow = session.echo_flow_to(server)?;
        ensure!(flow["rule"] == "silent", "{flow}");
        ensure!(flow["verdict"] == "drop", "{flow}");
    }
    for server in SERVERS {
        ping(server)?.success()?;
        session.echo_flow_to(server)?;
    }
    Ok(())
}

fn what_no_rule_names_meets_the_default(capture: Capture) -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let config = format!(
        "[policy]\ndefault = \"block\"\n{}",
        rule("app = \"/usr/bin/curl\"", "allow")
    );
    let session = lab.captured(capture, &config)?;
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

fn rules_tell_destinations_apart(capture: Capture) -> Result<()> {
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
        let session = lab.captured(capture, &rule(condition, "block"))?;
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

fn rules_tell_users_and_parents_apart(capture: Capture) -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let curl = "curl -sS http://203.0.113.10/bytes/1";
    let of_alice = format!("app = {{ uid = {} }}", User::ALICE.0);
    for (user, expected) in [(User::ALICE, CURL_NOT_CONNECTED), (User::BOB, 0)] {
        let session = lab.captured_as(capture, user, &rule(&of_alice, "block"))?;
        let code = session.bash(curl)?.code();
        ensure!(code == expected, "{user:?}: curl ended with {code}");
        let verdict = if expected == 0 { "allow" } else { "block" };
        let listed = ["flows", "--json", "--verdict", verdict];
        let flow = session.gateway().ask(&listed)?.success()?;
        let flow: Value = serde_json::from_str(&flow).context("not one flow")?;
        ensure!(flow["app"]["uid"] == user.0, "{flow}");
    }
    let launcher = lab.program("/bin/bash", "launcher")?.display().to_string();
    let parent = format!("app = {{ path = \"/usr/bin/curl\", parent = \"{launcher}\" }}");
    let session = lab.captured(capture, &rule(&parent, "block"))?;
    // A command after curl keeps bash from becoming curl.
    let launched = session.bash(&format!("{launcher} -c '{curl}; exit $?'"))?;
    ensure!(launched.code() == CURL_NOT_CONNECTED, "{launched:?}");
    session.bash(&format!("{curl}; exit $?"))?.success()?;
    Ok(())
}

fn a_reload_cuts_the_flow_that_no_longer_passes_and_leaves_the_other(
    capture: Capture,
) -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let session = lab.captured(capture, "")?;
    let cut = drip(&session, "curl", address::SERVER_V4)?;
    let left = drip(&session, "curl", address::OTHER_V4)?;
    ensure_cut(&session, cut, &rule("to = \"203.0.113.10\"", "block"))?;
    ensure_drips(&left)?;
    let again = session.connect(address::SERVER_V4, 80, PATIENCE)?;
    ensure!(again.word == "ECONNREFUSED", "{again:?}");
    Ok(())
}

fn a_reload_tells_programs_apart(capture: Capture) -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let red = lab.program("/usr/bin/curl", "red")?.display().to_string();
    let green = lab.program("/usr/bin/curl", "green")?.display().to_string();
    let session = lab.captured(capture, "")?;
    let cut = drip(&session, &red, address::SERVER_V4)?;
    let left = drip(&session, &green, address::SERVER_V4)?;
    ensure_cut(&session, cut, &rule("app = \"**/red\"", "block"))?;
    ensure_drips(&left)
}

/// Rewrites the configuration, and expects curl to be reset within a second of its coming into force.
fn ensure_cut(session: &Session<'_>, curl: Job, config: &str) -> Result<()> {
    let generation = session.gateway().status()?["policy"]["generation"].clone();
    session.gateway().rewrite_config(config)?;
    wait_until("the new policy is in force", Duration::from_secs(3), || {
        let status = session.gateway().status().unwrap_or_default();
        curl.has_ended() || status["policy"]["generation"] != generation
    })?;
    wait_until("the flow is cut", Duration::from_secs(1), || {
        curl.has_ended()
    })?;
    let ended = curl.finish(PATIENCE)?;
    ensure!(ended.code() == CURL_CUT_OFF, "{ended:?}");
    ensure!(ended.stderr.contains("reset"), "{ended:?}");
    Ok(())
}

fn a_reload_cuts_a_datagram_flow_too(capture: Capture) -> Result<()> {
    let lab = Lab::new()?;
    let echo = service::UdpEcho::start(&lab.server, &[address::SERVER_V4], 7)?;
    let session = lab.captured(capture, "")?;
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

fn a_bad_file_changes_nothing_but_a_message(capture: Capture) -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let good = rule("to = \"203.0.113.20\"", "block");
    let mut session = lab.captured(capture, &good)?;
    let live = drip(&session, "curl", address::SERVER_V4)?;
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

/// A download that does not end by itself, by this program.
fn drip(session: &Session<'_>, curl: &str, server: &str) -> Result<Job> {
    let job = session.start(&format!("{curl} -sSN http://{server}/drip"))?;
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
