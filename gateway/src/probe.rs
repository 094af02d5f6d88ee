//! The start probe: datagrams of our own that must come back to us through the device.
//!
//! Rules and routes may all be in place and packets still not arrive: another firewall drops what leaves by the device, or
//! a rule that we do not know takes it elsewhere. So after installing, an ordinary socket sends datagrams with a secret in
//! them, and a worker must see them. They go no further.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tidegate_platform::random;
use tidegate_routing::plan::Family;

/// How long a datagram may take to cross the device.
const PATIENCE: Duration = Duration::from_secs(2);
/// Pause between two datagrams: the first may be lost while the rules settle.
const PAUSE: Duration = Duration::from_millis(100);
/// The discard service (RFC 863): should a probe ever leave the host, nobody answers.
const PORT: u16 = 9;
/// The IPv4 dummy address (RFC 7600), which no host has.
const TARGET_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 8);
/// An address of the IPv6 discard prefix (RFC 6666).
const TARGET_V6: Ipv6Addr = Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 1);
const SECRET: usize = 16;

/// What the sender and the workers know of the probe.
#[derive(Debug, Default)]
pub struct Probe {
    /// Empty: no probe is under way.
    secret: Vec<u8>,
    seen: Mutex<Vec<Family>>,
    arrived: Condvar,
}

/// The device does not bring us what programs send.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// Nothing arrived.
    #[error(
        "the {} probe did not cross the device within {} s{}: \
        another firewall or routing rule of this host keeps programs' packets from it",
        name(*family), PATIENCE.as_secs(), because(refusal.as_ref())
    )]
    Lost {
        /// Address family of the probe.
        family: Family,
        /// What the kernel said to the sender, where it said anything.
        #[source]
        refusal: Option<io::Error>,
    },
    /// The probe could not be made.
    #[error("cannot make the start probe: {0}")]
    Socket(#[source] io::Error),
}

fn name(family: Family) -> &'static str {
    match family {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    }
}

fn because(refusal: Option<&io::Error>) -> String {
    refusal
        .map(|error| format!(" (sending it: {error})"))
        .unwrap_or_default()
}

impl Probe {
    /// A probe with a secret of its own.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn new() -> io::Result<Self> {
        let mut secret = Vec::with_capacity(SECRET);
        while secret.len() < SECRET {
            secret.extend(random::seed()?.to_ne_bytes());
        }
        Ok(Self {
            secret,
            ..Self::default()
        })
    }

    /// Whether this datagram is ours; if so the sender is told.
    pub fn takes(&self, payload: &[u8]) -> bool {
        if self.secret.is_empty() {
            return false;
        }
        let Some((family, secret)) = payload.split_last() else {
            return false;
        };
        let family = match family {
            4 => Family::V4,
            6 => Family::V6,
            _ => return false,
        };
        if secret != self.secret {
            return false;
        }
        self.seen().push(family);
        self.arrived.notify_all();
        true
    }

    /// Sends datagrams of this family until a worker has seen one.
    ///
    /// # Errors
    /// [`ProbeError`], after two seconds.
    pub fn cross(&self, family: Family) -> Result<(), ProbeError> {
        let (any, target, tag): (IpAddr, IpAddr, u8) = match family {
            Family::V4 => (Ipv4Addr::UNSPECIFIED.into(), TARGET_V4.into(), 4),
            Family::V6 => (Ipv6Addr::UNSPECIFIED.into(), TARGET_V6.into(), 6),
        };
        let socket = UdpSocket::bind(SocketAddr::new(any, 0)).map_err(ProbeError::Socket)?;
        let datagram = [self.secret.as_slice(), &[tag]].concat();
        let deadline = Instant::now() + PATIENCE;
        let mut refusal = None;
        while Instant::now() < deadline {
            if let Err(error) = socket.send_to(&datagram, SocketAddr::new(target, PORT)) {
                refusal = Some(error);
            }
            let waited = self
                .arrived
                .wait_timeout_while(self.seen(), PAUSE, |seen| !seen.contains(&family));
            let (_seen, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            if !timeout.timed_out() {
                return Ok(());
            }
        }
        Err(ProbeError::Lost { family, refusal })
    }

    fn seen(&self) -> MutexGuard<'_, Vec<Family>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_own_secret_is_taken() {
        let probe = Probe::new().unwrap();
        let own = [probe.secret.as_slice(), &[4]].concat();
        assert!(probe.takes(&own));
        assert!(!Probe::new().unwrap().takes(&own));
        assert!(!Probe::default().takes(&[4]), "no probe is under way");
        assert!(!probe.takes(&[]));
    }

    #[test]
    fn a_probe_that_a_worker_has_seen_has_crossed() {
        let probe = Probe::new().unwrap();
        assert!(probe.takes(&[probe.secret.as_slice(), &[4]].concat()));
        assert!(probe.seen().contains(&Family::V4));
        assert!(!probe.seen().contains(&Family::V6));
    }
}
