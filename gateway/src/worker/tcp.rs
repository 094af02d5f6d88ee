//! TCP: dial first, then move bytes between the flow's buffers and the upstream socket.
//!
//! Up, much goes into `send` from where the device put it, and little from the flow's buffer; down, `recv` fills that: no
//! buffer of our own in between. mio reports readiness once per change, so what is known of the socket is kept in [`TcpPath`]
//! and a short read or write clears it.

mod reported;

use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::net::TcpStream;
use mio::{Interest, Token};
use socket2::SockRef;
use tidegate_netstack::FlowId;
use tidegate_platform::bypass::{Bypass, begin_connect, open_stream};
use tidegate_platform::error_queue::{self, Report};
use tidegate_routing::target::Target;

use super::caller::Caller;
use super::entry::{NotDialed, Path};
use super::keep_alive::KeepAlive;
use super::scarcity::Yielding;
use super::{Source, USUAL_HOP_LIMIT, Worker, count};

/// Most pieces of what a program sent that go upstream with one call.
const MOST_PIECES: usize = 16;

/// The upstream side of one TCP flow.
pub(super) struct TcpPath {
    hop_limit: u8,
    /// What a router said of the SYN.
    report: Option<Box<Report>>,
    socket: Option<Upstream>,
    pub(super) keep_alive: KeepAlive,
}

struct Upstream {
    stream: TcpStream,
    source: usize,
    connected: bool,
    /// The kernel has told that it is connected, and of no error.
    stands: bool,
    /// The kernel has told of an error, which is not read yet.
    failed: bool,
    readable: bool,
    /// The kernel has told of a FIN or an error, which may stand behind bytes not read yet and is not told again.
    ending: bool,
    /// A read may stop at an urgent byte although there is more behind it.
    urgent: bool,
    /// A reset that was taken off the socket before the bytes that stand before it were read.
    reset: Option<io::Error>,
    writable: bool,
    /// Upstream has sent FIN.
    read_finished: bool,
    /// We have sent FIN upstream.
    write_finished: bool,
}

impl Path {
    pub(super) fn tcp(hop_limit: u8) -> Self {
        Self::Tcp(TcpPath {
            hop_limit,
            report: None,
            socket: None,
            keep_alive: KeepAlive::default(),
        })
    }
}

impl TcpPath {
    /// The program's FIN has gone upstream, and so has all before it.
    pub(super) fn is_finished_upward(&self) -> bool {
        self.socket
            .as_ref()
            .is_some_and(|upstream| upstream.write_finished)
    }

    /// The program may still have something to say.
    pub(super) fn is_open_upward(&self) -> bool {
        self.socket
            .as_ref()
            .is_some_and(|upstream| upstream.connected && !upstream.write_finished)
    }

    /// The upstream connection's socket.
    pub(super) fn socket(&self) -> Option<SockRef<'_>> {
        self.socket
            .as_ref()
            .map(|upstream| SockRef::from(&upstream.stream))
    }

    /// Closes the socket; says what it was registered as.
    pub(super) fn hang_up(&mut self) -> Option<usize> {
        self.socket.take().map(|upstream| upstream.source)
    }
}

/// What one turn left.
enum Pumped {
    /// Nothing more to move for now.
    Idle,
    /// More to move, but others first.
    More,
    /// The upstream connection broke.
    Broken(io::Error),
}

impl Worker {
    pub(super) fn dial_tcp(&mut self, flow: FlowId) {
        // Once the connection is under way its socket says how it ends.
        if let Err(failed) = self.begin_dial(flow) {
            self.note_dialed(flow, Err(failed));
        }
    }

    fn begin_dial(&mut self, flow: FlowId) -> Result<(), NotDialed> {
        if !self.may_dial(flow) {
            return Err(NotDialed::TOO_MANY);
        }
        let Some(entry) = self.flows.get(&flow) else {
            return Ok(());
        };
        let Path::Tcp(path) = &entry.path else {
            return Ok(());
        };
        let target = match self.translation.target(entry.key.remote.0, 0) {
            Target::To(address) | Target::Resolver(address) => address,
            Target::NoService => return Err(NotDialed::NO_SERVICE),
        };
        let hop_limit = path.hop_limit;
        let caller = Caller::of(entry);
        let mut stream = self.open_socket(&caller, Yielding::Others, |bypass| {
            connect(target, hop_limit, bypass)
        })?;
        let Some(Path::Tcp(path)) = self.flows.get_mut(&flow).map(|entry| &mut entry.path) else {
            return Ok(());
        };
        let slot = self.sources.vacant_entry();
        let interest = Interest::READABLE | Interest::WRITABLE | Interest::PRIORITY;
        self.poll
            .registry()
            .register(&mut stream, Token(slot.key()), interest)?;
        path.socket = Some(Upstream {
            stream,
            source: slot.key(),
            connected: false,
            stands: false,
            failed: false,
            readable: false,
            ending: false,
            urgent: false,
            reset: None,
            writable: false,
            read_finished: false,
            write_finished: false,
        });
        slot.insert(Source::Tcp(flow));
        self.note_holder(flow, caller);
        Ok(())
    }

    /// The socket of `source` is ready for what `event` says.
    pub(super) fn note_ready(&mut self, source: usize, event: &Event) {
        match self.sources.get(source).copied() {
            Some(Source::Tcp(flow)) => {
                if let Some(upstream) = self.upstream(flow) {
                    upstream.stands |=
                        event.is_writable() && !event.is_error() && !event.is_write_closed();
                    upstream.failed |= event.is_error();
                    upstream.ending |= event.is_read_closed() || event.is_error();
                    upstream.urgent |= event.is_priority();
                    upstream.readable |= event.is_readable() || upstream.ending;
                    upstream.writable |= event.is_writable() || event.is_error();
                }
                self.enqueue(flow);
            }
            Some(Source::Udp(association)) if event.is_error() => {
                self.associations.note_reported(association);
            }
            Some(Source::Udp(association)) => self.associations.note_readable(association),
            Some(Source::Echo(socket)) if event.is_error() => self.echo.note_reported(socket),
            Some(Source::Echo(socket)) => self.echo.note_readable(socket),
            None => {}
        }
    }

    /// Moves what can be moved for one flow, up to `turn` bytes in each direction; says how much that was.
    pub(super) fn pump(&mut self, now: Instant, flow: FlowId, turn: usize) -> usize {
        let Some(entry) = self.flows.get_mut(&flow) else {
            return 0;
        };
        entry.queued = false;
        let Path::Tcp(TcpPath {
            socket: Some(upstream),
            ..
        }) = &mut entry.path
        else {
            return 0;
        };
        if !upstream.connected {
            self.finish_dial(now, flow);
            return 0;
        }
        let Some(mut accepted) = self.stack.tcp(flow) else {
            return 0;
        };
        let (up, sent) = pump_up(&mut accepted, upstream, turn);
        let (down, received) = pump_down(&mut accepted, upstream, turn);
        entry.record.add_bytes_up(count(sent));
        entry.record.add_bytes_down(count(received));
        let moved = sent + received;
        self.turns.note_moved(now, &mut entry.load, moved);
        if upstream.read_finished || upstream.write_finished {
            entry.life.handle_half_closed();
            entry.record.set_state(entry.life.state());
        }
        match (up, down) {
            (Pumped::Broken(error), _) | (_, Pumped::Broken(error)) => {
                accepted.break_off();
                let reason = format!("upstream: {error}");
                self.end(flow, reason);
            }
            (Pumped::More, _) | (_, Pumped::More) => self.enqueue(flow),
            (Pumped::Idle, Pumped::Idle) => {}
        }
        moved
    }

    /// Sends what the program said upstream from where it lies; what finds no room there waits in the flow's buffer.
    pub(super) fn send_up(&mut self, now: Instant, flow: FlowId, payload: &[u8]) {
        let (Some(entry), Some(mut accepted)) = (self.flows.get_mut(&flow), self.stack.tcp(flow))
        else {
            return;
        };
        let sent = match &mut entry.path {
            Path::Tcp(TcpPath {
                socket: Some(upstream),
                ..
            }) if upstream.connected && upstream.writable => upstream.send(payload),
            Path::Tcp(_) | Path::Udp(_) | Path::Echo(_) | Path::Pass(_) => Ok(0),
        };
        match sent {
            Ok(sent) => {
                accepted.take_in(payload, sent);
                entry.record.add_bytes_up(count(sent));
                self.turns.note_moved(now, &mut entry.load, sent);
                self.enqueue(flow);
            }
            Err(error) => {
                accepted.take_in(payload, 0);
                if let Some(upstream) = self.upstream(flow) {
                    upstream.take_failure(error);
                }
                self.enqueue(flow);
            }
        }
    }

    fn finish_dial(&mut self, now: Instant, flow: FlowId) {
        let Some(entry) = self.flows.get_mut(&flow) else {
            return;
        };
        let Path::Tcp(TcpPath {
            hop_limit,
            report,
            socket: Some(upstream),
            ..
        }) = &mut entry.path
        else {
            return;
        };
        if *hop_limit != USUAL_HOP_LIMIT {
            *report = reported::take(&upstream.stream);
        }
        // Where nothing but good was told there is nothing to ask for.
        let error = if upstream.failed || !upstream.stands {
            upstream.stream.take_error()
        } else {
            Ok(None)
        };
        let outcome = match error {
            Ok(None) if upstream.stands => Ok(()),
            Ok(Some(error)) if is_of_a_connection(&error) => {
                upstream.reset = Some(error);
                Ok(())
            }
            Ok(Some(error)) | Err(error) => Err(error),
            Ok(None) => match upstream.stream.peer_addr() {
                // The report may be there before the error is.
                Err(error) if error.kind() == io::ErrorKind::NotConnected => match report {
                    Some(_) => Err(io::ErrorKind::HostUnreachable.into()),
                    None => return,
                },
                Err(error) => Err(error),
                Ok(_) => Ok(()),
            },
        };
        if outcome.is_ok() && *hop_limit != USUAL_HOP_LIMIT {
            reported::listen_no_more(&upstream.stream);
        }
        upstream.connected = outcome.is_ok();
        upstream.writable = outcome.is_ok();
        self.note_dialed(flow, outcome.map_err(NotDialed::from));
        self.drive(now, flow);
    }

    pub(super) fn accept_tcp(&mut self, now: Instant, flow: FlowId) {
        if self.stack.tcp_accept(now, flow) {
            // The server may have spoken before the program hears that the connection stands.
            self.enqueue(flow);
        } else {
            self.reset_upstream(flow);
            self.end(flow, "given up by program");
        }
    }

    /// Makes the upstream connection end with RST instead of FIN when its socket is dropped.
    pub(super) fn reset_upstream(&mut self, flow: FlowId) {
        if let Some(upstream) = self.upstream(flow)
            && let Err(error) = SockRef::from(&upstream.stream).set_linger(Some(Duration::ZERO))
        {
            tracing::debug!(%error, "an upstream socket could not be told to reset");
        }
    }

    pub(super) fn release_tcp(&mut self, path: TcpPath) {
        if let Some(upstream) = path.socket {
            self.sources.try_remove(upstream.source);
            self.closing.add(upstream.stream);
        }
    }

    fn upstream(&mut self, flow: FlowId) -> Option<&mut Upstream> {
        match &mut self.flows.get_mut(&flow)?.path {
            Path::Tcp(path) => path.socket.as_mut(),
            Path::Udp(_) | Path::Echo(_) | Path::Pass(_) => None,
        }
    }
}

impl Upstream {
    /// Sends as much as goes without waiting.
    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.stream.write(bytes) {
                Ok(sent) => {
                    self.writable = sent == bytes.len();
                    return Ok(sent);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.writable = false;
                    return Ok(0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Nothing more can be sent. What the server said before it closed waits to be read, and the program is told that first, as
    /// its own kernel would have.
    fn take_failure(&mut self, error: io::Error) {
        self.writable = false;
        self.readable = true;
        self.reset.get_or_insert(error);
    }
}

fn connect(target: SocketAddr, hop_limit: u8, bypass: &Bypass) -> io::Result<TcpStream> {
    let socket = open_stream(target)?;
    bypass.apply(&socket)?;
    socket.set_tcp_nodelay(true)?;
    if hop_limit != USUAL_HOP_LIMIT {
        match target {
            SocketAddr::V4(_) => socket.set_ttl_v4(hop_limit.into())?,
            SocketAddr::V6(_) => socket.set_unicast_hops_v6(hop_limit.into())?,
        }
        // Who traces a route asks for the routers' names. Others are spared the system calls.
        error_queue::enable(&socket)?;
    }
    begin_connect(&socket, target)?;
    Ok(TcpStream::from_std(socket.into()))
}

/// Program to upstream; says how many bytes.
fn pump_up(
    flow: &mut tidegate_netstack::TcpFlow<'_>,
    upstream: &mut Upstream,
    turn: usize,
) -> (Pumped, usize) {
    let mut moved = 0;
    while upstream.writable {
        // All at once: many small sends would wake the server for each.
        let mut pieces = [IoSlice::new(&[]); MOST_PIECES];
        let (mut used, mut wanted) = (0, 0);
        for (slot, bytes) in pieces.iter_mut().zip(flow.readable_pieces()) {
            *slot = IoSlice::new(bytes);
            used += 1;
            wanted += bytes.len();
        }
        if wanted == 0 {
            break;
        }
        if moved >= turn {
            return (Pumped::More, moved);
        }
        match upstream.stream.write_vectored(&pieces[..used]) {
            Ok(sent) => {
                flow.consume(sent);
                moved += sent;
                upstream.writable = sent == wanted;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => upstream.writable = false,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if upstream.read_finished => return (Pumped::Broken(error), moved),
            Err(error) => upstream.take_failure(error),
        }
    }
    if flow.read_finished() && !upstream.write_finished {
        upstream.write_finished = true;
        if let Err(error) = upstream.stream.shutdown(Shutdown::Write)
            && error.kind() != io::ErrorKind::NotConnected
        {
            return (Pumped::Broken(error), moved);
        }
    }
    (Pumped::Idle, moved)
}

/// Upstream to program; says how many bytes.
fn pump_down(
    flow: &mut tidegate_netstack::TcpFlow<'_>,
    upstream: &mut Upstream,
    turn: usize,
) -> (Pumped, usize) {
    let mut moved = 0;
    while upstream.readable && !upstream.read_finished {
        let room = flow.writable();
        if room.is_empty() {
            break;
        }
        if moved >= turn {
            return (Pumped::More, moved);
        }
        let wanted = room.len().min(turn - moved);
        match upstream.stream.read(&mut room[..wanted]) {
            Ok(0) => {
                if let Some(reset) = upstream.reset.take() {
                    return (Pumped::Broken(reset), moved);
                }
                upstream.read_finished = true;
                flow.finish();
            }
            Ok(received) => {
                flow.commit(received);
                moved += received;
                // A short read has emptied the socket of bytes; what comes later is a new event (epoll(7)).
                upstream.readable = received == wanted || upstream.ending || upstream.urgent;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                upstream.readable = false;
                upstream.urgent = false;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (Pumped::Broken(error), moved),
        }
    }
    (Pumped::Idle, moved)
}

/// Whether a connection that stood has ended so: one that is being made is refused instead (`tcp_reset`).
fn is_of_a_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
    )
}
