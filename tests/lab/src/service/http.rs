//! A web server for transfers of any size.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::Result;

use super::listener::Listener;
use super::pattern::{Pattern, sha256};
use crate::namespace::Namespace;

/// HTTP on one port.
///
/// | request | answer |
/// |---|---|
/// | `GET /bytes/N` | the first N bytes of the [`Pattern`] |
/// | `GET /drip` | a line every 50 ms until the client has enough |
/// | `GET /whoami` | the client's address, as the server sees it |
/// | `PUT` or `POST`, anywhere | length and SHA-256 of the body |
#[derive(Debug)]
pub struct Http(Listener);

impl Http {
    /// Listens on this port of the machine, in both families.
    pub fn start(machine: &Namespace, port: u16) -> Result<Self> {
        Ok(Self(Listener::start(machine, port, answer)?))
    }

    /// Who connected, in order.
    pub fn peers(&self) -> Vec<SocketAddr> {
        self.0.peers()
    }
}

/// One request, then the connection is closed.
fn answer(mut stream: TcpStream, peer: SocketAddr) -> io::Result<()> {
    let mut input = BufReader::new(stream.try_clone()?);
    let Request {
        method,
        path,
        length,
        waits,
    } = Request::read(&mut input)?;
    if waits {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    let bytes = path
        .strip_prefix("/bytes/")
        .and_then(|number| number.parse().ok());
    match (method.as_str(), path.as_str(), bytes) {
        ("GET", _, Some(bytes)) => {
            head(&mut stream, "200 OK", Some(bytes))?;
            io::copy(&mut Pattern::new(bytes), &mut stream).map(drop)
        }
        ("GET", "/drip", _) => drip(&mut stream),
        ("GET", "/whoami", _) => text(&mut stream, "200 OK", &format!("{peer}\n")),
        ("PUT" | "POST", _, _) => {
            let sum = sha256(input.take(length)).map_err(io::Error::other)?;
            text(&mut stream, "200 OK", &format!("{length} {sum}\n"))
        }
        _ => text(&mut stream, "404 Not Found", "no such thing\n"),
    }
}

fn drip(stream: &mut TcpStream) -> io::Result<()> {
    head(stream, "200 OK", None)?;
    loop {
        stream.write_all(b"drip\n")?;
        thread::sleep(Duration::from_millis(50));
    }
}

fn text(stream: &mut TcpStream, status: &str, body: &str) -> io::Result<()> {
    head(stream, status, u64::try_from(body.len()).ok())?;
    stream.write_all(body.as_bytes())
}

fn head(stream: &mut TcpStream, status: &str, length: Option<u64>) -> io::Result<()> {
    let length = length
        .map(|length| format!("Content-Length: {length}\r\n"))
        .unwrap_or_default();
    stream.write_all(format!("HTTP/1.1 {status}\r\nConnection: close\r\n{length}\r\n").as_bytes())
}

struct Request {
    method: String,
    path: String,
    length: u64,
    /// The client sends the body once it is told to go on (RFC 9110 section 10.1.1).
    waits: bool,
}

impl Request {
    fn read(input: &mut impl BufRead) -> io::Result<Self> {
        let mut line = String::new();
        input.read_line(&mut line)?;
        let mut words = line.split_whitespace().map(str::to_owned);
        let (Some(method), Some(path)) = (words.next(), words.next()) else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        let mut request = Self {
            method,
            path,
            length: 0,
            waits: false,
        };
        loop {
            let mut line = String::new();
            input.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(':') else {
                return Ok(request);
            };
            if name.eq_ignore_ascii_case("content-length") {
                request.length = value.trim().parse().map_err(io::Error::other)?;
            }
            request.waits |= name.eq_ignore_ascii_case("expect");
        }
    }
}
