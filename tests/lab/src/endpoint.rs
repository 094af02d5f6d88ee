//! An address and a port as records, URLs and sockets write them.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result};

/// Reads one of the [addresses](crate::address) into a socket address; its text is what flow records and URLs hold.
pub fn endpoint(address: &str, port: u16) -> Result<SocketAddr> {
    let address: IpAddr = address
        .parse()
        .with_context(|| format!("`{address}` is no address"))?;
    Ok(SocketAddr::new(address, port))
}
