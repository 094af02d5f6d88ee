//! The programs that make load: this one again, under another name, as a server or behind a contender's gateway.
//!
//! A client's part is a file of its own; [`server`] serves them all, each on a port of its own, and [`control`] asks it what
//! has arrived.

mod ask;
mod awake;
mod bulk;
mod connect;
mod control;
mod datagrams;
mod hold;
mod pump;
mod server;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use socket2::{Domain, Socket, Type};
use tidegate_lab::{Background, Lab, address};

use crate::measure::Direction;

pub(crate) use ask::Protocol;
pub(crate) use awake::Awake;
pub(crate) use connect::Closer;
pub(crate) use control::{Control, numbers};
pub(crate) use datagrams::Handed;

/// Name of the copy that a lab runs, which is also the name of its processes.
pub(crate) const NAME: &str = "bench-load";

/// Takes a connection and closes it. The server closes first, so that the client keeps no port in TIME-WAIT.
const CLOSE_PORT: u16 = 5_301;
/// Sends back what comes, and closes when nothing more does.
const ECHO_PORT: u16 = 5_302;
/// Carries as much as it can.
const BULK_PORT: u16 = 5_303;
/// Sends datagrams, or counts those that come: one a call, and in runs.
const DATAGRAMS_PORT: u16 = 5_305;
const RUNS_PORT: u16 = 5_306;

/// The same as [`ECHO_PORT`], many times: a client that closes first keeps a port for each connection to one of them.
const END_PORTS: Range<u16> = 5_310..5_342;
/// New connections that may wait: more than clients ever make at a time.
const BACKLOG: i32 = 4_096;

/// Flows that are opened at a time: so that no queue of new connections overflows.
const OPENERS: u32 = 16;

/// Plays a part if the program was called by [`NAME`].
pub(crate) fn play(
    program: &str,
    mut arguments: impl Iterator<Item = String>,
) -> Option<Result<()>> {
    if Path::new(program).file_name()? != NAME {
        return None;
    }
    let part = arguments.next();
    Some(match part.as_deref() {
        Some("serve") => server::serve(),
        Some("bulk") => bulk::bulk(arguments),
        Some("connect") => connect::connect(arguments),
        Some("ask") => ask::ask(arguments),
        Some("datagrams") => datagrams::datagrams(arguments),
        Some("hold") => hold::hold(arguments),
        Some("spin") => awake::spin(),
        other => Err(anyhow!("there is no part {other:?}")),
    })
}

/// Where the copy lies in a lab, and its server, running.
#[derive(Debug)]
pub(crate) struct Load {
    program: PathBuf,
    control: Control,
    _server: Background,
}

impl Load {
    pub(crate) fn start(lab: &Lab) -> Result<Self> {
        let own = std::env::current_exe().context("cannot find my own executable")?;
        let program = lab.program(own, NAME)?;
        let server = lab.server.background(&format!(
            "ulimit -n $(ulimit -Hn); exec {} serve",
            program.display()
        ))?;
        server.wait_for_output("ready")?;
        Ok(Self {
            program,
            control: Control::connect(lab)?,
            _server: server,
        })
    }

    /// What the server knows of the streams of [`bulk`](Self::bulk).
    pub(crate) fn control(&self) -> &Control {
        &self.control
    }

    /// Keeps the processors awake until it is dropped.
    pub(crate) fn keep_awake(&self) -> Result<Awake> {
        Awake::keep(&self.program)
    }

    /// The command line of a client that loads these streams, and prints what each has received when the window begins
    /// and when it ends.
    pub(crate) fn bulk(&self, streams: u32, direction: Direction, duration: Duration) -> String {
        let to = at(BULK_PORT);
        self.line(&format!(
            "bulk {to} {direction} {streams} {}",
            duration.as_secs_f64()
        ))
    }

    /// The command line of a client that sends or receives datagrams, and prints how many at the beginning and the end of the
    /// window, and at last.
    pub(crate) fn datagrams(
        &self,
        handed: Handed,
        direction: Direction,
        duration: Duration,
    ) -> String {
        let to = at(match handed {
            Handed::Singly => DATAGRAMS_PORT,
            Handed::InRuns => RUNS_PORT,
        });
        self.line(&format!(
            "datagrams {to} {handed} {direction} {}",
            duration.as_secs_f64()
        ))
    }

    /// The command line of a client: prints connections, the seconds that they took, and those of the slowest.
    pub(crate) fn connect(&self, closer: Closer, parallel: u32, duration: Duration) -> String {
        let to = address::SERVER_V4;
        self.line(&format!(
            "connect {to} {closer} {parallel} {}",
            duration.as_secs_f64()
        ))
    }

    /// The command line of a client: prints the median and the 99th percentile of answers' times, in microseconds.
    pub(crate) fn ask(&self, protocol: Protocol, duration: Duration) -> String {
        self.line(&format!(
            "ask {} {protocol} {}",
            at(ECHO_PORT),
            duration.as_secs_f64()
        ))
    }

    /// The command line of a client that prints `ready` once it holds `flows` that have each moved `bytes` both ways.
    pub(crate) fn hold(&self, flows: u32, bytes: u32) -> String {
        self.line(&format!("hold {} {flows} {bytes}", at(ECHO_PORT)))
    }

    fn line(&self, arguments: &str) -> String {
        format!("{} {arguments}", self.program.display())
    }
}

fn at(port: u16) -> String {
    format!("{}:{port}", address::SERVER_V4)
}

/// The next argument of a part.
fn next<T: std::str::FromStr>(arguments: &mut impl Iterator<Item = String>) -> Result<T> {
    let text = arguments.next().context("an argument is missing")?;
    match text.parse() {
        Ok(value) => Ok(value),
        Err(_) => bail!("`{text}` is not what was expected"),
    }
}

/// The next argument, in seconds.
fn next_duration(arguments: &mut impl Iterator<Item = String>) -> Result<Duration> {
    let seconds: f64 = next(arguments)?;
    Duration::try_from_secs_f64(seconds).with_context(|| format!("`{seconds}` are no seconds"))
}

fn listen(port: u16) -> Result<TcpListener> {
    let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    let listen = || {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.bind(&any.into())?;
        socket.listen(BACKLOG)?;
        std::io::Result::Ok(socket.into())
    };
    listen().with_context(|| format!("cannot listen on port {port}"))
}

fn exchange(stream: &mut TcpStream, bytes: usize) -> Result<()> {
    let mut buffer = vec![0; bytes];
    stream.write_all(&buffer).context("cannot ask")?;
    stream.read_exact(&mut buffer).context("no answer")
}

fn in_parallel<T: Send + 'static>(
    threads: u32,
    function: impl Fn(u32) -> Result<T> + Clone + Send + 'static,
) -> Result<Vec<T>> {
    let threads: Vec<_> = (0..threads)
        .map(|number| {
            let function = function.clone();
            thread::spawn(move || function(number))
        })
        .collect();
    let join = |thread: thread::JoinHandle<Result<T>>| {
        thread.join().map_err(|_| anyhow!("a thread panicked"))?
    };
    threads.into_iter().map(join).collect()
}
