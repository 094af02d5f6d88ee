//! `tidegate exec --deny-all`: rules without a file, flows and packets kept in files, and a status that tells.

use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tidegate_lab::{Lab, User, address, service};

const WEB: &str = "http://203.0.113.10";

/// A file that the ordinary user may write.
fn writable(lab: &Lab, name: &str) -> Result<String> {
    let path = lab.file(name, "")?.display().to_string();
    lab.host
        .bash(&format!("chown {} {path}", User::ALICE.0))?
        .success()?;
    Ok(path)
}

#[test]
fn only_what_is_allowed_passes_and_the_status_tells_of_the_rest() -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let _other = service::Http::start(&lab.server, 8080)?;
    let allowed = format!("{}/32:tcp/80", address::SERVER_V4);
    let exec = || {
        lab.exec()
            .option("--deny-all")
            .option("--allow")
            .option(&allowed)
    };
    let fetch = |port| format!("curl -sS --max-time 5 {WEB}:{port}/bytes/1000 | wc -c");

    let good = exec().bash(&fetch(80))?;
    ensure!(good.code() == 0 && good.stdout == "1000", "{good:?}");

    let bad = exec().bash(&format!("{}; {} || true", fetch(80), fetch(8080)))?;
    ensure!(bad.code() == 123, "{bad:?}");
    ensure!(bad.stdout.starts_with("1000"), "{bad:?}");

    // Names are not resolved unless the resolver is allowed.
    let _names = service::Dns::start(&lab.server, &[("www.lab.test", address::SERVER_V4)])?;
    let by_name = "curl -sS --max-time 5 http://www.lab.test/bytes/1000 | wc -c";
    ensure!(exec().bash(by_name)?.code() == 123);
    let with_names = exec()
        .option("--allow")
        .option("192.0.0.1:udp/53")
        .bash(by_name)?;
    ensure!(with_names.success()? == "1000");

    // A command that fails on its own keeps its status where nothing was refused.
    ensure!(exec().bash("exit 7")?.code() == 7);
    Ok(())
}

#[test]
fn the_configuration_of_the_host_lets_nothing_more_pass() -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let nothing = lab
        .exec()
        .option("--deny-all")
        .bash(&format!("curl -sS --max-time 5 {WEB}/bytes/10"))?;
    ensure!(nothing.code() == 123, "{nothing:?}");
    for wrong in ["set:office", "nonsense", "10.0.0.1/8"] {
        let refused = lab
            .exec()
            .option("--deny-all")
            .option("--allow")
            .option(wrong)
            .bash("true")?;
        ensure!(refused.code() == 2, "{wrong}: {refused:?}");
        ensure!(refused.stderr.contains(wrong), "{refused:?}");
    }
    Ok(())
}

#[test]
fn flows_are_recorded_each_once_with_what_became_of_it() -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let file = writable(&lab, "flows.json")?;
    let script = format!(
        "for i in 1 2 3; do curl -sS --max-time 5 {WEB}/bytes/1000 >/dev/null; done; \
         curl -sS --max-time 5 {WEB}:81/ || true"
    );
    let ended = lab
        .exec()
        .option("--deny-all")
        .option("--allow")
        .option("tcp/80")
        .option("--record")
        .option(&file)
        .bash(&script)?;
    ensure!(ended.code() == 123, "{ended:?}");
    let text = fs::read_to_string(&file)?;
    let records: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).context("a line is no JSON"))
        .collect::<Result<_>>()?;
    let with = |verdict: &str| {
        records
            .iter()
            .filter(|record| record["verdict"] == verdict)
            .count()
    };
    ensure!((with("allow"), with("block")) == (3, 1), "{text}");
    ensure!(records.len() == 4, "{text}");
    ensure!(
        records.iter().all(|record| !record["ended"].is_null()),
        "{text}"
    );
    ensure!(records[0]["rule"] == "--allow tcp/80", "{text}");
    Ok(())
}

#[test]
fn packets_are_kept_for_tcpdump() -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let file = writable(&lab, "packets.pcap")?;
    let ended = lab
        .exec()
        .option("--pcap")
        .option(&file)
        .bash(&format!("curl -sS {WEB}/bytes/300000 | wc -c"))?;
    ensure!(ended.success()? == "300000");
    let read = |filter: &str| {
        lab.host
            .bash(&format!(
                "tcpdump -nr {file} '{filter}' 2>/dev/null | wc -l"
            ))?
            .success()
    };
    let syn = read("tcp[tcpflags] & tcp-syn != 0 and dst host 203.0.113.10")?;
    ensure!(syn == "1", "{syn}");
    let syn_ack = read("tcp[tcpflags] & tcp-syn != 0 and src host 203.0.113.10")?;
    ensure!(syn_ack == "1", "{syn_ack}");
    // All of the payload went by: the sum of what came from the server is no less.
    let size = fs::metadata(&file)?.len();
    ensure!(size > 300_000, "{size}");
    Ok(())
}

#[test]
fn a_file_that_cannot_be_written_is_said_before_the_command_starts() -> Result<()> {
    let lab = Lab::new()?;
    for option in ["--record", "--pcap"] {
        let ended = lab
            .exec()
            .option(option)
            .option("/no/such/folder/file")
            .bash("echo started")?;
        ensure!(ended.code() == 125, "{ended:?}");
        ensure!(ended.stdout.is_empty(), "{ended:?}");
        ensure!(ended.stderr.contains("/no/such/folder/file"), "{ended:?}");
    }
    Ok(())
}
