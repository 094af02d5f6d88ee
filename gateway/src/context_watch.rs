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
use tidegate_policy::{Context, Moment, NetworkNeeds, Policy};

use crate::shared::Shared;

/// Changes of a network come in bursts.
const SETTLE: Duration = Duration::from_millis(100);
/// When a network that could not be read is looked at again; twice as long each time, up to [`SELDOM`].
const SOON: Duration = Duration::from_secs(5);
/// How often we look around where nobody tells us anything.
const SELDOM: Duration = Duration::from_secs(60);
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
    /// In how long a network that cannot be read is looked at again.
    again: Duration,
}

/// Watches on a thread of its own until the end is asked for.
///
/// # Errors
/// The system gives no events or no thread.
pub fn start(shared: &Arc<Shared>) -> io::Result<()> {
    let mut watch = Watch::open(shared)?;
    let waker = Waker::new(watch.poll.registry(), CHANGED)?;
    shared.on_change(move || {
        if let Err(error) = waker.wake() {
            tracing::warn!(%error, "the watch over time and network is not woken");
        }
    });
    thread::Builder::new()
        .name("context".to_owned())
        .spawn(move || {
            // Without us a rule that has expired would hold for ever. At an end that was asked for, its reason stays.
            let _end = watch.shared.end_with("the watch over time");
            while let Err(error) = watch.run() {
                tracing::error!(%error, "time and network are not watched: they are looked at once a minute");
                watch.look_untold();
            }
        })?;
    Ok(())
}

impl Watch {
    fn open(shared: &Arc<Shared>) -> io::Result<Self> {
        let poll = Poll::new()?;
        let clock = SuspendWatch::open()?;
        if let Some(wakes) = clock.as_fd() {
            let mut wakes = SourceFd(&wakes.as_raw_fd());
            poll.registry()
                .register(&mut wakes, CLOCK, Interest::READABLE)?;
        }
        Ok(Self {
            shared: Arc::clone(shared),
            poll,
            clock,
            monitor: None,
            again: SOON,
        })
    }

    fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(4);
        loop {
            let active = self.shared.policy.load_full();
            if self.listen(active.policy.network_needs())? {
                // What changed before we listened.
                self.shared.look_around();
                continue;
            }
            let wait = self.wait(&active.policy, &active.context);
            match self.poll.poll(&mut events, wait) {
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

    /// How long nothing need be looked at if nothing is told.
    fn wait(&mut self, policy: &Policy, context: &Context) -> Option<Duration> {
        let next = policy.next_change(context).map(left_until);
        if !policy.network_needs().any || context.network.is_some() {
            self.again = SOON;
            return next;
        }
        let again = self.again;
        self.again = SELDOM.min(again * 2);
        Some(next.map_or(again, |next| next.min(again)))
    }

    /// Looks around when the next change is due, or after a while. What failed is to be opened again.
    fn look_untold(&mut self) {
        // It leaves the poll as it closes.
        self.monitor = None;
        let active = self.shared.policy.load_full();
        let next = active.policy.next_change(&active.context).map(left_until);
        thread::sleep(next.map_or(SELDOM, |next| next.min(SELDOM)));
        self.shared.look_around();
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

#[cfg(test)]
mod tests {
    use tidegate_policy::Network;

    use super::*;

    use crate::shared::Ending;

    /// How long the watch waits, time after time, with the network known or not.
    fn waits(rules: &str, known: &[bool]) -> Vec<Option<u64>> {
        let shared = Shared::under(rules);
        let mut watch = Watch::open(&shared).unwrap();
        let wait = |is_known: &bool| {
            let active = shared.policy.load();
            let context = Context {
                network: is_known.then(Network::default),
                ..active.context.clone()
            };
            watch
                .wait(&active.policy, &context)
                .map(|wait| wait.as_secs())
        };
        known.iter().map(wait).collect()
    }

    #[test]
    fn a_network_that_could_not_be_read_is_looked_at_again_soon() {
        let rules = "[[rule]]\nwhen = { network = { ssid = \"home\" } }\naction = \"block\"\n";
        assert_eq!(
            waits(rules, &[true, false, false, true, false]),
            [None, Some(5), Some(10), None, Some(5)]
        );
        assert_eq!(waits(rules, &[false; 9])[8], Some(60));
        assert_eq!(waits("", &[false]), [None], "no rule asks for it");
    }

    #[test]
    fn the_end_that_was_asked_for_keeps_its_reason() {
        let shared = Shared::under("");
        start(&shared).unwrap();
        shared.request_shutdown("the test is over");
        // Its thread holds the state until it has ended.
        while Arc::strong_count(&shared) > 1 {
            thread::sleep(Duration::from_millis(1));
        }
        let ending = Ending::Requested("the test is over".to_owned());
        assert_eq!(shared.lifecycle.wait(), ending);
    }
}
