//! A bad path to the server, under either capture: what the gateway's own sockets make of loss, delay and narrowness.
//!
//! The link loses the same packets with and without the gateway, so both transfers have the same hard luck.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use tidegate_lab::{
    Capture, Compared, Direction, Impairment, Lab, Share, User, address, endpoint, service,
    under_both_captures, wait_until,
};

/// How long a transfer through the gateway may take, as a multiple of the same without.
const SLOWER: f64 = 1.2;
const SHORT: u64 = 1_000_000;
const LONG: u64 = 10_000_000;
const SERVERS: [&str; 2] = [address::SERVER_V4, address::SERVER_V6];

under_both_captures! {
    a_short_download_over_a_lossy_path_takes_about_as_long_as_without_us,
    a_short_upload_over_a_lossy_path_takes_about_as_long_as_without_us,
    #[ignore = "half a minute"]
    a_long_download_over_a_lossy_path_takes_about_as_long_as_without_us,
    #[ignore = "half a minute"]
    a_long_upload_over_a_lossy_path_takes_about_as_long_as_without_us,
    transfers_over_a_path_that_reorders_take_about_as_long_as_without_us,
    transfers_through_a_narrow_path_arrive_whole,
    a_datagram_too_large_for_the_path_arrives_once_the_path_is_known,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transfer {
    Down,
    Up,
}

fn a_short_download_over_a_lossy_path_takes_about_as_long_as_without_us(
    capture: Capture,
) -> Result<()> {
    compare(capture, Transfer::Down, SHORT, lossy)
}

fn a_short_upload_over_a_lossy_path_takes_about_as_long_as_without_us(
    capture: Capture,
) -> Result<()> {
    compare(capture, Transfer::Up, SHORT, lossy)
}

fn a_long_download_over_a_lossy_path_takes_about_as_long_as_without_us(
    capture: Capture,
) -> Result<()> {
    compare(capture, Transfer::Down, LONG, lossy)
}

fn a_long_upload_over_a_lossy_path_takes_about_as_long_as_without_us(
    capture: Capture,
) -> Result<()> {
    compare(capture, Transfer::Up, LONG, lossy)
}

fn transfers_over_a_path_that_reorders_take_about_as_long_as_without_us(
    capture: Capture,
) -> Result<()> {
    compare(capture, Transfer::Down, SHORT, disorderly)?;
    compare(capture, Transfer::Up, SHORT, disorderly)
}

/// What becomes of the link by a seed.
type Path = fn(u64) -> Impairment;

/// A round trip of 50 ms, and 1 % of the packets lost each way.
fn lossy(seed: u64) -> Impairment {
    Impairment {
        seed,
        delay: Duration::from_millis(25),
        loss: Share::percent(1),
        ..Impairment::default()
    }
}

/// A round trip of 50 ms, and 5 % of the packets overtaken by those of the next 10 ms.
fn disorderly(seed: u64) -> Impairment {
    Impairment {
        seed,
        delay: Duration::from_millis(25),
        late: Share::percent(5),
        lateness: Duration::from_millis(10),
        ..Impairment::default()
    }
}

/// Both at once: they have the same company then.
fn compare(capture: Capture, transfer: Transfer, size: u64, path: Path) -> Result<()> {
    let of = |capture: Option<Capture>| {
        Compared::of_each_seed(|seed| seconds(capture, transfer, size, path(seed)))
    };
    Compared::ensure_below(SLOWER, || {
        thread::scope(|scope| {
            let bare = scope.spawn(|| of(None));
            let captured = of(Some(capture))?;
            let bare = bare.join().map_err(|_| anyhow!("a transfer panicked"))??;
            Ok(Compared { captured, bare })
        })
    })
    .with_context(|| format!("{transfer:?}"))
}

/// How long curl takes over this path.
fn seconds(
    capture: Option<Capture>,
    transfer: Transfer,
    size: u64,
    path: Impairment,
) -> Result<f64> {
    let lab = Lab::impaired(path)?;
    let _web = service::Http::start(&lab.server, 80)?;
    let script = curl(&lab, transfer, address::SERVER_V4, size)?;
    let ended = match capture {
        None => lab.host.bash_as(User::ALICE, &script)?,
        Some(capture) => {
            let session = lab.captured(capture, "")?;
            let ended = session.bash(&script)?;
            session.flow_to(address::SERVER_V4, 80)?;
            ended
        }
    };
    ensure_whole(&ended.stdout, size)?;
    let link = lab.upstream.as_ref().context("the link is a good one")?;
    let counts = link.counts(match transfer {
        Transfer::Down => Direction::Back,
        Transfer::Up => Direction::There,
    });
    ensure!(counts.lost + counts.late > 0, "a good path: {counts:?}");
    let seconds = ended.stderr.parse();
    seconds.with_context(|| format!("curl said: {}", ended.stderr))
}

/// A script that prints the SHA-256 of what arrives, and to standard error how many seconds it took.
fn curl(lab: &Lab, transfer: Transfer, server: &str, size: u64) -> Result<String> {
    let url = format!("http://{}", endpoint(server, 80)?);
    let curl = "curl -sS -w '%{stderr}%{time_total}'";
    Ok(match transfer {
        Transfer::Down => format!("{curl} {url}/bytes/{size} | sha256sum"),
        Transfer::Up => format!("{curl} -T {} {url}/", lab.payload(size)?.display()),
    })
}

fn ensure_whole(said: &str, size: u64) -> Result<()> {
    let expected = service::sha256(service::Pattern::new(size))?;
    ensure!(said.contains(&expected), "not the same bytes: {said}");
    Ok(())
}

fn transfers_through_a_narrow_path_arrive_whole(capture: Capture) -> Result<()> {
    const SIZE: u64 = 3_000_000;
    for server in SERVERS {
        for transfer in [Transfer::Down, Transfer::Up] {
            // Of another transfer the machines would know the path already.
            let lab = Lab::new()?;
            lab.narrow(1280)?;
            let _web = service::Http::start(&lab.server, 80)?;
            let session = lab.captured(capture, "")?;
            let ended = session.bash(&curl(&lab, transfer, server, SIZE)?)?;
            ensure_whole(&ended.success()?, SIZE)?;
            session.flow_to(server, 80)?;
            let met = packets_too_big(&lab)?;
            ensure!(met > 0, "{server} {transfer:?}: the path was wide");
        }
    }
    Ok(())
}

fn a_datagram_too_large_for_the_path_arrives_once_the_path_is_known(
    capture: Capture,
) -> Result<()> {
    for server in SERVERS {
        let lab = Lab::new()?;
        lab.narrow(1280)?;
        let _echo = service::UdpEcho::start(&lab.server, &SERVERS, 7)?;
        let session = lab.captured(capture, "")?;
        // The first meets the narrow place, which its sender is told of; so does the first answer.
        wait_until("a datagram is echoed", Duration::from_secs(20), || {
            let outcome = session.echo(server, 7, 1400, Duration::from_secs(1));
            outcome.is_ok_and(|outcome| outcome.word == "echoed")
        })?;
        let remote = endpoint(server, 7)?.to_string();
        ensure!(!session.gateway().flows_to(&remote)?.is_empty());
        ensure!(packets_too_big(&lab)? > 0, "{server}: the path was wide");
    }
    Ok(())
}

/// How many packets the router found too large to pass on.
fn packets_too_big(lab: &Lab) -> Result<u64> {
    let counters =
        "nstat -asz IpFragFails Ip6FragFails | awk '!/^#/ { sum += $2 } END { print sum }'";
    Ok(lab.router.bash(counters)?.success()?.parse()?)
}
