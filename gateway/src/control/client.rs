//! The commands' end of the control socket.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::LONGEST_LINE;
use super::protocol::{Message, Refused, Reply, Request};

/// How long the daemon may take to answer, except while flows are followed.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection to the daemon.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
    line: Vec<u8>,
}

/// Why the daemon could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("no tidegate is running ({}: {source}): start it with `tidegate run`", path.display())]
    NotRunning {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file system keeps us out.
    #[error(
        "you may not control tidegate ({}: {source}): become root, or have root add you to the group `tidegate`",
        path.display()
    )]
    Forbidden {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The daemon said no.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The connection broke.
    #[error("the connection to tidegate broke: {0}: see its log, then try again")]
    Broken(#[source] io::Error),
    /// The daemon did not answer.
    #[error("tidegate did not answer within {} seconds: see its log", PATIENCE.as_secs())]
    Silent,
    /// The daemon says what this program does not understand.
    #[error(
        "tidegate answered what this program does not understand ({0}): use the `tidegate` that the daemon was started from"
    )]
    Strange(String),
}

impl ClientError {
    /// The daemon gave a reply that is none to what was asked.
    pub fn strange(reply: &Reply) -> Self {
        Self::Strange(format!("{reply:?}"))
    }
}

impl Client {
    /// Connects to the socket at `path`.
    ///
    /// # Errors
    /// Nobody listens there, or we may not connect.
    pub fn connect(path: &Path) -> Result<Self, ClientError> {
        let stream = UnixStream::connect(path).map_err(|source| {
            let path = path.to_owned();
            if source.kind() == io::ErrorKind::PermissionDenied {
                ClientError::Forbidden { path, source }
            } else {
                ClientError::NotRunning { path, source }
            }
        })?;
        stream
            .set_read_timeout(Some(PATIENCE))
            .map_err(ClientError::Broken)?;
        stream
            .set_write_timeout(Some(PATIENCE))
            .map_err(ClientError::Broken)?;
        Ok(Self {
            stream: BufReader::new(stream),
            line: Vec::new(),
        })
    }

    /// Sends a request; its replies come from [`next_reply`](Self::next_reply).
    ///
    /// # Errors
    /// The connection broke.
    pub fn send(&mut self, request: Request) -> Result<(), ClientError> {
        let mut line = serde_json::to_vec(&Message::from(request))
            .map_err(|error| ClientError::Strange(error.to_string()))?;
        line.push(b'\n');
        match self.stream.get_mut().write_all(&line) {
            Ok(()) => Ok(()),
            // A daemon that refuses us at the door says why and hangs up: its reply is still to be read.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            Err(error) => Err(ClientError::Broken(error)),
        }
    }

    /// From now on the daemon may be silent for as long as it likes.
    ///
    /// # Errors
    /// The connection broke.
    pub fn wait_forever(&mut self) -> Result<(), ClientError> {
        self.stream
            .get_ref()
            .set_read_timeout(None)
            .map_err(ClientError::Broken)
    }

    /// The next reply; none when the daemon hung up.
    ///
    /// # Errors
    /// The daemon refused, or did not answer in time, or the connection broke.
    pub fn next_reply(&mut self) -> Result<Option<Reply>, ClientError> {
        self.line.clear();
        let most = u64::try_from(LONGEST_LINE).unwrap_or(u64::MAX);
        match (&mut self.stream)
            .take(most)
            .read_until(b'\n', &mut self.line)
        {
            Ok(0) => return Ok(None),
            Ok(_) if self.line.ends_with(b"\n") => {}
            Ok(_) => return Err(ClientError::Strange("a line without an end".to_owned())),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(ClientError::Silent);
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
            Err(error) => return Err(ClientError::Broken(error)),
        }
        match serde_json::from_slice(&self.line) {
            Ok(Reply::Refused(refused)) => Err(ClientError::Refused(refused)),
            Ok(reply) => Ok(Some(reply)),
            Err(error) => Err(ClientError::Strange(error.to_string())),
        }
    }

    /// Sends a request that has one reply, and gives it.
    ///
    /// # Errors
    /// As [`send`](Self::send) and [`next_reply`](Self::next_reply); also if the daemon hung up.
    pub fn ask(&mut self, request: Request) -> Result<Reply, ClientError> {
        self.send(request)?;
        let hung_up = || ClientError::Broken(io::ErrorKind::UnexpectedEof.into());
        self.next_reply()?.ok_or_else(hung_up)
    }
}
