//! Host capture: programs that send one datagram, close its socket and end. Nobody can be asked about them any more, but the
//! kernel noted who they were.
//!
//! The daemon is halted while they run, so that it comes too late for sure.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tidegate_lab::{Daemon, Lab, address, service, wait_until};

/// The program that sends its own name and is gone; see `src/bin/caller.rs`.
const CALLER: &str = env!("CARGO_BIN_EXE_caller");
const ECHO: u16 = 7;
const PATIENCE: Duration = Duration::from_secs(10);

#[test]
fn a_program_that_is_gone_after_one_datagram_is_judged_by_its_name() -> Result<()> {
    const ROUNDS: usize = 20;
    let lab = Lab::new()?;
    let servers = [address::SERVER_V4, address::SERVER_V6];
    let echo = service::UdpEcho::start(&lab.server, &servers, ECHO)?;
    lab.program_under_names(CALLER, &["red".to_owned(), "green".to_owned()])?;
    let rule = "[policy]\ndefault = \"allow\"\n\
                [[rule]]\napp = \"**/red\"\naction = \"block\"\n";
    let tidegate = lab.tidegate(rule)?;
    ensure_on(&tidegate)?;
    let [v4, v6] = servers;
    let halted = Halted::new(&lab, &tidegate)?;
    lab.host
        .bash(&format!(
            // A port each: of those that the kernel gives, two in eighty are the same now and then, and so is their flow.
            "cd {}; own=40000; for _ in $(seq {ROUNDS}); do for server in {v4} {v6}; do
                 ./red udp $server {ECHO} $((own++)); ./green udp $server {ECHO} $((own++))
             done; done",
            lab.folder().display(),
        ))?
        .success()?;
    drop(halted);
    let flows = judged(&tidegate, 4 * ROUNDS)?;
    for flow in &flows {
        let expected = match flow["app"]["name"].as_str() {
            Some("red") => "block",
            Some("green") => "allow",
            _ => "a known program",
        };
        ensure!(flow["verdict"] == expected, "{flow}");
    }
    // What came through is what the neighbour sent, whole.
    let allowed = 2 * ROUNDS;
    let waited = wait_until("every allowed datagram arrives", PATIENCE, || {
        echo.peers().len() >= allowed
    });
    waited.with_context(|| format!("{} of {allowed} came", echo.peers().len()))?;
    ensure!(echo.peers().len() == allowed, "{:?}", echo.peers());
    Ok(())
}

#[test]
fn three_hundred_programs_that_are_gone_after_one_datagram_are_each_seen_under_their_own_name()
-> Result<()> {
    const COUNT: u16 = 300;
    const FIRST_PORT: u16 = 20_000;
    let lab = Lab::new()?;
    let names: Vec<_> = (0..COUNT).map(|number| format!("call-{number}")).collect();
    lab.program_under_names(CALLER, &names)?;
    let tidegate = lab.tidegate("")?;
    ensure_on(&tidegate)?;
    // Twenty at a time, while unrelated processes come and go, of which some have sockets.
    let storm = "while true; do /bin/true & (exec 3<>/dev/udp/127.0.0.1/9) & wait; done";
    let _noise = lab.host.background(storm)?;
    lab.host
        .bash(&format!(
            "for n in $(seq 0 {}); do echo {}/call-$n udp {} $(({FIRST_PORT} + n)); done \
             | xargs -P 20 -n 4 env",
            COUNT - 1,
            lab.folder().display(),
            address::SERVER_V4,
        ))?
        .success()?;
    for flow in judged(&tidegate, COUNT.into())? {
        let remote = flow["remote"].as_str().unwrap_or_default();
        let port = remote.rsplit(':').next().unwrap_or_default();
        let number: u16 = port.parse().with_context(|| format!("{flow}"))?;
        let name = format!("call-{}", number - FIRST_PORT);
        let path = lab.folder().join(&name).display().to_string();
        ensure!(flow["app"]["name"] == name, "{flow}");
        ensure!(flow["app"]["path"] == path, "{flow}");
    }
    Ok(())
}

#[test]
fn what_is_turned_off_is_not_in_the_kernel_and_said_to_be_missing() -> Result<()> {
    let lab = Lab::new()?;
    for (config, state, attached) in [("", "on", 6), ("[capture]\nebpf = \"off\"\n", "off", 0)] {
        let tidegate = lab.tidegate(config)?;
        let status = tidegate.status()?;
        ensure!(status["capture"]["ebpf"]["state"] == state, "{status}");
        let missing = status["not_seen"].to_string().contains("eBPF is off");
        ensure!(missing == (state == "off"), "{status}");
        ensure!(attachments(&status["pid"])? == attached, "{config}");
    }
    Ok(())
}

#[test]
fn who_takes_over_a_port_is_not_named_for_what_was_sent_before() -> Result<()> {
    let lab = Lab::new()?;
    for name in ["red", "green"] {
        lab.program("/usr/bin/python3", name)?;
    }
    let tidegate = lab.tidegate("")?;
    ensure_on(&tidegate)?;
    let halted = Halted::new(&lab, &tidegate)?;
    let folder = lab.folder().display();
    let bound = "import socket, time; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('0.0.0.0', 40404))";
    let send = format!("s.sendto(b'x', ('{}', {ECHO}))", address::SERVER_V4);
    lab.host
        .bash(&format!("{folder}/red -c \"{bound}; {send}\""))?
        .success()?;
    // Holds the port, and sends nothing.
    let ready = lab.folder().join("ready");
    let mut green = lab.host.background(&format!(
        "exec {folder}/green -c \"{bound}; open('{}', 'w'); time.sleep(60)\"",
        ready.display()
    ))?;
    wait_until("the port is taken over", PATIENCE, || ready.exists())?;
    drop(halted);
    let flow = judged(&tidegate, 1)?.remove(0);
    ensure!(flow["app"]["name"] == "red", "{flow}");
    ensure!(!green.has_ended());
    Ok(())
}

#[test]
fn who_floods_the_notes_away_does_not_go_on_in_another_s_flow() -> Result<()> {
    // More than twice as many flows as are noted, each used twice: what was used once makes room first.
    const FLOOD: usize = 40_000;
    let lab = Lab::new()?;
    let echo = service::UdpEcho::start(&lab.server, &[address::SERVER_V4], ECHO)?;
    for name in ["red", "green"] {
        lab.program("/usr/bin/python3", name)?;
    }
    let rules = "[policy]\ndefault = \"allow\"\nunattributed = \"block\"\n\
                 [[rule]]\napp = \"**/red\"\naction = \"block\"\n";
    let tidegate = lab.tidegate(rules)?;
    ensure_on(&tidegate)?;
    let folder = lab.folder().display();
    let server = address::SERVER_V4;
    let open = "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)";
    let send = format!("s.bind(('0.0.0.0', 40404)); s.sendto(b'x', ('{server}', {ECHO}))");
    let run = |name: &str, script: &str| -> Result<()> {
        let command = format!("{folder}/{name} -c \"{script}\"");
        lab.host.bash(&command)?.success()?;
        Ok(())
    };
    run("green", &format!("{open}; {send}; s.recv(9)"))?;
    wait_until("the flow passes", PATIENCE, || echo.peers().len() == 1)?;
    let halted = Halted::new(&lab, &tidegate)?;
    run(
        "red",
        &format!(
            "{open}; {send}; s.close(); {open}; [s.sendto(b'x', ('{server}', 20000 + n // 2)) for n in range({FLOOD})]"
        ),
    )?;
    drop(halted);
    let mut flows = Vec::new();
    let waited = wait_until("the flow is judged anew", PATIENCE, || {
        flows = tidegate.flows().unwrap_or_default();
        flows.retain(|flow| flow["remote"] == format!("{server}:{ECHO}"));
        flows
            .iter()
            .any(|flow| flow["verdict"] == "block" && flow["app"].is_null())
    });
    waited.with_context(|| format!("{flows:?}"))?;
    ensure!(echo.peers().len() == 1, "{:?}", echo.peers());
    Ok(())
}

#[test]
fn who_floods_the_note_of_its_own_datagram_away_does_not_pass_for_nobody() -> Result<()> {
    const FLOOD: usize = 40_000;
    let lab = Lab::new()?;
    let echo = service::UdpEcho::start(&lab.server, &[address::SERVER_V4], ECHO)?;
    lab.program("/usr/bin/python3", "red")?;
    let server = address::SERVER_V4;
    let script = format!(
        "{}/red -c \"
import os, socket
# What a processor notes first stays in a list of its own until it notes more.
os.sched_setaffinity(0, [0])
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.sendto(b'x', ('{server}', {ECHO}))
s.close()
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for n in range({FLOOD}): s.sendto(b'x', ('{server}', 20000 + n // 2))\"",
        lab.folder().display()
    );
    // Where no rule refuses such a datagram to a program nobody is refused for having none.
    for (rules, expected, arrive) in [
        ("", "allow", 1),
        (
            "[[rule]]\napp = \"**/red\"\naction = \"block\"\n",
            "block",
            1,
        ),
        (
            "[policy]\nunattributed = \"allow\"\n[[rule]]\napp = \"**/red\"\naction = \"block\"\n",
            "allow",
            2,
        ),
        (
            "[[rule]]\ndirection = \"in\"\napp = \"**/red\"\nport = \"tcp/22\"\naction = \"block\"\n",
            "allow",
            3,
        ),
    ] {
        let tidegate = lab.tidegate(rules)?;
        ensure_on(&tidegate)?;
        let halted = Halted::new(&lab, &tidegate)?;
        lab.host.bash(&script)?.success()?;
        drop(halted);
        let mut flows = Vec::new();
        let waited = wait_until("the first datagram is judged", PATIENCE, || {
            flows = tidegate.flows().unwrap_or_default();
            flows.retain(|flow| flow["remote"] == format!("{server}:{ECHO}"));
            flows.iter().any(|flow| flow["verdict"].is_string())
        });
        waited.with_context(|| format!("{rules}: {flows:?}"))?;
        let flow = &flows[0];
        ensure!(flow["verdict"] == expected, "{rules}: {flow}");
        let why = flow["unattributed"].as_str().unwrap_or_default();
        ensure!(why.contains("lost in a flood"), "{rules}: {flow}");
        let arrived = wait_until("what passes arrives", PATIENCE, || {
            echo.peers().len() >= arrive
        });
        arrived.with_context(|| format!("{rules}: {:?}", echo.peers()))?;
        ensure!(echo.peers().len() == arrive, "{rules}: {:?}", echo.peers());
    }
    Ok(())
}

/// A daemon that sleeps until this is dropped.
struct Halted<'l> {
    lab: &'l Lab,
    pid: String,
}

impl<'l> Halted<'l> {
    fn new(lab: &'l Lab, tidegate: &Daemon<'_>) -> Result<Self> {
        let pid = tidegate.status()?["pid"].to_string();
        lab.host.bash(&format!("kill -STOP {pid}"))?.success()?;
        Ok(Self { lab, pid })
    }
}

impl Drop for Halted<'_> {
    fn drop(&mut self) {
        let _ = self.lab.host.bash(&format!("kill -CONT {}", self.pid));
    }
}

/// How many attachments of BPF programs a process holds.
fn attachments(pid: &Value) -> Result<usize> {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd"))?;
    let targets = descriptors.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    // `anon_inode:bpf_link`, or `bpf-link`, as kernels call it.
    let is_attachment = |target: &PathBuf| {
        let target = target.to_string_lossy();
        target.contains("bpf") && target.ends_with("link")
    };
    Ok(targets.filter(is_attachment).count())
}

fn ensure_on(tidegate: &Daemon<'_>) -> Result<()> {
    let ebpf = &tidegate.status()?["capture"]["ebpf"];
    ensure!(ebpf["state"] == "on", "{ebpf}");
    Ok(())
}

/// All UDP flows to the server, once there are so many and each has its verdict.
fn judged(tidegate: &Daemon<'_>, count: usize) -> Result<Vec<Value>> {
    let mut found = Vec::new();
    let waited = wait_until("every flow is judged", PATIENCE, || {
        found = tidegate.flows().unwrap_or_default();
        found.retain(is_ours);
        found.len() >= count && found.iter().all(|flow| flow["verdict"].is_string())
    });
    waited.with_context(|| format!("{} of {count} flows", found.len()))?;
    ensure!(found.len() == count, "{} flows", found.len());
    Ok(found)
}

fn is_ours(flow: &Value) -> bool {
    let remote = flow["remote"].as_str().unwrap_or_default();
    flow["protocol"] == "udp"
        && [address::SERVER_V4, address::SERVER_V6]
            .iter()
            .any(|server| remote.contains(server))
}
