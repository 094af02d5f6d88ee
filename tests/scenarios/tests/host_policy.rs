//! Host capture: a daemon that reloads when it is told to.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tidegate_lab::{Lab, address, service, wait_until};

const PATIENCE: Duration = Duration::from_secs(5);
/// How long a reload may take.
const RELOADED: Duration = Duration::from_secs(2);

#[test]
fn sighup_reloads_and_a_bad_file_changes_nothing_but_a_message() -> Result<()> {
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let mut tidegate = lab.tidegate("[[rule]]\nto = \"203.0.113.20\"\naction = \"block\"\n")?;
    let mut drip = lab
        .host
        .background("exec curl -sSN http://203.0.113.10/drip")?;
    drip.wait_for_output("drip")?;
    tidegate.rewrite_config("[policy]\ndefault = \"block\"\nnonsense = 1\n")?;
    tidegate.process().signal(SIGHUP)?;
    wait_until("the failure is told", PATIENCE, || {
        tidegate.status().is_ok_and(|status| {
            let failure = status["policy"]["reload_failure"]["message"].to_string();
            failure.contains("nonsense") && failure.contains("tidegate.toml:3:")
        })
    })
    .with_context(|| format!("{:?}", tidegate.status()))?;
    let connect = |server| anyhow::Ok(lab.host.connect(server, 80, PATIENCE)?.word);
    ensure!(connect(address::SERVER_V4)? == "connected");
    ensure!(connect(address::OTHER_V4)? == "ECONNREFUSED");
    ensure!(!drip.has_ended(), "{}", drip.output());
    tidegate.rewrite_config("")?;
    tidegate.process().signal(SIGHUP)?;
    wait_until("the new policy holds", RELOADED, || {
        connect(address::OTHER_V4).is_ok_and(|seen| seen == "connected")
    })?;
    ensure!(tidegate.status()?["policy"]["reload_failure"].is_null());
    ensure!(!drip.has_ended(), "{}", drip.output());
    Ok(())
}

const SIGHUP: i32 = 1;
