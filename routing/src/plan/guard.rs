//! When to look whether the host plan still stands, and when to give in to a program that keeps undoing it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Watches over the host plan: says when to compare and restore it. Pure; the clock is an argument.
///
/// The contract:
/// - [`handle_change`](Self::handle_change) whenever rules, routes, links or addresses changed (or such news were lost).
///   Our own steps count too; the check they cause finds nothing to do.
/// - [`handle_timeout`](Self::handle_timeout) when the deadline of [`poll_timeout`](Self::poll_timeout) has passed.
/// - After either, [`poll_action`](Self::poll_action) until it gives `None`. At [`GuardAction::Check`] read the facts, plan,
///   diff, apply what differs, and call [`handle_checked`](Self::handle_checked) with what came out: no further check is
///   asked for before. The other actions need no answer.
/// - Times never go backwards.
///
/// News are gathered until they pause ([`GuardLimits::quiet`]) but never longer than [`GuardLimits::patience`]. Checks that
/// find the plan whole are not limited further. Of those that restored it, at most [`GuardLimits::restorations`] fall into
/// any one [`GuardLimits::window`]; then the next check waits until the oldest has left the window, and that is told once.
#[derive(Debug)]
pub struct Guard {
    limits: GuardLimits,
    state: State,
    /// When each restoration within the window was done, oldest first.
    restored: VecDeque<Instant>,
    /// The plan is being fought over, and that has been told.
    contested: bool,
    told: VecDeque<GuardAction>,
}

/// How patient a [`Guard`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuardLimits {
    /// A check waits until there has been no news for so long.
    pub quiet: Duration,
    /// A check comes so long after the first news, quiet or not.
    pub patience: Duration,
    /// Restorations allowed within `window`.
    pub restorations: usize,
    /// The window that restorations are counted in.
    pub window: Duration,
}

impl Default for GuardLimits {
    /// Restored well within a second, ten times a minute.
    fn default() -> Self {
        Self {
            quiet: Duration::from_millis(50),
            patience: Duration::from_millis(300),
            restorations: 10,
            window: Duration::from_secs(60),
        }
    }
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuardAction {
    /// Compare the host with the plan, apply what differs, report with [`Guard::handle_checked`].
    Check,
    /// Tell: another program keeps undoing the plan. Until `until` it stays as that program left it.
    Contested {
        /// When the next restoration may come.
        until: Instant,
    },
    /// Tell: the plan stands again, and a whole window passed with restorations to spare.
    Settled,
}

/// What a check came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checked {
    /// Everything was as wanted.
    Whole,
    /// The host itself has changed, its way out or its interfaces, and the plan with it: nobody had undone anything.
    Followed,
    /// Something differed and was restored (or that was tried).
    Restored,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing to do.
    Idle,
    /// News came; the check waits for a pause.
    Gathering { first: Instant, latest: Instant },
    /// The check is due.
    Due,
    /// The check was asked for; news since then?
    Checking { news: Option<Instant> },
}

impl Guard {
    /// A guard with nothing to do yet.
    #[must_use]
    pub fn new(limits: GuardLimits) -> Self {
        Self {
            limits,
            state: State::Idle,
            restored: VecDeque::new(),
            contested: false,
            told: VecDeque::new(),
        }
    }

    /// The host may have changed.
    pub fn handle_change(&mut self, now: Instant) {
        self.state = match self.state {
            State::Idle => State::Gathering {
                first: now,
                latest: now,
            },
            State::Gathering { first, .. } => State::Gathering { first, latest: now },
            State::Due => State::Due,
            State::Checking { .. } => State::Checking { news: Some(now) },
        };
        self.handle_timeout(now);
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.forget_old_restorations(now);
        if self.contested
            && self.restored.len() < self.limits.restorations.max(1)
            && self.state == State::Idle
        {
            self.contested = false;
            self.told.push_back(GuardAction::Settled);
        }
        let State::Gathering { first, latest } = self.state else {
            return;
        };
        if now < self.pause(first, latest) {
            return;
        }
        match self.exhausted_until() {
            None => self.state = State::Due,
            Some(until) if !self.contested => {
                self.contested = true;
                self.told.push_back(GuardAction::Contested { until });
            }
            Some(_) => {}
        }
    }

    /// A check that [`GuardAction::Check`] asked for is done.
    pub fn handle_checked(&mut self, now: Instant, checked: Checked) {
        let State::Checking { news } = self.state else {
            return;
        };
        if checked == Checked::Restored {
            self.restored.push_back(now);
        }
        self.state = news.map_or(State::Idle, |news| State::Gathering {
            first: news,
            latest: news,
        });
        self.handle_timeout(now);
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) next, and why.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        match self.state {
            State::Gathering { first, latest } => {
                let pause = self.pause(first, latest);
                Some(match self.exhausted_until() {
                    Some(until) if self.contested && until > pause => {
                        (until, "another program fights over the host plan")
                    }
                    _ => (pause, "the host changed"),
                })
            }
            State::Idle if self.contested => self
                .exhausted_until()
                .map(|until| (until, "the fight over the host plan may be over")),
            State::Idle | State::Due | State::Checking { .. } => None,
        }
    }

    /// What to do now.
    pub fn poll_action(&mut self) -> Option<GuardAction> {
        if let Some(told) = self.told.pop_front() {
            return Some(told);
        }
        (self.state == State::Due).then(|| {
            self.state = State::Checking { news: None };
            GuardAction::Check
        })
    }

    /// When the news are held to be complete.
    fn pause(&self, first: Instant, latest: Instant) -> Instant {
        (latest + self.limits.quiet).min(first + self.limits.patience)
    }

    /// Until when no restoration is allowed, if none is.
    fn exhausted_until(&self) -> Option<Instant> {
        let allowed = self.limits.restorations.max(1);
        let oldest_of_allowed = self.restored.len().checked_sub(allowed)?;
        self.restored
            .get(oldest_of_allowed)
            .map(|restored| *restored + self.limits.window)
    }

    fn forget_old_restorations(&mut self, now: Instant) {
        while self
            .restored
            .front()
            .is_some_and(|restored| *restored + self.limits.window <= now)
        {
            self.restored.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    /// Drives the guard to its next deadline, and says when that was.
    fn wait(guard: &mut Guard) -> Instant {
        let (deadline, reason) = guard.poll_timeout().expect("a deadline");
        assert!(!reason.is_empty());
        guard.handle_timeout(deadline);
        deadline
    }

    /// One change and its restoration.
    fn restore_once(guard: &mut Guard, now: Instant) -> Instant {
        guard.handle_change(now);
        let due = wait(guard);
        assert_eq!(guard.poll_action(), Some(GuardAction::Check));
        guard.handle_checked(due, Checked::Restored);
        due
    }

    #[test]
    fn an_idle_guard_never_wakes() {
        let mut guard = Guard::new(GuardLimits::default());
        assert_eq!(guard.poll_timeout(), None);
        assert_eq!(guard.poll_action(), None);
    }

    #[test]
    fn a_burst_of_news_is_one_check_soon_after_its_end() {
        let start = Instant::now();
        let mut guard = Guard::new(GuardLimits::default());
        for step in 0..5 {
            guard.handle_change(start + 20 * MILLI * step);
            assert_eq!(guard.poll_action(), None);
        }
        assert_eq!(wait(&mut guard), start + 130 * MILLI);
        assert_eq!(guard.poll_action(), Some(GuardAction::Check));
        assert_eq!(guard.poll_action(), None);
        guard.handle_checked(start + 131 * MILLI, Checked::Whole);
        assert_eq!(guard.poll_timeout(), None);
    }

    #[test]
    fn endless_news_cannot_put_the_check_off() {
        let start = Instant::now();
        let mut guard = Guard::new(GuardLimits::default());
        let mut now = start;
        while guard.poll_action().is_none() {
            now += 10 * MILLI;
            guard.handle_change(now);
            assert!(
                now < start + Duration::from_secs(1),
                "restored within a second"
            );
        }
        assert_eq!(now, start + 310 * MILLI);
    }

    #[test]
    fn news_during_a_check_cause_another_one() {
        let start = Instant::now();
        let mut guard = Guard::new(GuardLimits::default());
        guard.handle_change(start);
        let due = wait(&mut guard);
        assert_eq!(guard.poll_action(), Some(GuardAction::Check));
        guard.handle_change(due + MILLI);
        assert_eq!(guard.poll_action(), None, "one check at a time");
        guard.handle_checked(due + 2 * MILLI, Checked::Restored);
        assert_eq!(wait(&mut guard), due + 51 * MILLI);
        assert_eq!(guard.poll_action(), Some(GuardAction::Check));
    }

    #[test]
    fn a_fight_is_limited_and_told_once_and_then_taken_up_again() {
        let start = Instant::now();
        let mut guard = Guard::new(GuardLimits::default());
        let mut now = start;
        let mut first = None;
        for _ in 0..10 {
            now = restore_once(&mut guard, now);
            first.get_or_insert(now);
        }
        let until = first.expect("ten restorations") + Duration::from_secs(60);

        guard.handle_change(now);
        wait(&mut guard);
        assert_eq!(guard.poll_action(), Some(GuardAction::Contested { until }));
        assert_eq!(guard.poll_action(), None);
        guard.handle_change(now + 200 * MILLI);
        assert_eq!(guard.poll_action(), None, "told once, and not checked");
        assert_eq!(wait(&mut guard), until);
        assert_eq!(
            guard.poll_action(),
            Some(GuardAction::Check),
            "the change is not forgotten"
        );
        guard.handle_checked(until, Checked::Whole);
        assert_eq!(guard.poll_action(), Some(GuardAction::Settled));
        assert_eq!(guard.poll_timeout(), None);
    }

    #[test]
    fn checks_that_find_nothing_are_not_counted_as_a_fight() {
        let mut guard = Guard::new(GuardLimits::default());
        let mut now = Instant::now();
        for _ in 0..100 {
            guard.handle_change(now);
            now = wait(&mut guard);
            assert_eq!(guard.poll_action(), Some(GuardAction::Check));
            guard.handle_checked(now, Checked::Whole);
        }
    }
}
