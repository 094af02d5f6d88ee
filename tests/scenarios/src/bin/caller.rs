//! `caller tcp ADDRESS PORT`, `caller udp ADDRESS PORT [OWN_PORT]`: sends the name it was started under, and is gone a moment
//! later.
//!
//! Tests run it under hundreds of names and ask the gateway who it was.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::unix::ffi::OsStrExt;

use anyhow::{Context, Result, bail};

fn main() -> Result<()> {
    let own = std::env::current_exe()?;
    let name = own.file_name().context("an executable without a name")?;
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (protocol, address, port, own_port) = match words.as_slice() {
        [protocol, address, port] => (protocol, address, port, 0),
        [protocol, address, port, own] => (protocol, address, port, own.parse()?),
        _ => bail!("usage: caller tcp|udp ADDRESS PORT [OWN_PORT]"),
    };
    let remote = SocketAddr::new(address.parse()?, port.parse()?);
    match protocol.as_str() {
        "tcp" => TcpStream::connect(remote)?.write_all(name.as_bytes())?,
        "udp" => {
            let any: IpAddr = match remote {
                SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
            };
            UdpSocket::bind((any, own_port))?.send_to(name.as_bytes(), remote)?;
        }
        other => bail!("`{other}` is neither tcp nor udp"),
    }
    Ok(())
}
