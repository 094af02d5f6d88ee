//! A forwarded client behind a bad link: there the gateway's own TCP has to repair the losses.
//!
//! The link loses the same packets with and without the gateway, so both transfers have the same hard luck.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tidegate_lab::{
    Compared, Direction, Hidden, Impairment, Lab, Share, address, endpoint, service,
};

/// How long a transfer through the gateway may take, as a multiple of the same without.
const SLOWER: f64 = 2.0;
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

fn compare(transfer: Transfer, size: u64) -> Result<()> {
    let of =
        |gateway: Gateway| Compared::of_each_seed(|seed| seconds(gateway, transfer, size, seed));
    Compared::ensure_below(SLOWER, || {
        Ok(Compared {
            bare: of(Gateway::Absent)?,
            captured: of(Gateway::Captures)?,
        })
    })
    .with_context(|| format!("{transfer:?}"))
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
