//! Host capture: killed at any step of a start or a stop, the host is as `fail` says, and what is left is undone.
//!
//! Steps are the main thread's system calls that reach the kernel's tables, the journal and the settings: it is killed as it
//! enters the n-th of each kind, for every n that there is (every few in the short run).

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tidegate_lab::{Lab, NetworkState, Step, address, service};

const PATIENCE: Duration = Duration::from_secs(5);
const SERVERS: [&str; 2] = [address::SERVER_V4, address::SERVER_V6];
/// Netlink, journal, `/proc/sys`, and the journal's end.
const CALLS: [&str; 4] = ["sendto", "write", "fdatasync", "unlink"];
/// Not every step: each takes a fraction of a second.
const SHORT: usize = 7;
const FULL: usize = 1;

#[test]
fn a_start_that_is_killed_is_undone() -> Result<()> {
    starts_killed(SHORT)
}

#[test]
#[ignore = "minutes"]
fn a_start_that_is_killed_at_any_step_is_undone() -> Result<()> {
    starts_killed(FULL)
}

#[test]
fn a_stop_that_is_killed_is_undone() -> Result<()> {
    stops_killed(SHORT)
}

#[test]
#[ignore = "minutes"]
fn a_stop_that_is_killed_at_any_step_is_undone() -> Result<()> {
    stops_killed(FULL)
}

fn starts_killed(stride: usize) -> Result<()> {
    each_step(stride, |host, config, step| {
        host.lab.start_killed_at(config, step)
    })
}

fn stops_killed(stride: usize) -> Result<()> {
    each_step(stride, |host, config, step| {
        host.lab.tidegate(config)?.stop_killed_at(step)
    })
}

/// A host with a web server to reach.
struct Host {
    lab: Lab,
    _web: service::Http,
    before: NetworkState,
}

/// Does this with every `stride`-th step of each kind under both ways to fail, until it tells that there are no more.
fn each_step(stride: usize, kill: impl Fn(&Host, &str, Step) -> Result<bool>) -> Result<()> {
    let lab = Lab::new()?;
    let host = Host {
        _web: service::Http::start(&lab.server, 80)?,
        before: lab.host.network_state()?,
        lab,
    };
    let mut unfinished = 0;
    for fail in ["open", "closed"] {
        // Without what takes time and changes nothing of the network.
        let config = format!("[capture]\nfail = \"{fail}\"\nebpf = \"off\"\n");
        for call in CALLS {
            for time in (1..).step_by(stride) {
                let step = Step { call, time };
                if !kill(&host, &config, step)? {
                    break;
                }
                unfinished += usize::from(
                    host.is_left_as(fail)
                        .with_context(|| format!("{fail}: {step:?}"))?,
                );
                host.mend(time)
                    .with_context(|| format!("{fail}: {step:?}"))?;
            }
        }
    }
    ensure!(unfinished > 0, "nothing was left behind in any step");
    Ok(())
}

impl Host {
    /// What a dead daemon leaves lets programs through, or tells them at once. Whether anything was left.
    fn is_left_as(&self, fail: &str) -> Result<bool> {
        for server in SERVERS {
            let seen = self.lab.host.connect(server, 80, PATIENCE)?;
            let may = match fail {
                "open" => seen.word == "connected",
                _ => ["connected", "EHOSTUNREACH", "ENETUNREACH"].contains(&seen.word.as_str()),
            };
            ensure!(
                may && seen.took < Duration::from_secs(2),
                "{server}: {seen:?}"
            );
        }
        Ok(!self
            .before
            .changes(&self.lab.host.network_state()?)
            .is_empty())
    }

    /// `recover` and the next start both undo it.
    fn mend(&self, time: u32) -> Result<()> {
        if time.is_multiple_of(2) {
            let mut next = self.lab.tidegate("[capture]\nebpf = \"off\"\n")?;
            ensure!(next.process().stop()? == 0);
        } else {
            self.lab.tidegate_command(&["recover"])?.success()?;
        }
        self.before.ensure_equals(&self.lab.host.network_state()?)
    }
}
