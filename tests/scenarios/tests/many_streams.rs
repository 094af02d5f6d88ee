//! Many connections at once, or one after the other, slow ones and ones of single bytes, under either capture: none
//! starves, none stalls, nothing of them stays behind.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tidegate_lab::{Capture, Lab, address, service, under_both_captures, wait_until};

/// Descriptors that may come with use, however many connections there were: those of up to eight programs whose processes are kept
/// open because they made sockets of late (`familiar.rs` of the platform), and of those who ask for the status.
const KEPT: usize = 8 * (2 + 16 * 2) + 10;

under_both_captures! {
    five_hundred_streams_both_ways_share_what_there_is,
    single_bytes_come_back_in_order,
    connections_one_after_the_other_leave_nothing_behind,
    #[ignore = "minutes"]
    a_hundred_thousand_connections_leave_nothing_behind,
    a_reader_that_stops_for_a_while_gets_the_rest,
    #[ignore = "half a minute"]
    a_reader_that_stops_for_half_a_minute_gets_the_rest,
    programs_send_into_the_device_without_pacing,
}

/// Streams, and bytes of each.
const STREAMS: usize = 512;
const EACH: usize = 100_000;
/// Sends on all streams at once what an echo gives back, and prints Jain's index of their speeds, and the slowest one's seconds.
const STREAMS_BOTH_WAYS: &str = "
import resource, selectors, socket, sys, time
server, count, each = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
payload = bytes(range(256)) * 257
poll = selectors.DefaultSelector()
began, took = time.monotonic(), []
class Stream: sent = got = 0
for _ in range(count):
    stream = Stream()
    stream.socket = socket.socket()
    stream.socket.setblocking(False)
    stream.socket.connect_ex((server, 7))
    poll.register(stream.socket, selectors.EVENT_READ | selectors.EVENT_WRITE, stream)
while len(took) < count:
    for key, events in poll.select():
        stream = key.data
        if events & selectors.EVENT_WRITE:
            at = stream.sent % 256
            stream.sent += stream.socket.send(payload[at:min(len(payload), at + each - stream.sent)])
            if stream.sent == each:
                poll.modify(stream.socket, selectors.EVENT_READ, stream)
        if events & selectors.EVENT_READ:
            got = stream.socket.recv(65536)
            at = stream.got % 256
            assert got and got == payload[at:at + len(got)], 'not what was sent'
            stream.got += len(got)
            if stream.got == each:
                took.append(time.monotonic() - began)
                poll.unregister(stream.socket)
                stream.socket.close()
speeds = [1 / seconds for seconds in took]
print(sum(speeds) ** 2 / (count * sum(speed ** 2 for speed in speeds)), max(took))
";

fn five_hundred_streams_both_ways_share_what_there_is(capture: Capture) -> Result<()> {
    let lab = Lab::new()?;
    let _echo = service::TcpEcho::start(&lab.server, 7)?;
    let script = lab.file("streams.py", STREAMS_BOTH_WAYS)?;
    let streams = format!(
        "python3 {} {} {STREAMS} {EACH}",
        script.display(),
        address::SERVER_V4
    );
    let without_us = fairness(&lab.host.bash(&streams)?.success()?)?;
    let session = lab.captured(capture, "")?;
    let (fair, slowest) = {
        let said = session.bash(&streams)?.success()?;
        (fairness(&said)?, seconds(&said)?)
    };
    ensure!(fair > without_us - 0.05, "{fair}, {without_us} without us");
    // 51 MB each way, for a program that is not optimised; a stalled stream waits for retransmissions beyond this.
    ensure!(slowest < 20.0, "the slowest took {slowest} s");
    Ok(())
}

fn fairness(said: &str) -> Result<f64> {
    number(said, 0)
}

fn seconds(said: &str) -> Result<f64> {
    number(said, 1)
}

fn number(said: &str, at: usize) -> Result<f64> {
    let word = said.split_whitespace().nth(at);
    word.and_then(|word| word.parse().ok())
        .with_context(|| format!("it said: {said}"))
}

fn single_bytes_come_back_in_order(capture: Capture) -> Result<()> {
    let lab = Lab::new()?;
    let _echo = service::TcpEcho::start(&lab.server, 7)?;
    let session = lab.captured(capture, "")?;
    let program = format!(
        "import socket, threading
call = socket.create_connection(('{}', 7))
call.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
data = bytes(number * 7 % 251 for number in range(20000))
def send():
    for byte in data: call.send(bytes([byte]))
    call.shutdown(socket.SHUT_WR)
threading.Thread(target=send).start()
back = b''
while piece := call.recv(65536): back += piece
print(back == data)",
        address::SERVER_V4
    );
    ensure!(session.python(&program)?.success()? == "True");
    Ok(())
}

fn connections_one_after_the_other_leave_nothing_behind(capture: Capture) -> Result<()> {
    connections_in_a_row(capture, 2_000)
}

fn a_hundred_thousand_connections_leave_nothing_behind(capture: Capture) -> Result<()> {
    connections_in_a_row(capture, 100_000)
}

/// Says and hears a little on each, on several ports, with one side or the other finishing first.
fn connections_in_a_row(capture: Capture, count: u32) -> Result<()> {
    const PORTS: std::ops::Range<u16> = 7000..7008;
    let lab = Lab::new()?;
    let _echoes = PORTS
        .map(|port| service::TcpEcho::start(&lab.server, port))
        .collect::<Result<Vec<_>>>()?;
    let mut session = lab.captured(capture, "")?;
    let pid = session.process().pid();
    let program = format!(
        "import socket
for number in range({count}):
    call = socket.create_connection(('{}', {} + number % {}))
    call.sendall(b'ping')
    assert call.recv(4, socket.MSG_WAITALL) == b'ping'
    if number % 2: call.shutdown(socket.SHUT_WR); assert call.recv(1) == b''
    call.close()",
        address::SERVER_V4,
        PORTS.start,
        PORTS.len()
    );
    let before = descriptors(pid)?;
    let job = session.start_python(&program)?;
    job.finish(Duration::from_secs(250))?.success()?;
    let is_empty = |status: &Value| {
        ["flows", "half_open", "time_wait", "buffer_bytes"]
            .iter()
            .all(|gauge| status["counters"]["workers"][0][gauge] == 0)
    };
    wait_until("nothing is left", Duration::from_secs(20), || {
        session
            .gateway()
            .status()
            .is_ok_and(|status| is_empty(&status))
    })?;
    let after = descriptors(pid)?;
    ensure!(
        after < before + KEPT,
        "{before} descriptors before, {after} after"
    );
    Ok(())
}

fn descriptors(pid: u32) -> Result<usize> {
    Ok(std::fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}

fn a_reader_that_stops_for_a_while_gets_the_rest(capture: Capture) -> Result<()> {
    reader_that_stops(capture, 3)
}

fn a_reader_that_stops_for_half_a_minute_gets_the_rest(capture: Capture) -> Result<()> {
    reader_that_stops(capture, 30)
}

fn reader_that_stops(capture: Capture, seconds: u32) -> Result<()> {
    const SIZE: u64 = 50_000_000;
    let lab = Lab::new()?;
    let _web = service::Http::start(&lab.server, 80)?;
    let session = lab.captured(capture, "")?;
    let url = format!("http://{}/bytes/{SIZE}", address::SERVER_V4);
    let script = format!("curl -sS {url} | (head -c 100000; sleep {seconds}; cat) | sha256sum");
    let sum = session.bash(&script)?.success()?;
    ensure!(sum.starts_with(&service::sha256(service::Pattern::new(SIZE))?));
    Ok(())
}

/// Where the host's own choice paces (BBR), the way into the device must not: many streams would take ten times as long.
fn programs_send_into_the_device_without_pacing(capture: Capture) -> Result<()> {
    let lab = Lab::new()?;
    let _echo = service::TcpEcho::start(&lab.server, 7)?;
    let session = lab.captured(capture, "")?;
    for server in [address::SERVER_V4, address::SERVER_V6] {
        let program = format!(
            "import socket
call = socket.create_connection(('{server}', 7))
print(call.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b'\\0').decode())"
        );
        let algorithm = session.python(&program)?.success()?;
        ensure!(algorithm == "cubic" || algorithm == "reno", "{algorithm}");
    }
    if capture == Capture::Exec {
        let segments = session.bash("cat /proc/sys/net/ipv4/tcp_min_tso_segs")?;
        ensure!(segments.success()? == "44");
    }
    Ok(())
}
