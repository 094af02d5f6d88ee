//! `tidegate block`, `allow` and `undo`: by a word, for flows that live and for new ones, at once.

use std::fs;
use std::time::Duration;

use anyhow::{Result, ensure};
use tidegate_lab::{Lab, User, address, service, wait_until};

const PATIENCE: Duration = Duration::from_secs(5);
/// How soon a word holds.
const AT_ONCE: Duration = Duration::from_secs(1);

fn connect(lab: &Lab, server: &str) -> Result<String> {
    Ok(lab.host.connect(server, 80, PATIENCE)?.word)
}

fn quick_rules(lab: &Lab) -> String {
    fs::read_to_string(lab.folder().join("quick.toml")).unwrap_or_default()
}

#[test]
fn a_word_blocks_flows_that_live_and_new_ones_and_undo_takes_it_back() -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let tidegate = lab.tidegate("[[rule]]\napp = \"/usr/bin/*\"\naction = \"allow\"\n")?;
    let mut drip = lab
        .host
        .background("exec curl -sSN http://203.0.113.10/drip")?;
    drip.wait_for_output("drip")?;

    let said = tidegate.ask(&["block", "curl"])?.success()?;
    ensure!(said.starts_with("in force: block curl ("), "{said}");
    wait_until("the live flow ends", AT_ONCE, || drip.has_ended())?;
    let fetch = "curl -sS --max-time 5 http://203.0.113.10/bytes/10 | wc -c";
    ensure!(lab.host.bash(fetch)?.code() != 0);
    // Others are left alone.
    ensure!(connect(&lab, address::SERVER_V4)? == "connected");

    tidegate.ask(&["undo"])?.success()?;
    ensure!(lab.host.bash(fetch)?.success()? == "10");
    let nothing = tidegate.ask(&["undo"])?;
    ensure!(
        nothing.code() == 1 && nothing.stderr.contains("nothing to undo"),
        "{nothing:?}"
    );
    Ok(())
}

#[test]
fn the_newest_word_holds_and_undo_goes_back_to_any_depth() -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let tidegate = lab.tidegate("[policy]\ndefault = \"block\"\n")?;
    ensure!(connect(&lab, address::SERVER_V4)? == "ECONNREFUSED");
    for words in [
        &["allow", "any", "to", "203.0.113.0/24"][..],
        &["block", "any", "to", address::SERVER_V4, "port", "tcp/80"],
        &["allow", "any", "port", "80"],
    ] {
        tidegate.ask(words)?.success()?;
    }
    ensure!(connect(&lab, address::SERVER_V4)? == "connected");
    tidegate.ask(&["undo"])?.success()?;
    ensure!(connect(&lab, address::SERVER_V4)? == "ECONNREFUSED");
    ensure!(connect(&lab, address::OTHER_V4)? == "connected");
    let undone = tidegate.ask(&["undo", "5"])?.success()?;
    ensure!(undone.lines().count() == 2, "{undone}");
    ensure!(connect(&lab, address::OTHER_V4)? == "ECONNREFUSED");
    Ok(())
}

#[test]
fn what_is_no_rule_changes_nothing() -> Result<()> {
    let lab = Lab::new()?;
    let tidegate = lab.tidegate("")?;
    for (words, expected) in [
        (&["block", "curl", "to", "10.0.0.1/8"][..], "10.0.0.1/8"),
        (&["block", "curl", "port", "tcp/x"], "tcp/x"),
        (&["block", "curl", "to"], "missing"),
        (&["allow", "no-such-program"], "write the path"),
        (&["undo", "0"], "from 1 on"),
    ] {
        let refused = tidegate.ask(words)?;
        ensure!(refused.code() != 0, "{words:?}: {refused:?}");
        ensure!(refused.stderr.contains(expected), "{words:?}: {refused:?}");
    }
    // Sets are a matter of all files together: the daemon finds out, and takes the rule back.
    let refused = tidegate.ask(&["block", "curl", "to", "set:nowhere"])?;
    ensure!(refused.code() == 1, "{refused:?}");
    ensure!(refused.stderr.contains("nowhere"), "{refused:?}");
    ensure!(quick_rules(&lab).is_empty());
    ensure!(tidegate.status()?["policy"]["generation"] == 1);
    Ok(())
}

#[test]
fn a_word_outlives_the_daemon_and_takes_who_may_give_orders() -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let mut tidegate = lab.tidegate("")?;
    let stranger = tidegate.ask_as(User::ALICE, &["block", "any"])?;
    ensure!(stranger.code() == 1, "{stranger:?}");
    tidegate
        .ask(&["block", "any", "to", address::SERVER_V4])?
        .success()?;
    tidegate.process().stop()?;
    drop(tidegate);
    let _again = lab.tidegate("")?;
    ensure!(connect(&lab, address::SERVER_V4)? == "ECONNREFUSED");
    ensure!(quick_rules(&lab).contains("to = \"203.0.113.10\""));
    Ok(())
}

#[test]
fn a_word_for_a_time_ends_with_it() -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let tidegate = lab.tidegate("")?;
    tidegate
        .ask(&["block", "any", "to", address::SERVER_V4, "for", "3s"])?
        .success()?;
    ensure!(connect(&lab, address::SERVER_V4)? == "ECONNREFUSED");
    wait_until("its time is over", PATIENCE, || {
        connect(&lab, address::SERVER_V4).is_ok_and(|word| word == "connected")
    })?;
    ensure!(quick_rules(&lab).contains("expires = "));
    Ok(())
}
