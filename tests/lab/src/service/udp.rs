//! UDP services: one socket and one thread for each address, so that answers leave from the address asked.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::namespace::Namespace;

/// How soon a stopped service notices.
const PAUSE: Duration = Duration::from_millis(50);
const LARGEST_DATAGRAM: usize = 65_535;

/// Answers each datagram by a function of it.
#[derive(Debug)]
pub(super) struct Answerer {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    peers: Arc<Mutex<Vec<SocketAddr>>>,
}

impl Answerer {
    pub(super) fn start<A>(machine: &Namespace, addresses: &[SocketAddr], answer: A) -> Result<Self>
    where
        A: Fn(&[u8]) -> Option<Vec<u8>> + Send + Sync + Clone + 'static,
    {
        let mut service = Self {
            stop: Arc::default(),
            threads: Vec::new(),
            peers: Arc::default(),
        };
        for address in addresses {
            let socket = machine.inside(|| UdpSocket::bind(address))?;
            let socket = socket.with_context(|| format!("cannot bind UDP {address}"))?;
            socket.set_read_timeout(Some(PAUSE))?;
            let (stop, peers, answer) = (
                Arc::clone(&service.stop),
                Arc::clone(&service.peers),
                answer.clone(),
            );
            service
                .threads
                .push(machine.thread(move || serve(&socket, &stop, &peers, &answer))?);
        }
        Ok(service)
    }

    pub(super) fn peers(&self) -> Vec<SocketAddr> {
        self.peers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

fn serve(
    socket: &UdpSocket,
    stop: &AtomicBool,
    peers: &Mutex<Vec<SocketAddr>>,
    answer: &impl Fn(&[u8]) -> Option<Vec<u8>>,
) {
    let mut datagram = vec![0; LARGEST_DATAGRAM];
    while !stop.load(Ordering::Relaxed) {
        match socket.recv_from(&mut datagram) {
            Ok((length, peer)) => {
                peers
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(peer);
                if let Some(answer) = answer(&datagram[..length]) {
                    // An answer that cannot be sent is a lost datagram.
                    drop(socket.send_to(&answer, peer));
                }
            }
            // A time-out, or an ICMP error that an earlier answer met.
            Err(error) if error.kind() != io::ErrorKind::InvalidInput => {}
            Err(_) => return,
        }
    }
}

impl Drop for Answerer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            drop(thread.join());
        }
    }
}

/// Sends every datagram back.
#[derive(Debug)]
pub struct UdpEcho(Answerer);

impl UdpEcho {
    /// Listens on this port of these addresses of the machine.
    pub fn start(machine: &Namespace, addresses: &[&str], port: u16) -> Result<Self> {
        let addresses = sockets(addresses, port)?;
        Ok(Self(Answerer::start(machine, &addresses, |datagram| {
            Some(datagram.to_vec())
        })?))
    }

    /// Who sent a datagram, in order, once for each.
    pub fn peers(&self) -> Vec<SocketAddr> {
        self.0.peers()
    }
}

pub(super) fn sockets(addresses: &[&str], port: u16) -> Result<Vec<SocketAddr>> {
    let parse = |address: &&str| {
        let ip: IpAddr = address
            .parse()
            .with_context(|| format!("`{address}` is no address"))?;
        Ok(SocketAddr::new(ip, port))
    };
    addresses.iter().map(parse).collect()
}
