//! Has live flows judged again when the time has come, or the network changed, that some rule asks for.
//!
//! The thread sleeps until the policy's next change; it hears of the network only while a rule asks for it. So with no such rule
//! it never wakes.

use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use tidegate_platform::monitor::NetworkMonitor;
use tidegate_platform::suspend::SuspendWatch;
use tidegate_policy::{Moment, NetworkNeeds};

use crate::shared::Shared;

/// Changes of a network come in bursts.
const SETTLE: Duration = Duration::from_millis(100);
const NEWS: Token = Token(0);
/// The clock was set, or the machine woke.
const CLOCK: Token = Token(1);
/// Another policy, or the end.
const CHANGED: Token = Token(2);

struct Watch {
    shared: Arc<Shared>,
    poll: Poll,
    clock: SuspendWatch,
    /// Listens to what rules ask for.
    monitor: Option<(NetworkNeeds, NetworkMonitor)>,
}

/// Watches on a thread of its own until the end is asked for.
///
/// # Errors
/// The system gives no events or no thread.
pub fn start(shared: &Arc<Shared>) -> io::Result<()> {
    let poll = Poll::new()?;
    let clock = SuspendWatch::open()?;
    if let Some(wakes) = clock.as_fd() {
        let mut wakes = SourceFd(&wakes.as_raw_fd());
        poll.registry()
            .register(&mut wakes, CLOCK, Interest::READABLE)?;
    }
    let waker = Waker::new(poll.registry(), CHANGED)?;
    let mut watch = Watch {
        shared: Arc::clone(shared),
        poll,
        clock,
        monitor: None,
    };
    shared.on_change(move || {
        if let Err(error) = waker.wake() {
            tracing::warn!(%error, "the watch over time and network is not woken");
        }
    });
    thread::Builder::new()
        .name("context".to_owned())
        .spawn(move || {
            if let Err(error) = watch.run() {
                tracing::error!(%error, "time and network are no longer watched: rules with `when` stay as they are");
            }
        })?;
    Ok(())
}

impl Watch {
    fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(4);
        loop {
            let active = self.shared.policy.load_full();
            if self.listen(active.policy.network_needs())? {
                // What changed before we listened.
                self.shared.look_around();
                continue;
            }
            let next = active.policy.next_change(&active.context);
            match self.poll.poll(&mut events, next.map(left_until)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                Ok(()) | Err(_) => {}
            }
            if self.shared.lifecycle.is_stopping() {
                return Ok(());
            }
            self.hear(&events)?;
            self.shared.look_around();
        }
    }

    /// Takes what was told, at the end of its burst.
    fn hear(&mut self, events: &Events) -> io::Result<()> {
        if events.iter().any(|event| event.token() == CLOCK) {
            self.clock.slept()?;
        }
        if let Some((_, monitor)) = &mut self.monitor
            && events.iter().any(|event| event.token() == NEWS)
        {
            thread::sleep(SETTLE);
            monitor.drain()?;
        }
        Ok(())
    }

    /// Listens to the network as far as these needs go; true if it was not so before.
    fn listen(&mut self, needs: NetworkNeeds) -> io::Result<bool> {
        let known = self.monitor.as_ref().map(|(known, _)| *known);
        if known == needs.any.then_some(needs) {
            return Ok(false);
        }
        let registry = self.poll.registry();
        if let Some((_, old)) = self.monitor.take() {
            registry.deregister(&mut SourceFd(&old.as_raw_fd()))?;
        }
        if !needs.any {
            return Ok(false);
        }
        let monitor = if needs.gateway {
            NetworkMonitor::with_neighbours()?
        } else {
            NetworkMonitor::open()?
        };
        let descriptor = monitor.as_raw_fd();
        registry.register(&mut SourceFd(&descriptor), NEWS, Interest::READABLE)?;
        self.monitor = Some((needs, monitor));
        Ok(true)
    }
}

/// How long it is until then; nothing if that is past.
fn left_until(moment: Moment) -> Duration {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let seconds = u64::try_from(moment.0).unwrap_or(0);
    Duration::from_secs(seconds).saturating_sub(since.unwrap_or_default())
}
