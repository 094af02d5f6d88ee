//! Lists from servers: over TLS only, bounded in bytes and in time, and past our own capture.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tidegate_platform::bypass::Bypass;
use tidegate_policy::list::ListDefinition;
use ureq::Agent;
use ureq::config::Config;
use ureq::http::header::{ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, RustlsConnector, Transport,
};

use super::folder::Draft;
use super::resolve;
use super::text::{Note, TextError, Texts};

const MOST_REDIRECTS: u32 = 5;
const PIECE: usize = 64 * 1024;
/// How long one address of a server may take to answer.
const CONNECT: Duration = Duration::from_secs(10);
const OK: u16 = 200;
const NOT_MODIFIED: u16 = 304;

/// Why a list could not be fetched.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("cannot be fetched: {0}")]
    Server(Box<ureq::Error>),
    #[error("the server answers {0}")]
    Status(u16),
    #[error("the server stopped before the end: {0}")]
    Body(io::Error),
    #[error(transparent)]
    Text(#[from] TextError),
    #[error("cannot be kept in the state folder: {0}")]
    Keep(io::Error),
}

impl From<ureq::Error> for FetchError {
    fn from(error: ureq::Error) -> Self {
        Self::Server(Box::new(error))
    }
}

/// Whether there was something new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fetched {
    New,
    Unchanged,
}

/// Fetches lists.
#[derive(Debug)]
pub(super) struct Fetcher {
    bypass: Bypass,
}

impl Fetcher {
    pub(super) fn new(bypass: Bypass) -> Self {
        Self { bypass }
    }

    /// Fetches a list's text, and keeps it if it is new and good.
    pub(super) fn fetch(
        &self,
        texts: &Texts,
        list: &ListDefinition,
        url: &str,
    ) -> Result<Fetched, FetchError> {
        let before = texts.note(list);
        let agent = self.agent(list.most_time);
        let mut request = agent.get(url);
        if let Some(etag) = before.as_ref().and_then(|note| note.etag.as_ref()) {
            request = request.header(IF_NONE_MATCH, etag);
        }
        if let Some(modified) = before.as_ref().and_then(|note| note.last_modified.as_ref()) {
            request = request.header(IF_MODIFIED_SINCE, modified);
        }
        let mut response = request.call()?;
        match response.status().as_u16() {
            OK => {}
            NOT_MODIFIED if before.is_some() => return Ok(Fetched::Unchanged),
            other => return Err(FetchError::Status(other)),
        }
        let header = |name| {
            let value = response.headers().get(name)?;
            Some(value.to_str().ok()?.to_owned())
        };
        let (etag, last_modified) = (header(ETAG), header(LAST_MODIFIED));
        let mut draft = texts.draft().map_err(FetchError::Keep)?;
        let body = response.body_mut().as_reader();
        copy(body.take(list.most_bytes.saturating_add(1)), &mut draft)?;
        let note = texts.take(list, draft, |note| {
            note.etag = etag;
            note.last_modified = last_modified;
        })?;
        let sha256 = |note: &Note| note.sha256.clone();
        let same = before.as_ref().map(sha256) == Some(sha256(&note));
        Ok(if same {
            Fetched::Unchanged
        } else {
            Fetched::New
        })
    }

    /// The time is that of the whole transfer. No proxy, no cookies, nothing but TLS, redirects included.
    fn agent(&self, most_time: Duration) -> Agent {
        let config = Agent::config_builder()
            .https_only(true)
            .max_redirects(MOST_REDIRECTS)
            .http_status_as_error(false)
            .proxy(None)
            .timeout_global(Some(most_time))
            .user_agent(concat!("tidegate/", env!("CARGO_PKG_VERSION")))
            .tls_config(TlsConfig::builder().root_certs(roots()).build())
            .build();
        let connector = ().chain(PastCapture(self.bypass.clone()));
        let connector = connector.chain(RustlsConnector::default());
        Agent::with_parts(config, connector, resolve::PastCapture(self.bypass.clone()))
    }
}

fn copy(mut body: impl Read, draft: &mut Draft) -> Result<(), FetchError> {
    let mut piece = vec![0; PIECE];
    loop {
        match body.read(&mut piece).map_err(FetchError::Body)? {
            0 => return Ok(()),
            length => draft
                .file
                .write_all(&piece[..length])
                .map_err(FetchError::Keep)?,
        }
    }
}

/// The authorities that this system trusts (`SSL_CERT_FILE` names others); where it has none, Mozilla's.
fn roots() -> RootCerts {
    let native = rustls_native_certs::load_native_certs();
    let certificates = native.certs.iter();
    let certificates: Vec<_> = certificates
        .map(|certificate| Certificate::from_der(certificate).to_owned())
        .collect();
    if certificates.is_empty() {
        return RootCerts::WebPki;
    }
    RootCerts::Specific(Arc::new(certificates))
}

/// Opens sockets that do not come back into our own device.
#[derive(Debug)]
struct PastCapture(Bypass);

impl Connector for PastCapture {
    type Out = Stream;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        _: Option<()>,
    ) -> Result<Option<Stream>, ureq::Error> {
        let mut failure = None;
        for address in &details.addrs {
            match self.open(*address, details.config) {
                Ok(stream) => return Ok(Some(stream)),
                Err(error) => failure = Some(error),
            }
        }
        Err(failure.map_or(ureq::Error::HostNotFound, ureq::Error::Io))
    }
}

impl PastCapture {
    fn open(&self, address: SocketAddr, config: &Config) -> io::Result<Stream> {
        let domain = Domain::for_address(address);
        let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
        self.0.apply(&socket)?;
        socket.connect_timeout(&address.into(), CONNECT)?;
        Ok(Stream {
            socket: socket.into(),
            buffers: LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size()),
        })
    }
}

/// A connection, as the client wants it.
struct Stream {
    socket: TcpStream,
    buffers: LazyBuffers,
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.socket.fmt(f)
    }
}

/// No limit is no time-out; a limit that is over is one.
fn limit(timeout: &NextTimeout) -> Result<Option<Duration>, ureq::Error> {
    if timeout.after.is_not_happening() {
        return Ok(None);
    }
    let left: Duration = *timeout.after;
    if left.is_zero() {
        return Err(ureq::Error::Timeout(timeout.reason));
    }
    Ok(Some(left))
}

fn failure(error: io::Error, timeout: &NextTimeout) -> ureq::Error {
    use io::ErrorKind::{TimedOut, WouldBlock};
    if matches!(error.kind(), WouldBlock | TimedOut) {
        return ureq::Error::Timeout(timeout.reason);
    }
    ureq::Error::Io(error)
}

impl Transport for Stream {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.socket.set_write_timeout(limit(&timeout)?)?;
        let output = &self.buffers.output()[..amount];
        self.socket
            .write_all(output)
            .map_err(|error| failure(error, &timeout))
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.socket.set_read_timeout(limit(&timeout)?)?;
        let input = self.buffers.input_append_buf();
        let length = self
            .socket
            .read(input)
            .map_err(|error| failure(error, &timeout))?;
        self.buffers.input_appended(length);
        Ok(length > 0)
    }

    fn is_open(&mut self) -> bool {
        // Every list has an agent of its own: no connection is used twice.
        false
    }
}
