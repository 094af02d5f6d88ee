//! One attempt to reach a service, captured or on a bare machine: what came of it, and how soon.
//!
//! The time is taken by the program that tries, so that a busy machine's slow start of programs does not count.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::namespace::Namespace;
use crate::process::Finished;
use crate::session::Session;

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// `connected`, `echoed`, `garbled`, `timeout`, or the error's name (`ECONNREFUSED`, ...).
    pub word: String,
    /// How long it took.
    pub took: Duration,
}

impl Namespace {
    /// Connects a TCP socket of root's.
    pub fn connect(&self, address: &str, port: u16, patience: Duration) -> Result<Outcome> {
        Outcome::of(self.python(&connects(address, port, patience))?)
    }

    /// Sends a datagram of this length to an echo service from a connected socket of root's.
    pub fn echo(
        &self,
        address: &str,
        port: u16,
        length: usize,
        patience: Duration,
    ) -> Result<Outcome> {
        Outcome::of(self.python(&echoes(address, port, length, patience))?)
    }
}

impl Session<'_> {
    /// Connects a TCP socket.
    pub fn connect(&self, address: &str, port: u16, patience: Duration) -> Result<Outcome> {
        Outcome::of(self.python(&connects(address, port, patience))?)
    }

    /// Sends a datagram of this length to an echo service from a connected socket.
    pub fn echo(
        &self,
        address: &str,
        port: u16,
        length: usize,
        patience: Duration,
    ) -> Result<Outcome> {
        Outcome::of(self.python(&echoes(address, port, length, patience))?)
    }
}

impl Outcome {
    /// Reads what [`PROLOGUE`]'s `tell` printed.
    fn of(ended: Finished) -> Result<Self> {
        let said = ended.success()?;
        let (word, took) = said
            .split_once(' ')
            .with_context(|| format!("no outcome: {said}"))?;
        Ok(Self {
            word: word.to_owned(),
            took: Duration::from_secs_f64(took.parse()?),
        })
    }
}

/// Prints one word and the time that `attempt` took in seconds.
const PROLOGUE: &str = "
import errno, socket, time
def tell(attempt):
    before = time.monotonic()
    try:
        word = attempt()
    except TimeoutError as error:
        word = errno.errorcode.get(error.errno, 'timeout')
    except OSError as error:
        word = errno.errorcode[error.errno]
    print(word, time.monotonic() - before)
";

fn connects(address: &str, port: u16, patience: Duration) -> String {
    let seconds = patience.as_secs_f64();
    format!(
        "{PROLOGUE}
def attempt():
    socket.create_connection(('{address}', {port}), {seconds})
    return 'connected'
tell(attempt)"
    )
}

fn echoes(address: &str, port: u16, length: usize, patience: Duration) -> String {
    let family = if address.contains(':') {
        "AF_INET6"
    } else {
        "AF_INET"
    };
    let seconds = patience.as_secs_f64();
    format!(
        "{PROLOGUE}
client = socket.socket(socket.{family}, socket.SOCK_DGRAM)
client.settimeout({seconds})
sent = bytes(index * 7 % 251 for index in range({length}))
def attempt():
    client.connect(('{address}', {port}))
    client.send(sent)
    return 'echoed' if client.recv(65535) == sent else 'garbled'
tell(attempt)"
    )
}
