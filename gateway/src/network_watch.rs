//! Tells the data plane what of the host's network matters to flows: addresses that went away, and that the machine slept.
//!
//! What new flows need (rules, routes) is `run::plan_keeper`'s. Here it is about those that exist: the kernel tells nobody that
//! a connection's own address is gone, and nothing at all comes from a router that has forgotten a connection during a sleep.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use tidegate_platform::link;
use tidegate_platform::monitor::NetworkMonitor;
use tidegate_platform::suspend::SuspendWatch;

use crate::worker::{Handle, Message};

/// An address that is back by then was only put on anew, as DHCP clients do.
const SETTLE: Duration = Duration::from_millis(200);
/// What a sleep shorter than this has undone, time-outs find.
const SLEEP: Duration = Duration::from_secs(5);
const NEWS: Token = Token(0);
const WAKES: Token = Token(1);

/// What was last seen of the host's network.
struct Seen {
    monitor: NetworkMonitor,
    suspend: SuspendWatch,
    addresses: BTreeSet<IpAddr>,
}

/// Watches on a thread of its own as long as the process lives, and tells these workers.
///
/// # Errors
/// The system shows no news, no addresses or no clock.
pub fn start(workers: Vec<Handle>) -> io::Result<()> {
    let mut seen = Seen {
        monitor: NetworkMonitor::open()?,
        suspend: SuspendWatch::open()?,
        addresses: present()?,
    };
    let mut poll = Poll::new()?;
    let registry = poll.registry();
    let news = seen.monitor.as_raw_fd();
    registry.register(&mut SourceFd(&news), NEWS, Interest::READABLE)?;
    if let Some(wakes) = seen.suspend.as_fd() {
        registry.register(&mut SourceFd(&wakes.as_raw_fd()), WAKES, Interest::READABLE)?;
    }
    thread::Builder::new()
        .name("network".to_owned())
        .spawn(move || {
            let mut events = Events::with_capacity(4);
            loop {
                match poll.poll(&mut events, None) {
                    Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                        return tracing::error!(%error, "the network is no longer watched");
                    }
                    Ok(()) | Err(_) => {}
                }
                thread::sleep(SETTLE);
                for message in seen.look() {
                    for worker in &workers {
                        worker.tell(message.clone());
                    }
                }
            }
        })?;
    Ok(())
}

impl Seen {
    /// What has changed since the last look.
    fn look(&mut self) -> Vec<Message> {
        // What one of them does not tell keeps nothing of the others back.
        if let Err(error) = self.monitor.drain() {
            tracing::warn!(%error, "changes of the network are not seen");
        }
        let slept = self.suspend.slept().unwrap_or_else(|error| {
            tracing::warn!(%error, "whether the machine slept is not seen");
            Duration::ZERO
        });
        let gone = self.addresses_gone().unwrap_or_else(|error| {
            tracing::warn!(%error, "addresses that went away are not seen");
            Vec::new()
        });
        messages(slept, gone)
    }

    fn addresses_gone(&mut self) -> io::Result<Vec<IpAddr>> {
        let now = present()?;
        let gone = self.addresses.difference(&now).copied().collect();
        self.addresses = now;
        Ok(gone)
    }
}

fn messages(slept: Duration, gone: Vec<IpAddr>) -> Vec<Message> {
    let slept = (slept >= SLEEP).then_some(Message::Slept);
    let gone = (!gone.is_empty()).then(|| Message::AddressesGone(Arc::from(gone)));
    gone.into_iter().chain(slept).collect()
}

fn present() -> io::Result<BTreeSet<IpAddr>> {
    Ok(link::addresses()?.into_keys().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleep_is_told_whether_or_not_addresses_went() {
        let gone = vec![IpAddr::from([192, 0, 2, 1])];
        for (slept, gone, told) in [
            (SLEEP, Vec::new(), "[Slept]"),
            (Duration::ZERO, gone.clone(), "[AddressesGone([192.0.2.1])]"),
            (SLEEP, gone, "[AddressesGone([192.0.2.1]), Slept]"),
            (Duration::ZERO, Vec::new(), "[]"),
        ] {
            assert_eq!(format!("{:?}", messages(slept, gone)), told);
        }
    }
}
