//! A name server that knows the names a test gives it (RFC 1035, the part that stub resolvers use).

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;

use anyhow::{Context, Result};

use super::listener::Listener;
use super::udp::{Answerer, sockets};
use crate::namespace::Namespace;
use crate::network::address;

const PORT: u16 = 53;
const HEADER: usize = 12;
const NO_SUCH_NAME: u8 = 3;
const TYPE_A: u16 = 1;
const TYPE_AAAA: u16 = 28;

/// Answers A and AAAA questions on [`address::DNS_V4`] and [`address::DNS_V6`], by UDP and TCP.
///
/// Every machine of the lab asks it: its `resolv.conf` says so.
#[derive(Debug)]
pub struct Dns {
    udp: Answerer,
    tcp: Listener,
}

impl Dns {
    /// Starts on the lab's server with these names and addresses; a name may come more than once.
    pub fn start(machine: &Namespace, names: &[(&str, &str)]) -> Result<Self> {
        let parse = |(name, address): &(&str, &str)| {
            let address: IpAddr = address
                .parse()
                .with_context(|| format!("`{address}` is no address"))?;
            Ok((name.to_ascii_lowercase(), address))
        };
        let zone: Arc<[(String, IpAddr)]> =
            names.iter().map(parse).collect::<Result<Vec<_>>>()?.into();
        let addresses = sockets(&[address::DNS_V4, address::DNS_V6], PORT)?;
        let by_udp = Arc::clone(&zone);
        let udp = Answerer::start(machine, &addresses, move |query| answer(query, &by_udp))?;
        let tcp = Listener::start(machine, PORT, move |stream, _| serve(stream, &zone))?;
        Ok(Self { udp, tcp })
    }

    /// Who asked, in order, by UDP and then by TCP.
    pub fn peers(&self) -> Vec<SocketAddr> {
        [self.udp.peers(), self.tcp.peers()].concat()
    }
}

fn serve(mut stream: TcpStream, zone: &[(String, IpAddr)]) -> io::Result<()> {
    let mut length = [0; 2];
    while stream.read_exact(&mut length).is_ok() {
        let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut query)?;
        let Some(answer) = answer(&query, zone) else {
            return Ok(());
        };
        let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
        stream.write_all(&[&length.to_be_bytes()[..], &answer].concat())?;
    }
    Ok(())
}

/// The answer to one question; `None` for what is no query.
fn answer(query: &[u8], zone: &[(String, IpAddr)]) -> Option<Vec<u8>> {
    let (name, end) = name(query, HEADER)?;
    let question = query.get(HEADER..end.checked_add(4)?)?;
    let kind = u16::from_be_bytes(query.get(end..end + 2)?.try_into().ok()?);
    let known: Vec<_> = zone.iter().filter(|(known, _)| *known == name).collect();
    let code = if known.is_empty() { NO_SUCH_NAME } else { 0 };
    let mut records = Vec::new();
    let mut count: u16 = 0;
    for (_, address) in known {
        let data = match (address, kind) {
            (IpAddr::V4(v4), TYPE_A) => v4.octets().to_vec(),
            (IpAddr::V6(v6), TYPE_AAAA) => v6.octets().to_vec(),
            _ => continue,
        };
        // The name by reference to the question, type, class IN, 60 s, length.
        records.extend_from_slice(&[0xc0, 12]);
        records.extend_from_slice(&kind.to_be_bytes());
        records.extend_from_slice(&[0, 1, 0, 0, 0, 60]);
        records.extend_from_slice(&u16::try_from(data.len()).ok()?.to_be_bytes());
        records.extend_from_slice(&data);
        count += 1;
    }
    // An authoritative answer, recursion available; recursion desired as asked.
    let recursion_desired = query.get(2)? & 1;
    let mut answer = query.get(..2)?.to_vec();
    answer.extend_from_slice(&[0x84 | recursion_desired, 0x80 | code, 0, 1]);
    answer.extend_from_slice(&count.to_be_bytes());
    answer.extend_from_slice(&[0, 0, 0, 0]);
    answer.extend_from_slice(question);
    answer.extend_from_slice(&records);
    Some(answer)
}

/// The name at this place, in lower case without the last dot, and where it ends.
fn name(message: &[u8], mut at: usize) -> Option<(String, usize)> {
    let mut labels = Vec::new();
    loop {
        let length = usize::from(*message.get(at)?);
        at += 1;
        match length {
            0 => return Some((labels.join("."), at)),
            1..=63 => labels.push(
                std::str::from_utf8(message.get(at..at + length)?)
                    .ok()?
                    .to_ascii_lowercase(),
            ),
            // Compression does not occur in a question.
            _ => return None,
        }
        at += length;
    }
}
