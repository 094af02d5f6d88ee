//! What a program's datagrams look like at their other end, under either capture.

use anyhow::{Context, Result, bail, ensure};
use tidegate_lab::{Background, Capture, Lab, Session, address, service, under_both_captures};

const PORT: u16 = 4433;
const ECHO: u16 = 7;
const SERVERS: [&str; 2] = [address::SERVER_V4, address::SERVER_V6];

under_both_captures! {
    runs_arrive_in_their_sizes_and_order,
    datagrams_larger_than_a_packet_arrive_whole,
    more_than_200_megabits_a_second_lose_less_than_one_datagram_in_two_hundred,
    #[ignore = "needs the release build: `cargo xtask test --full`"]
    of_300_megabits_a_second_less_than_one_datagram_in_two_hundred_is_lost,
}

/// What both ends of a test say to each other. `sent` are runs that the kernel cuts (`UDP_SEGMENT`, udp(7)), of which the last
/// datagram is shorter, as long as the others, or the only one.
const BOTH_ENDS: &str = "
import hashlib, json, socket, sys, time
SOL_UDP, UDP_SEGMENT, SO_RCVBUFFORCE = 17, 103, 33
RUNS = [(1200, 12345), (1200, 12000), (1, 40), (1452, 1452 * 40), (700, 701), (700, 700), (1000, 1), (333, 333 * 64)]
def run(number, length):
    return bytes((number * 7 + at) % 251 for at in range(length))
def send_runs(s, to):
    for number, (size, length) in enumerate(RUNS):
        s.setsockopt(SOL_UDP, UDP_SEGMENT, size)
        s.sendto(run(number, length), to)
        # The receiver's buffer holds a few runs.
        time.sleep(0.02)
    s.setsockopt(SOL_UDP, UDP_SEGMENT, 0)
    s.sendto(b'end', to)
def wanted():
    return [run(n, length)[at:at + size] for n, (size, length) in enumerate(RUNS) for at in range(0, length, size)]
def digest(datagrams):
    sizes = repr([len(datagram) for datagram in datagrams])
    return hashlib.sha256(sizes.encode() + b''.join(datagrams)).hexdigest()
def send_paced(s, to, count, size, rate, most=64):
    # Each with its number. Who was kept from the processor makes up for it by a burst of so many, not by a longer one.
    seconds, sent, begun = 8 * size / rate, 0, time.monotonic()
    due = begun
    while sent < count:
        now = time.monotonic()
        due = max(due, now - most * seconds)
        while due < now and sent < count:
            s.sendto(sent.to_bytes(8, 'big') + bytes(size - 8), to)
            sent, due = sent + 1, due + seconds
        time.sleep(0.0005)
    reached = int(8 * size * sent / (time.monotonic() - begun) / 1e6)
    for _ in range(3):
        time.sleep(0.1)
        s.sendto(b'end ' + str(reached).encode(), to)
    return reached
def receive(s):
    datagrams = []
    while not (said := s.recv(65535)).startswith(b'end'): datagrams.append(said)
    return datagrams, int(said[3:] or 0)
";

/// Does what a client asks it for, at this address of the server.
fn far_end(lab: &Lab, server: &str) -> Result<Background> {
    let program = format!(
        "{BOTH_ENDS}
s = socket.socket(socket.AF_INET6 if ':' in '{server}' else socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
s.bind(('{server}', {PORT}))
print('ready')
heard, ended = [], False
while True:
    said, sender = s.recvfrom(65535)
    if said == b'send runs': send_runs(s, sender)
    elif said.startswith(b'send '): send_paced(s, sender, *map(int, said.split()[1:]))
    elif said == b'begin': heard, ended = [], False
    elif said.startswith(b'end') and not ended:
        ended = True
        s.sendto(json.dumps([len(heard), digest(heard)]).encode(), sender)
    elif not said.startswith(b'end'): heard.append(said)"
    );
    let far_end = lab
        .server
        .python_background_as(tidegate_lab::User::ROOT, &program)?;
    far_end.wait_for_output("ready")?;
    Ok(far_end)
}

/// What this program prints, which has a socket `s` of the right family and the address `to` of the far end.
fn near_end(session: &Session<'_>, server: &str, program: &str) -> Result<String> {
    let program = format!(
        "{BOTH_ENDS}
to = ('{server}', {PORT})
s = socket.socket(socket.AF_INET6 if ':' in to[0] else socket.AF_INET, socket.SOCK_DGRAM)
for option in socket.SO_RCVBUF, SO_RCVBUFFORCE:
    try: s.setsockopt(socket.SOL_SOCKET, option, 8 << 20)
    except PermissionError: pass
s.settimeout(10)
{program}"
    );
    session.python(&program)?.success()
}

fn runs_arrive_in_their_sizes_and_order(capture: Capture) -> Result<()> {
    let lab = Lab::new()?;
    let session = lab.captured(capture, "")?;
    for server in SERVERS {
        let _far_end = far_end(&lab, server)?;
        let before = packets(&session)?;
        let said = near_end(
            &session,
            server,
            "
s.sendto(b'begin', to)
send_runs(s, to)
print('up', json.loads(s.recv(65535)) == [len(wanted()), digest(wanted())])
s.sendto(b'send runs', to)
heard, _ = receive(s)
print('down', heard == wanted())",
        )?;
        ensure!(said == "up True\ndown True", "{server}: {said}");
        if takes_runs()? {
            // 8 runs, and a few words about them.
            for (before, after) in before.iter().zip(packets(&session)?) {
                let count = after - before;
                ensure!(count < 30, "{server}: 169 datagrams in {count} packets");
            }
        }
    }
    Ok(())
}

/// Packets out of the device and into it.
fn packets(session: &Session<'_>) -> Result<[u64; 2]> {
    let counters = &session.gateway().status()?["counters"];
    let count = |name| counters[name].as_u64().context("no such counter");
    Ok([count("packets_in")?, count("packets_out")?])
}

/// Whether devices take several datagrams as one packet: from Linux 6.2 on.
fn takes_runs() -> Result<bool> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let mut numbers = release.split('.').map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => Ok((major, minor) >= (6, 2)),
        _ => bail!("a kernel called {release}"),
    }
}

fn datagrams_larger_than_a_packet_arrive_whole(capture: Capture) -> Result<()> {
    let lab = Lab::new()?;
    let _echo = service::UdpEcho::start(&lab.server, &SERVERS, ECHO)?;
    let session = lab.captured(capture, "")?;
    for server in SERVERS {
        let _far_end = far_end(&lab, server)?;
        let said = near_end(
            &session,
            server,
            &format!(
                "
to = ('{server}', {ECHO})
largest = 65507 if s.family == socket.AF_INET else 65487
for size in 0, 1, 1452, 1453, 1472, 1473, 8000, 60000, largest:
    sent = run(size, size)
    s.sendto(sent, to)
    if s.recv(65535) != sent: print(size, 'is garbled')
print('done')"
            ),
        )?;
        ensure!(said == "done", "{server}: {said}");
    }
    Ok(())
}

fn more_than_200_megabits_a_second_lose_less_than_one_datagram_in_two_hundred(
    capture: Capture,
) -> Result<()> {
    let lab = Lab::new()?;
    let session = lab.captured(capture, "")?;
    for server in SERVERS {
        let _far_end = far_end(&lab, server)?;
        // More is asked for: on a busy machine the sender reaches less.
        let seen = paced(&session, server, 300_000_000, 64)?;
        ensure!(
            seen.arrived.into_iter().all(is_nearly_all),
            "{server}: {seen:?}"
        );
        ensure!(
            seen.sent.iter().all(|megabits| *megabits > 200),
            "{server}: {seen:?}: the sender was too slow"
        );
    }
    Ok(())
}

/// One datagram a call in each direction, by the build that users run. Where others keep the processors busy the sender does not
/// reach that rate, whatever we do: then that direction is tried again. What was sent at that rate counts the first time.
fn of_300_megabits_a_second_less_than_one_datagram_in_two_hundred_is_lost(
    capture: Capture,
) -> Result<()> {
    const TRIES: usize = 8;
    // So many arrive as 300 where one in 200 is lost.
    const ENOUGH: usize = 302;
    let lab = Lab::new()?;
    lab.use_release()?;
    let session = lab.captured(capture, "")?;
    for server in SERVERS {
        let _far_end = far_end(&lab, server)?;
        let (mut tried, mut counted) = (Vec::new(), [false; 2]);
        while counted != [true; 2] {
            ensure!(tried.len() < TRIES, "the sender was too slow: {tried:?}");
            let seen = paced(&session, server, 330_000_000, 200)?;
            for (counted, (sent, arrived)) in
                counted.iter_mut().zip(seen.sent.iter().zip(seen.arrived))
            {
                if *sent >= ENOUGH {
                    ensure!(is_nearly_all(arrived), "{server}: {seen:?}");
                    *counted = true;
                }
            }
            tried.push(seen);
        }
    }
    Ok(())
}

const COUNT: usize = 62_500;

/// What became of so many datagrams, up and down.
#[derive(Debug)]
struct Paced {
    arrived: [usize; 2],
    /// Megabits a second.
    sent: [usize; 2],
}

/// Whether less than one in two hundred was lost.
fn is_nearly_all(arrived: usize) -> bool {
    COUNT.saturating_sub(arrived) * 200 < COUNT
}

/// Sends as many bits a second of payload as asked for, if it can, up and then down, in bursts of at most `burst` datagrams.
/// Their order stays.
fn paced(session: &Session<'_>, server: &str, rate: usize, burst: usize) -> Result<Paced> {
    const SIZE: usize = 1_200;
    let said = near_end(
        session,
        server,
        &format!(
            "
s.sendto(b'begin', to)
up = send_paced(s, to, {COUNT}, {SIZE}, {rate}, {burst})
count, _ = json.loads(s.recv(65535))
s.sendto(b'send {COUNT} {SIZE} {rate} {burst}', to)
heard, down = receive(s)
in_order = all(a < b for a, b in zip(heard, heard[1:]))
print(in_order, count, len(heard), up, down)"
        ),
    )?;
    let numbers = said.strip_prefix("True ");
    let numbers = numbers.with_context(|| format!("{server}: out of order: {said}"))?;
    let numbers: Result<Vec<usize>, _> = numbers.split(' ').map(str::parse).collect();
    let [up, down, sent_up, sent_down] = numbers?[..] else {
        bail!("{server}: {said}");
    };
    ensure!(
        up.max(down) <= COUNT,
        "{server}: more than were sent: {said}"
    );
    Ok(Paced {
        arrived: [up, down],
        sent: [sent_up, sent_down],
    })
}
