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
def send_paced(s, to, count, size, rate):
    # Each with its number. Who was kept from the processor does not make up for it by a burst.
    seconds, sent, begun = 8 * size / rate, 0, time.monotonic()
    due = begun
    while sent < count:
        now = time.monotonic()
        due = max(due, now - 64 * seconds)
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
    const COUNT: usize = 62_500;
    const SIZE: usize = 1_200;
    // What is asked for: on a busy machine the sender reaches less.
    const RATE: usize = 300_000_000;
    let lab = Lab::new()?;
    let session = lab.captured(capture, "")?;
    for server in SERVERS {
        let _far_end = far_end(&lab, server)?;
        let said = near_end(
            &session,
            server,
            &format!(
                "
s.sendto(b'begin', to)
up = send_paced(s, to, {COUNT}, {SIZE}, {RATE})
count, _ = json.loads(s.recv(65535))
s.sendto(b'send {COUNT} {SIZE} {RATE}', to)
heard, down = receive(s)
in_order = all(a < b for a, b in zip(heard, heard[1:]))
print(count, len(heard), in_order, up, down)"
            ),
        )?;
        let words: Vec<_> = said.split(' ').collect();
        for arrived in words.iter().take(2) {
            let arrived: usize = arrived.parse()?;
            ensure!(arrived <= COUNT, "{server}: {said}");
            ensure!(
                (COUNT - arrived) * 200 < COUNT,
                "{server}: {said} of {COUNT}"
            );
        }
        ensure!(words.get(2) == Some(&"True"), "{server}: {said}");
        for reached in words.iter().skip(3) {
            let reached: usize = reached.parse()?;
            ensure!(reached > 200, "{server}: {said}: the sender was too slow");
        }
    }
    Ok(())
}
