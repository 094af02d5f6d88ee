//! `quic serve CERTIFICATE PORT`: writes its certificate to that file and echoes every stream.
//!
//! `quic call CERTIFICATE ADDRESS PORT`: sends its input on one stream, prints what comes back, and says on its standard error
//! how large a datagram it found the path to take (RFC 8899).
#![expect(
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a program of tests talks to them"
)]

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use quinn::rustls::RootCertStore;
use quinn::{ClientConfig, Endpoint, Incoming, ServerConfig, VarInt};
use tokio::io::{copy, stdin, stdout};

const NAME: &str = "quic.test";
const DONE: VarInt = VarInt::from_u32(0);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["serve", certificate, port] => serve(certificate, port.parse()?).await,
        ["call", certificate, address, port] => {
            call(
                certificate,
                SocketAddr::new(address.parse()?, port.parse()?),
            )
            .await
        }
        _ => bail!("usage: quic serve CERTIFICATE PORT | quic call CERTIFICATE ADDRESS PORT"),
    }
}

async fn serve(certificate: &str, port: u16) -> Result<()> {
    let own = rcgen::generate_simple_self_signed([NAME.to_owned()])?;
    let key = quinn::rustls::pki_types::PrivatePkcs8KeyDer::from(own.signing_key.serialize_der());
    let config = ServerConfig::with_single_cert(vec![own.cert.der().clone()], key.into())?;
    let endpoint = Endpoint::server(config, (Ipv6Addr::UNSPECIFIED, port).into())?;
    fs::write(certificate, own.cert.der())
        .with_context(|| format!("cannot write {certificate}"))?;
    println!("serves");
    while let Some(incoming) = endpoint.accept().await {
        tokio::spawn(async {
            if let Err(error) = echo(incoming).await {
                eprintln!("{error:#}");
            }
        });
    }
    Ok(())
}

async fn echo(incoming: Incoming) -> Result<()> {
    let connection = incoming.await?;
    let (mut back, mut input) = connection.accept_bi().await?;
    copy(&mut input, &mut back).await?;
    back.finish()?;
    connection.closed().await;
    Ok(())
}

async fn call(certificate: &str, remote: SocketAddr) -> Result<()> {
    let mut trusted = RootCertStore::empty();
    let certificate =
        fs::read(certificate).with_context(|| format!("cannot read {certificate}"))?;
    trusted.add(certificate.into())?;
    let any: IpAddr = match remote {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let mut endpoint = Endpoint::client((any, 0).into())?;
    endpoint.set_default_client_config(ClientConfig::with_root_certificates(Arc::new(trusted))?);
    let connection = endpoint.connect(remote, NAME)?.await?;
    let (mut output, mut back) = connection.open_bi().await?;
    let send = async {
        copy(&mut stdin(), &mut output).await?;
        anyhow::Ok(output.finish()?)
    };
    let receive = async {
        copy(&mut back, &mut stdout()).await?;
        anyhow::Ok(())
    };
    tokio::try_join!(send, receive)?;
    let path = connection.stats().path;
    eprintln!("mtu {} lost {}", path.current_mtu, path.lost_packets);
    connection.close(DONE, b"");
    endpoint.wait_idle().await;
    Ok(())
}
