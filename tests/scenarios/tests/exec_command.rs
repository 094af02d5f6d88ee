//! Exec capture: to whoever started it, `tidegate exec` behaves like the command.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tidegate_lab::{Finished, Lab, Terminal, User, address, service, wait_until};

const PATIENCE: Duration = Duration::from_secs(10);
/// Numbers of signals, the same on every Linux.
const SIGNALS: [(&str, i32); 5] = [
    ("HUP", 1),
    ("INT", 2),
    ("USR1", 10),
    ("USR2", 12),
    ("TERM", 15),
];

#[test]
fn an_ordinary_user_reaches_servers_by_address_and_by_name() -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let names = [
        ("www.lab.test", address::SERVER_V4),
        ("six.lab.test", address::SERVER_V6),
    ];
    let _names = service::Dns::start(&lab.server, &names)?;
    for server in [
        "203.0.113.10",
        "[2001:db8:113::10]",
        "www.lab.test",
        "six.lab.test",
    ] {
        let curl = format!("curl -sS --max-time 10 http://{server}/bytes/1000 | wc -c");
        ensure!(lab.exec().bash(&curl)?.success()? == "1000", "{server}");
    }
    Ok(())
}

#[test]
fn the_exit_status_is_the_command_s() -> Result<()> {
    let lab = Lab::new()?;
    for user in [User::ALICE, User::ROOT] {
        for (script, expected) in [
            ("true", 0),
            ("exit 1", 1),
            ("exit 77", 77),
            ("exit 255", 255),
            ("kill -KILL $$", 128 + 9),
            ("kill -SEGV $$", 128 + 11),
            ("kill -TERM $$", 128 + 15),
        ] {
            let ended = lab.exec().user(user).bash(script)?;
            ensure!(ended.code() == expected, "{user:?}: {ended:?}");
        }
    }
    Ok(())
}

#[test]
fn a_command_that_cannot_be_run_is_named_as_shells_do() -> Result<()> {
    let lab = Lab::new()?;
    let text = lab.file("not-a-program", "")?.display().to_string();
    for (program, expected) in [
        ("no-such-program", 127),
        ("/no/such/path", 127),
        (&text, 126),
    ] {
        let ended = Finished::of(&mut lab.exec().command(&[program])?)?;
        ensure!(ended.code() == expected, "{ended:?}");
        ensure!(ended.stderr.contains(program), "{ended:?}");
    }
    Ok(())
}

#[test]
fn input_output_directory_user_and_variables_are_the_command_s_own() -> Result<()> {
    let lab = Lab::new()?;
    let payload = lab.payload(300_000)?;
    let expected = service::sha256(service::Pattern::new(300_000))?;
    let script = "sha256sum; pwd; id -u; echo $GREETING; echo complaint >&2; ls -m /proc/self/fd";
    let exec = lab.exec().command(&["/bin/bash", "-c", script])?;
    let mut command = lab.host.command_as(User::ALICE, "/usr/bin/env");
    command
        .arg("--chdir")
        .arg(lab.folder())
        .arg("GREETING=good morning")
        .arg(exec.get_program())
        .args(exec.get_args())
        .stdin(Stdio::from(std::fs::File::open(payload)?));
    let ended = Finished::of(&mut command)?;
    let lines: Vec<_> = ended.stdout.lines().collect();
    let folder = lab.folder().display().to_string();
    let sum = format!("{expected}  -");
    // The same as without us: no descriptor of the gateway's is inherited.
    let descriptors = lab.host.bash("ls -m /proc/self/fd")?.success()?;
    let all = [&sum, &folder, "64001", "good morning", &descriptors];
    ensure!(lines == all, "{ended:?}");
    ensure!(ended.stderr == "complaint", "{ended:?}");
    ensure!(ended.status.success(), "{ended:?}");
    Ok(())
}

#[test]
fn signals_reach_the_command() -> Result<()> {
    let lab = Lab::new()?;
    for (name, number) in SIGNALS {
        let mut running = lab.exec().background(&format!(
            "trap 'echo caught; exit 7' {name}; echo ready; while :; do sleep 0.05; done"
        ))?;
        running.wait_for_output("ready")?;
        running.signal(number)?;
        let code = running.wait(PATIENCE)?;
        ensure!(code == 7, "{name}: {code}, {}", running.output());
        ensure!(
            running.output().contains("caught"),
            "{name}: {}",
            running.output()
        );
    }
    Ok(())
}

#[test]
fn the_terminal_is_the_command_s_and_ctrl_c_reaches_it() -> Result<()> {
    let lab = Lab::new()?;
    let script = "trap 'echo caught; exit 9' INT; test -t 0 && test -t 1 && test -t 2 \
                  && echo size $(stty size) ready; while :; do sleep 0.05; done";
    let command = lab.exec().command(&["/bin/bash", "-c", script])?;
    let mut terminal = Terminal::start(&lab.host, User::ALICE, &command)?;
    terminal.wait_for_output("size 40 100 ready")?;
    terminal.press("\x03")?;
    let code = terminal.wait(PATIENCE)?;
    ensure!(code == 9, "{code}: {}", terminal.output());
    ensure!(
        terminal.output().contains("caught"),
        "{}",
        terminal.output()
    );
    Ok(())
}

#[test]
fn an_interactive_shell_has_job_control() -> Result<()> {
    let lab = Lab::new()?;
    let command = lab
        .exec()
        .command(&["/bin/bash", "--norc", "--noprofile", "-i"])?;
    let mut terminal = Terminal::start(&lab.host, User::ALICE, &command)?;
    terminal.press("echo $((20 + 1)) begins; sleep 600; echo $((20 + 2)) ends\n")?;
    terminal.wait_for_output("21 begins")?;
    terminal.press("\x03")?;
    terminal.press("echo $((20 + 3)) goes on\n")?;
    terminal.wait_for_output("23 goes on")?;
    terminal.press("exit 5\n")?;
    let code = terminal.wait(PATIENCE)?;
    ensure!(code == 5, "{code}: {}", terminal.output());
    for never in ["no job control", "22 ends"] {
        ensure!(!terminal.output().contains(never), "{}", terminal.output());
    }
    Ok(())
}

#[test]
fn the_summary_lists_the_flows_after_the_end() -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let config = "[[rule]]\nname = \"not that one\"\nto = \"203.0.113.20\"\naction = \"block\"\n";
    let exec = lab.exec().option("--summary").config(config)?;
    let ended = exec.bash(
        "curl -sS http://203.0.113.10/bytes/1000 | wc -c; curl -s http://203.0.113.20/; exit 3",
    )?;
    ensure!(ended.code() == 3, "{ended:?}");
    ensure!(ended.stdout == "1000", "{ended:?}");
    for part in [
        "curl",
        "203.0.113.10",
        "203.0.113.20",
        "allow",
        "block",
        "not that one",
    ] {
        ensure!(ended.stderr.contains(part), "no `{part}` in {ended:?}");
    }
    Ok(())
}

#[test]
fn starting_and_ending_takes_no_time_to_speak_of() -> Result<()> {
    let lab = Lab::new()?;
    lab.exec().bash("true")?.success()?;
    let begun = Instant::now();
    for _ in 0..5 {
        lab.exec().bash("true")?.success()?;
    }
    ensure!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
    Ok(())
}

#[test]
fn what_a_command_says_last_is_delivered() -> Result<()> {
    let lab = Lab::new()?;
    let sink = service::Sink::start(&lab.server, 8000)?;
    let echo = service::UdpEcho::start(&lab.server, &[address::SERVER_V4], 7)?;
    for round in 1..=10 {
        lab.exec()
            .bash("echo bye >/dev/udp/203.0.113.10/7; head -c 300000 /dev/zero >/dev/tcp/203.0.113.10/8000")?
            .success()?;
        wait_until("the last words have come", PATIENCE, || {
            sink.endings().len() == round && echo.peers().len() == round
        })?;
    }
    for ending in sink.endings() {
        ensure!(
            (ending.bytes, ending.error) == (300_000, None),
            "{ending:?}"
        );
    }
    Ok(())
}
