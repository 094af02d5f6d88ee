//! One attempt to reach a service from inside `tidegate exec`: what came of it, and how soon.
//!
//! The time is taken by the program that tries, so that a busy machine's slow start of programs does not count.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::session::Session;

/// The program that tries, unless a test names a copy of it.
const PYTHON: &str = "/usr/bin/python3";

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// `connected`, `echoed`, `garbled`, `timeout`, or the error's name (`ECONNREFUSED`, ...).
    pub word: String,
    /// How long it took.
    pub took: Duration,
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

impl Session<'_> {
    /// Connects a TCP socket.
    pub fn connect(&self, address: &str, port: u16, patience: Duration) -> Result<Outcome> {
        self.connect_by(Path::new(PYTHON), address, port, patience)
    }

    /// The same by another copy of the interpreter.
    pub fn connect_by(
        &self,
        python: &Path,
        address: &str,
        port: u16,
        patience: Duration,
    ) -> Result<Outcome> {
        let seconds = patience.as_secs_f64();
        let program = format!(
            "{PROLOGUE}
def attempt():
    socket.create_connection(('{address}', {port}), {seconds})
    return 'connected'
tell(attempt)"
        );
        self.outcome(python, &program)
    }

    /// Sends a datagram of this length to an echo service from a connected socket.
    pub fn echo(
        &self,
        address: &str,
        port: u16,
        length: usize,
        patience: Duration,
    ) -> Result<Outcome> {
        self.echo_by(Path::new(PYTHON), address, port, length, patience)
    }

    /// The same by another copy of the interpreter.
    pub fn echo_by(
        &self,
        python: &Path,
        address: &str,
        port: u16,
        length: usize,
        patience: Duration,
    ) -> Result<Outcome> {
        let family = if address.contains(':') {
            "AF_INET6"
        } else {
            "AF_INET"
        };
        let seconds = patience.as_secs_f64();
        let program = format!(
            "{PROLOGUE}
client = socket.socket(socket.{family}, socket.SOCK_DGRAM)
client.settimeout({seconds})
sent = bytes(index * 7 % 251 for index in range({length}))
def attempt():
    client.connect(('{address}', {port}))
    client.send(sent)
    return 'echoed' if client.recv(65535) == sent else 'garbled'
tell(attempt)"
        );
        self.outcome(python, &program)
    }

    fn outcome(&self, python: &Path, program: &str) -> Result<Outcome> {
        let said = self.program(&python.display().to_string(), program)?;
        let (word, took) = said
            .split_once(' ')
            .with_context(|| format!("no outcome: {said}"))?;
        Ok(Outcome {
            word: word.to_owned(),
            took: Duration::from_secs_f64(took.parse()?),
        })
    }
}
