//! A forwarded client behind a bad link: there the gateway's own TCP has to repair the losses.
//!
//! The link loses the same packets with and without the gateway, so both transfers have the same hard luck.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use tidegate_lab::{Direction, Hidden, Impairment, Lab, Share, address, endpoint, service};

/// How long a transfer through the gateway may take, as a multiple of the same without.
const SLOWER: f64 = 2.0;
const SEEDS: [u64; 5] = [1, 2, 3, 4, 5];
const SHORT: u64 = 1_000_000;
const LONG: u64 = 10_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transfer {
    Down,
    Up,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gateway {
    Captures,
    Absent,
}

#[test]
fn a_short_download_to_a_client_behind_a_lossy_link_takes_at_most_twice_as_long() -> Result<()> {
    compare(Transfer::Down, SHORT)
}

#[test]
fn a_short_upload_from_a_client_behind_a_lossy_link_takes_at_most_twice_as_long() -> Result<()> {
    compare(Transfer::Up, SHORT)
}

#[test]
#[ignore = "half a minute"]
fn a_long_download_to_a_client_behind_a_lossy_link_takes_at_most_twice_as_long() -> Result<()> {
    compare(Transfer::Down, LONG)
}

#[test]
#[ignore = "half a minute"]
fn a_long_upload_from_a_client_behind_a_lossy_link_takes_at_most_twice_as_long() -> Result<()> {
    compare(Transfer::Up, LONG)
}

/// Compares the medians over all seeds. Whatever else runs on this machine makes either slower, so a bad comparison counts
/// only if it repeats itself.
fn compare(transfer: Transfer, size: u64) -> Result<()> {
    let mut compared = times(transfer, size)?;
    for _ in 0..2 {
        if compared.ratio() < SLOWER {
            break;
        }
        compared = times(transfer, size)?;
    }
    ensure!(compared.ratio() < SLOWER, "{transfer:?}: {compared:?}");
    Ok(())
}

/// Seconds, by seed.
#[derive(Debug)]
struct Compared {
    captured: Vec<f64>,
    bare: Vec<f64>,
}

impl Compared {
    fn ratio(&self) -> f64 {
        median(&self.captured) / median(&self.bare)
    }
}

/// The transfers wait far more than they compute, so all of a kind run at once.
fn times(transfer: Transfer, size: u64) -> Result<Compared> {
    let of = |gateway: Gateway| {
        thread::scope(|scope| {
            let runs =
                SEEDS.map(|seed| scope.spawn(move || seconds(gateway, transfer, size, seed)));
            let joined = runs.map(|run| run.join().map_err(|_| anyhow!("a transfer panicked"))?);
            joined.into_iter().collect::<Result<Vec<_>>>()
        })
    };
    Ok(Compared {
        bare: of(Gateway::Absent)?,
        captured: of(Gateway::Captures)?,
    })
}

fn median(times: &[f64]) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// How long curl takes in a container whose link has a round trip of 50 ms and loses 1 % of the packets each way.
fn seconds(gateway: Gateway, transfer: Transfer, size: u64, seed: u64) -> Result<f64> {
    let lossy = Impairment {
        seed,
        delay: Duration::from_millis(25),
        loss: Share::percent(1),
        ..Impairment::default()
    };
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let containers = lab.containers_behind(Hidden::Masqueraded, Some(lossy))?;
    let tidegate = match gateway {
        Gateway::Absent => None,
        Gateway::Captures => Some(lab.tidegate("[capture]\nforwarded = [\"br0\"]\n")?),
    };
    let server = endpoint(address::SERVER_V4, 80)?;
    let curl = "curl -sS -m 60 -w '%{stderr}%{time_total}'";
    let script = match transfer {
        Transfer::Down => format!("{curl} http://{server}/bytes/{size} | sha256sum"),
        Transfer::Up => format!(
            "{curl} -T {} http://{server}/",
            lab.payload(size)?.display()
        ),
    };
    let ended = containers.one.bash(&script)?;
    let expected = service::sha256(service::Pattern::new(size))?;
    ensure!(
        ended.stdout.contains(&expected),
        "not the same bytes: {ended:?}"
    );
    if let Some(tidegate) = tidegate {
        let flow = tidegate.flow_to(&server.to_string())?;
        ensure!(flow["carriage"] == "terminated", "{flow}");
    }
    let link = containers.link.as_ref().context("the link is a good one")?;
    let counts = link.counts(match transfer {
        Transfer::Down => Direction::There,
        Transfer::Up => Direction::Back,
    });
    ensure!(counts.lost > 0, "a good link: {counts:?}");
    let seconds = ended.stderr.parse();
    seconds.with_context(|| format!("curl said: {}", ended.stderr))
}
