//! The bad link does what it says, as programs see it.

use std::net::UdpSocket;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tidegate_lab::{Direction, Impairment, Lab, Rate, Share, address, endpoint, service};

const MILLISECOND: Duration = Duration::from_millis(1);

#[test]
fn a_packet_takes_as_long_as_the_delay_both_ways() -> Result<()> {
    let lab = Lab::impaired(Impairment {
        delay: 25 * MILLISECOND,
        ..Impairment::default()
    })?;
    for server in [address::SERVER_V4, address::SERVER_V6] {
        let ping =
            format!("ping -c 10 -i 0.1 -W 5 {server} | grep -o 'time=[0-9.]*' | cut -d= -f2");
        let times = lab.host.bash(&ping)?.success()?;
        let times: Vec<f64> = times.lines().map(str::parse).collect::<Result<_, _>>()?;
        ensure!(times.len() == 10, "{times:?}");
        ensure!(times.iter().all(|time| *time >= 50.0), "{times:?}");
        // Some take longer: the first asks for the neighbour's address too, and the machine may be busy.
        let exact = times.iter().filter(|time| **time < 51.5).count();
        ensure!(exact >= 3, "{times:?}");
    }
    Ok(())
}

#[test]
fn the_lab_s_program_makes_the_link_that_its_options_say() -> Result<()> {
    let lab = |words: &[&str]| Command::new(env!("CARGO_BIN_EXE_lab")).args(words).output();
    // The first asks for the neighbour's address too, which takes as long.
    let ping = [
        "ping",
        "-c",
        "2",
        "-i",
        "0.2",
        "-W",
        "5",
        address::SERVER_V4,
    ];
    let delayed = lab(&[&["--delay", "100"], &ping[..]].concat())?;
    let said = String::from_utf8_lossy(&delayed.stdout);
    ensure!(
        delayed.status.success() && said.contains("time=20"),
        "{said}"
    );
    let lost = lab(&[&["--loss", "100"], &ping[..]].concat())?;
    let said = String::from_utf8_lossy(&lost.stdout);
    ensure!(said.contains("100% packet loss"), "{said}");
    ensure!(!lab(&["--loss", "much"])?.status.success());
    Ok(())
}

#[test]
fn the_packets_that_the_seed_names_are_lost_and_no_others() -> Result<()> {
    const COUNT: u64 = 3000;
    let impairment = Impairment {
        seed: 7,
        loss: Share::percent(10),
        ..Impairment::default()
    };
    let lab = Lab::impaired(impairment)?;
    let arrived = send_numbers(&lab, COUNT)?;
    let expected: Vec<_> = (0..COUNT)
        .filter(|number| !impairment.loses(Direction::There, *number))
        .collect();
    ensure!(arrived == expected, "{} arrived", arrived.len());
    ensure!((2600..2800).contains(&arrived.len()), "{}", arrived.len());
    let counts = lab
        .upstream
        .context("no bad link")?
        .counts(Direction::There);
    ensure!(counts.packets == COUNT, "{counts:?}");
    ensure!(
        counts.lost == COUNT - u64::try_from(arrived.len())?,
        "{counts:?}"
    );
    Ok(())
}

#[test]
fn late_packets_arrive_behind_those_that_overtook_them() -> Result<()> {
    const COUNT: u64 = 500;
    let impairment = Impairment {
        seed: 7,
        late: Share::percent(20),
        lateness: 20 * MILLISECOND,
        ..Impairment::default()
    };
    let lab = Lab::impaired(impairment)?;
    let arrived = send_numbers(&lab, COUNT)?;
    ensure!(arrived.len() == usize::try_from(COUNT)?, "{arrived:?}");
    let overtaken: Vec<_> = arrived
        .iter()
        .enumerate()
        .filter(|(place, number)| arrived[*place..].iter().any(|later| later < number))
        .collect();
    ensure!(!overtaken.is_empty(), "{arrived:?}");
    let (late, timely): (Vec<u64>, Vec<u64>) =
        (arrived.into_iter()).partition(|number| impairment.delays(Direction::There, *number));
    ensure!(
        late.is_sorted() && timely.is_sorted(),
        "{late:?} {timely:?}"
    );
    Ok(())
}

/// Sends so many numbered datagrams to the server, and gives the numbers that arrive, in their order.
fn send_numbers(lab: &Lab, count: u64) -> Result<Vec<u64>> {
    let receiver = lab
        .server
        .inside(|| UdpSocket::bind((address::SERVER_V4, 9)))??;
    receiver.set_read_timeout(Some(500 * MILLISECOND))?;
    let sender = lab.host.inside(|| UdpSocket::bind("0.0.0.0:0"))??;
    sender.connect(endpoint(address::SERVER_V4, 9)?)?;
    let mut arrived = Vec::new();
    let mut buffer = [0; 8];
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..count {
                drop(sender.send(&number.to_be_bytes()));
                // The receiver's buffer holds some hundreds.
                if number % 50 == 0 {
                    std::thread::sleep(MILLISECOND);
                }
            }
        });
        while receiver.recv(&mut buffer).is_ok() {
            arrived.push(u64::from_be_bytes(buffer));
        }
    });
    Ok(arrived)
}

#[test]
fn a_slow_line_is_as_slow_as_it_says() -> Result<()> {
    let lab = Lab::impaired(Impairment {
        rate: Some(Rate {
            bits_per_second: 20_000_000,
            queue: 100_000,
        }),
        ..Impairment::default()
    })?;
    let _web = service::Http::start(&lab.server, 80)?;
    let begun = Instant::now();
    let fetch = "curl -sS http://203.0.113.10/bytes/2500000 | wc -c";
    ensure!(lab.host.bash(fetch)?.success()? == "2500000");
    let took = begun.elapsed();
    // 20,000,000 bits of payload, and 5 % of headers and of what was dropped and sent again.
    ensure!(took > 1000 * MILLISECOND, "{took:?}");
    ensure!(took < 2000 * MILLISECOND, "{took:?}");
    let counts = lab.upstream.context("no bad link")?.counts(Direction::Back);
    ensure!(counts.dropped > 0, "{counts:?}");
    Ok(())
}

#[test]
fn a_link_without_impairment_loses_nothing_and_is_no_bottleneck_for_tests() -> Result<()> {
    const SIZE: u64 = 100_000_000;
    let lab = Lab::impaired(Impairment::default())?;
    let _web = service::Http::start(&lab.server, 80)?;
    let expected = service::sha256(service::Pattern::new(SIZE))?;
    let begun = Instant::now();
    let sum = lab.host.bash(&format!(
        "curl -sS http://203.0.113.10/bytes/{SIZE} | sha256sum"
    ))?;
    ensure!(sum.success()?.starts_with(&expected));
    // About 1 Gbit/s where the tests are built without optimisation; a tenth of that where they share a processor.
    ensure!(
        begun.elapsed() < Duration::from_secs(8),
        "{:?}",
        begun.elapsed()
    );
    let link = lab.upstream.context("no bad link")?;
    for direction in [Direction::There, Direction::Back] {
        let counts = link.counts(direction);
        ensure!(
            counts.packets > 0 && counts.lost + counts.dropped == 0,
            "{counts:?}"
        );
    }
    Ok(())
}
