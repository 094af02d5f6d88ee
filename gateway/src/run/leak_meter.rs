//! The leak meter: what leaves the uplinks past the capture, found out by looking at the uplinks themselves.
//!
//! A tap on each uplink shows packets that lack our mark and that no rule lets out on purpose. The first packet of each flow
//! is traced to its program, at once: a program that connects and ends is there for a moment only. It becomes a record in
//! `flows` and an entry in `status`. What follows of the same flow only keeps it in memory, and a busy one is muted in the
//! kernel. Under a flood of many flows the thread pauses, and the kernel passes over what finds no room meanwhile.

use std::io;
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use tidegate_platform::apps::{AppFinder, Senders};
use tidegate_platform::link;
use tidegate_platform::uplink_tap::{Departure, UplinkTap};
use tidegate_routing::plan::{HostFacts, HostPlan, MARK, Rule, native_ways, uplink_devices};

use crate::config::Capture;
use crate::shared::Shared;
use examiner::Examiner;
use flows::{Flow, Flows, Muted, Muting};

mod examiner;
mod flows;

/// Packets taken from one tap before the next gets its turn.
const BATCH: usize = 64;
/// Packets of known flows in a hundredth of a second, beyond which the thread pauses.
const KNOWN_BEFORE_PAUSE: u32 = 64;
const KNOWN_PERIOD: Duration = Duration::from_millis(10);
/// How long. The kernel keeps what comes meanwhile, within bounds.
const PAUSE: Duration = Duration::from_millis(20);
/// New flows that are traced to their programs in a second; more are counted only.
const EXAMINED_PER_SECOND: u32 = 500;
const NEWS: Token = Token(0);

/// What the meter looks at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Targets {
    /// Names of the uplinks.
    pub(super) devices: Vec<String>,
    /// The rules by which packets leave natively on purpose.
    pub(super) native: Vec<Rule>,
}

impl Targets {
    /// The uplinks of the host, and what leaves by none of these plans.
    pub(super) fn of(facts: &HostFacts, plans: &[&HostPlan]) -> Self {
        // Wherever they stand, they let the same packets out.
        let same = |one: &Rule, other: &Rule| {
            (one.family, &one.selector) == (other.family, &other.selector)
        };
        let mut native: Vec<Rule> = Vec::new();
        for rule in plans.iter().flat_map(|plan| native_ways(plan)) {
            if !native.iter().any(|known| same(known, &rule)) {
                native.push(rule);
            }
        }
        Self {
            devices: uplink_devices(facts),
            native,
        }
    }
}

/// Tells the meter where to look.
#[derive(Debug)]
pub(super) struct LeakMeter {
    targets: Arc<Mutex<Targets>>,
    waker: Arc<Waker>,
}

impl LeakMeter {
    /// Starts a meter that looks nowhere yet, on a thread of its own, until the gateway ends.
    ///
    /// # Errors
    /// The system gives no thread or no descriptor.
    pub(super) fn start(
        shared: &Arc<Shared>,
        senders: Option<Arc<Senders>>,
        capture: &Capture,
    ) -> anyhow::Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), NEWS)?);
        let targets: Arc<Mutex<Targets>> = Arc::default();
        let meter = Meter {
            poll,
            targets: Arc::clone(&targets),
            taps: Vec::new(),
            to_examine: Budget::new(Duration::from_secs(1), EXAMINED_PER_SECOND),
            to_pass_over: Budget::new(KNOWN_PERIOD, KNOWN_BEFORE_PAUSE),
            examiner: Examiner::new(Arc::clone(shared), senders, capture)?,
            shared: Arc::clone(shared),
        };
        let on_change = Arc::clone(&waker);
        shared.on_change(move || wake(&on_change));
        let end = shared.end_with("the leak meter");
        thread::Builder::new()
            .name("leak-meter".to_owned())
            .spawn(move || {
                let _end = end;
                meter.run();
            })?;
        Ok(Self { targets, waker })
    }

    /// Looks there from now on. To be told whenever the host's network may have changed.
    pub(super) fn look_at(&self, targets: Targets) {
        *self.targets.lock().unwrap_or_else(PoisonError::into_inner) = targets;
        wake(&self.waker);
    }
}

fn wake(waker: &Waker) {
    if let Err(error) = waker.wake() {
        tracing::error!(%error, "the leak meter could not be woken");
    }
}

struct Meter {
    poll: Poll,
    targets: Arc<Mutex<Targets>>,
    taps: Vec<Tap>,
    to_examine: Budget,
    to_pass_over: Budget,
    examiner: Examiner,
    shared: Arc<Shared>,
}

/// A tap, what finds the sockets behind it, and the rules that it was told.
struct Tap {
    tap: UplinkTap,
    finder: AppFinder,
    native: Vec<Rule>,
    flows: Flows,
    muted: Muted,
}

impl Tap {
    /// Lets these rules explain what leaves. If the kernel does not take them, it goes by the old ones, and is to be told
    /// again.
    fn explain_by(&mut self, native: &[Rule]) -> io::Result<()> {
        if self.native == native {
            return Ok(());
        }
        match self.set_filter(native) {
            // Busy flows can be muted again; without them the old filter leaves more room for the new one.
            Err(error) if error.kind() == io::ErrorKind::OutOfMemory && self.muted.clear() => {
                self.set_filter(&self.native)?;
                self.set_filter(native)?;
            }
            result => result?,
        }
        self.native = native.to_vec();
        Ok(())
    }

    /// Looks away from a busy flow.
    fn mute(&mut self, now: Instant, departure: &Departure) -> Taken {
        match self.muted.mute(now, departure) {
            Muting::Full => return Taken::PassedOver,
            Muting::Before => return Taken::Muted,
            Muting::Now => {}
        }
        if let Err(error) = self.set_filter(&self.native) {
            tracing::debug!(%error, "a busy flow is not muted");
            self.muted.take_back();
            return Taken::PassedOver;
        }
        Taken::Muted
    }

    /// Instructs the kernel anew.
    fn set_filter(&self, native: &[Rule]) -> io::Result<()> {
        let rules: Vec<Rule> = self.muted.rules().chain(native).cloned().collect();
        self.tap.set_filter(MARK, &rules)
    }
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taken {
    /// Its flow is new, and was traced.
    Examined,
    /// Its flow is busy, and will not be seen for a while.
    Muted,
    /// Its flow was known, or there was no time to trace it.
    PassedOver,
}

/// What a round brought.
#[derive(Default)]
struct Round {
    /// A tap has more.
    unfinished: bool,
    /// So much of known flows that it may rest.
    flood: bool,
}

impl Meter {
    fn run(mut self) {
        let mut events = Events::with_capacity(8);
        let mut timeout = None;
        while !self.shared.lifecycle.is_stopping() {
            if let Err(error) = self.poll.poll(&mut events, timeout)
                && error.kind() != io::ErrorKind::Interrupted
            {
                tracing::error!(%error, "the leak meter cannot wait");
                return;
            }
            if events.iter().any(|event| event.token() == NEWS) {
                self.aim();
            }
            self.listen_again(Instant::now());
            let round = self.round();
            if round.flood {
                thread::sleep(PAUSE);
            }
            timeout = if round.unfinished {
                Some(Duration::ZERO)
            } else {
                let next = self
                    .taps
                    .iter()
                    .filter_map(|tap| tap.muted.next_expiry())
                    .min();
                next.map(|at| at.saturating_duration_since(Instant::now()))
            };
        }
    }

    /// Looks again at flows that were muted long enough.
    fn listen_again(&mut self, now: Instant) {
        for tap in &mut self.taps {
            if tap.muted.expire(now)
                && let Err(error) = tap.set_filter(&tap.native)
            {
                tracing::warn!(%error, "a tap keeps its filter");
            }
        }
    }

    /// Opens, closes and instructs taps, so that they are where the targets are.
    fn aim(&mut self) {
        let targets = self
            .targets
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        // A device of the same name may be another one by now.
        self.taps.retain(|tap| {
            let (name, index) = (tap.tap.device(), tap.tap.index());
            targets.devices.iter().any(|device| device == name)
                && link::index(name).is_ok_and(|now| now == index)
        });
        let mut unmeasured = Vec::new();
        for device in &targets.devices {
            if let Err(error) = self.aim_at(device, &targets.native) {
                tracing::warn!(device, %error, "what leaves here past the capture is not measured");
                unmeasured.push(format!("{device}: {error}"));
            }
        }
        self.shared.leaks.set_unmeasured(unmeasured);
    }

    fn aim_at(&mut self, device: &str, native: &[Rule]) -> anyhow::Result<()> {
        if let Some(tap) = self.taps.iter_mut().find(|tap| tap.tap.device() == device) {
            return Ok(tap.explain_by(native)?);
        }
        let tap = UplinkTap::open(device, MARK, native)?;
        // One token for all: whatever is ready, each tap is asked.
        self.poll.registry().register(
            &mut SourceFd(&tap.as_raw_fd()),
            Token(1),
            Interest::READABLE,
        )?;
        self.taps.push(Tap {
            finder: self.examiner.finder(tap.index())?,
            tap,
            native: native.to_vec(),
            flows: Flows::default(),
            muted: Muted::default(),
        });
        Ok(())
    }

    fn round(&mut self) -> Round {
        let mut round = Round::default();
        for at in 0..self.taps.len() {
            for taken in 0..=BATCH {
                if taken == BATCH {
                    round.unfinished = true;
                    break;
                }
                let Some(Tap { tap, .. }) = self.taps.get(at) else {
                    break;
                };
                match tap.next_departure() {
                    Ok(Some(departure)) => {
                        let taken = self.take(at, departure);
                        round.flood |=
                            taken == Taken::PassedOver && !self.to_pass_over.spend(Instant::now());
                    }
                    Ok(None) => break,
                    // A device that went down is told of once, and may come up again.
                    Err(error) => tracing::debug!(%error, device = tap.device(), "a tap is silent"),
                }
            }
            let missed = self.taps.get(at).map(|tap| tap.tap.take_missed());
            if let Some(Ok(missed)) = missed {
                self.shared.counters.count_unexamined(missed);
            }
        }
        round
    }

    fn take(&mut self, at: usize, departure: Departure) -> Taken {
        let Some(tap) = self.taps.get_mut(at) else {
            return Taken::PassedOver;
        };
        let now = Instant::now();
        match tap.flows.see(now, &departure) {
            Flow::New => {}
            Flow::Known => return Taken::PassedOver,
            Flow::Ended if self.to_examine.spend(now) => {
                self.examiner
                    .end_again(&tap.tap, &mut tap.finder, &departure);
                return Taken::Examined;
            }
            Flow::Ended => {
                self.shared.counters.count_unexamined(1);
                return Taken::PassedOver;
            }
            Flow::Busy => return tap.mute(now, &departure),
        }
        if !self.to_examine.spend(now) {
            self.shared.counters.count_unexamined(1);
            return Taken::PassedOver;
        }
        let fate = self.examiner.examine(&tap.tap, &mut tap.finder, &departure);
        tap.flows.remember(now, departure, fate);
        Taken::Examined
    }
}

/// So many of a thing in each period.
struct Budget {
    period: Duration,
    most: u32,
    since: Option<Instant>,
    left: u32,
}

impl Budget {
    fn new(period: Duration, most: u32) -> Self {
        Self {
            period,
            most,
            since: None,
            left: 0,
        }
    }

    /// Takes one; false if none is left in this period.
    fn spend(&mut self, now: Instant) -> bool {
        let over = |since| now.saturating_duration_since(since) >= self.period;
        if self.since.is_none_or(over) {
            (self.since, self.left) = (Some(now), self.most);
        }
        let Some(left) = self.left.checked_sub(1) else {
            return false;
        };
        self.left = left;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_the_budget_of_a_period_is_spent_in_it() {
        let begun = Instant::now();
        let mut budget = Budget::new(Duration::from_secs(1), 500);
        let spent = (0..10_000).filter(|_| budget.spend(begun)).count();
        assert_eq!(spent, 500);
        assert!(!budget.spend(begun + Duration::from_millis(999)));
        assert!(budget.spend(begun + Duration::from_secs(1)));
    }
}
