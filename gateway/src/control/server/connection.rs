//! One client of the control socket: lines in and out, within bounds of size and time.

use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, BufWriter};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

use crate::control::protocol::{Refused, RefusedWhy, Reply};

/// Longest request in bytes, with its newline.
const LONGEST_REQUEST: u64 = 64 << 10;

/// How long a client may keep us waiting for its next request.
const IDLE_LIMIT: Duration = Duration::from_secs(60);

/// How long a client may keep us waiting while it reads.
const WRITE_LIMIT: Duration = Duration::from_secs(10);

/// A connected client.
#[derive(Debug)]
pub(super) struct Connection {
    reader: BufReader<OwnedReadHalf>,
    writer: BufWriter<OwnedWriteHalf>,
    line: Vec<u8>,
}

/// Why a client is let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hangup(pub(super) &'static str);

/// What came from the client.
#[derive(Debug)]
pub(super) enum Heard<'c> {
    /// A line, without its newline.
    Line(&'c [u8]),
    /// The client is done.
    End,
}

impl Connection {
    pub(super) fn new(stream: UnixStream) -> Self {
        let (reader, writer) = stream.into_split();
        Self {
            reader: BufReader::new(reader),
            writer: BufWriter::new(writer),
            line: Vec::new(),
        }
    }

    pub(super) async fn read_line(&mut self) -> Result<Heard<'_>, Hangup> {
        self.line.clear();
        let mut bounded = (&mut self.reader).take(LONGEST_REQUEST);
        let read = timeout(IDLE_LIMIT, bounded.read_until(b'\n', &mut self.line)).await;
        match read {
            Err(_) => Err(Hangup("idle for too long")),
            Ok(Err(_)) => Err(Hangup("read failed")),
            Ok(Ok(0)) => Ok(Heard::End),
            Ok(Ok(_)) => match self.line.strip_suffix(b"\n") {
                Some(line) => Ok(Heard::Line(line)),
                None => Err(Hangup("request too long or cut off")),
            },
        }
    }

    /// Resolves when the client hangs up, or says something although it is being answered.
    pub(super) async fn hung_up(&mut self) -> Hangup {
        match self.reader.fill_buf().await {
            Ok([]) | Err(_) => Hangup("hung up"),
            Ok(_) => Hangup("spoke out of turn"),
        }
    }

    /// Sends a reply now.
    pub(super) async fn send(&mut self, reply: &Reply) -> Result<(), Hangup> {
        self.queue(reply).await?;
        self.flush().await
    }

    pub(super) async fn send_refusal(&mut self, refused: Refused) -> Result<(), Hangup> {
        self.send(&Reply::Refused(refused)).await
    }

    pub(super) async fn send_failure(&mut self, message: String) -> Result<(), Hangup> {
        self.send_refusal(Refused::new(RefusedWhy::Failed, message))
            .await
    }

    /// Sends a reply with the next ones, or at the next [`flush`](Self::flush).
    pub(super) async fn queue(&mut self, reply: &Reply) -> Result<(), Hangup> {
        let mut line = serde_json::to_vec(reply).map_err(|_| Hangup("unwritable reply"))?;
        line.push(b'\n');
        within_limit(self.writer.write_all(&line)).await
    }

    pub(super) async fn flush(&mut self) -> Result<(), Hangup> {
        within_limit(self.writer.flush()).await
    }
}

async fn within_limit(write: impl Future<Output = std::io::Result<()>>) -> Result<(), Hangup> {
    match timeout(WRITE_LIMIT, write).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(Hangup("write failed")),
        Err(_) => Err(Hangup("does not read")),
    }
}
