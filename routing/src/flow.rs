//! The life of one flow: who made it, may it pass, is the way open, until it ends.
//!
//! A [`Flow`] holds no packet and no socket. The worker tells it what became known (`handle_*`), asks what to do next
//! ([`Flow::poll_action`]), does it, and tells the outcome. So the order of the steps, the retries and the answer that a
//! program gets for each failure are decided here, in one place, without IO.

use std::fmt;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tidegate_netstack::Refusal;
use tidegate_policy::Verdict;

/// How often the owner of a socket is looked for before the flow is judged without one.
///
/// A process that passes its socket on, or is between `fork` and `exec`, is there a moment later.
pub const LOOK_UP_ATTEMPTS: u32 = 4;

/// Pause before the second look; it doubles with each further one.
pub const LOOK_UP_PAUSE: Duration = Duration::from_millis(2);

/// Where a flow stands; flow records carry it under these names, in kebab case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Its program is being looked up.
    #[default]
    LookingUp,
    /// The policy is being asked.
    Judging,
    /// The user is being asked.
    Asking,
    /// The upstream connection is being made.
    Dialing,
    /// Bytes flow.
    Open,
    /// One side has finished sending.
    HalfClosed,
    /// The policy or the network said no.
    Refused,
    /// Over: a record's last state. A [`Flow`] that has ended is dropped and never says so.
    Closed,
    /// Seen on its way out past the capture, and never judged: the only state of such a record.
    Uncaptured,
}

impl State {
    /// The state's name in flow records.
    pub fn name(self) -> &'static str {
        match self {
            Self::LookingUp => "looking-up",
            Self::Judging => "judging",
            Self::Asking => "asking",
            Self::Dialing => "dialing",
            Self::Open => "open",
            Self::HalfClosed => "half-closed",
            Self::Refused => "refused",
            Self::Closed => "closed",
            Self::Uncaptured => "uncaptured",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What the worker has to do for a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Find the owner of the flow's socket, then [`Flow::handle_looked_up`].
    LookUp,
    /// Ask the policy, then [`Flow::handle_judged`].
    Judge,
    /// Ask the user, then [`Flow::handle_asked`]; if that cannot be done, [`Flow::handle_judged`] with what holds then. An answer
    /// is a reason to judge again.
    Ask,
    /// Open the way upstream, then [`Flow::handle_dialed`].
    Dial,
    /// Tell the program that the way is open (SYN-ACK) and let bytes flow.
    Accept,
    /// Tell the program that it is not.
    Refuse(Refusal),
    /// Reset both sides of an open flow.
    Cut,
}

/// What a look-up found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// At least one owner.
    Owner,
    /// None yet; another look may find one.
    Nobody,
    /// None, and another look would find none (no look-up on this path).
    Never,
}

/// Why the way upstream could not be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DialFailure {
    /// The far end refused (RST, ICMP port unreachable).
    Refused,
    /// No route to the network.
    NetworkUnreachable,
    /// No route to the host.
    HostUnreachable,
    /// A router, a firewall or a rule of this host forbids it.
    Prohibited,
    /// Nobody answered.
    TimedOut,
    /// This host has no port, descriptor or memory left.
    Exhausted,
}

impl DialFailure {
    /// The failure's name in flow records and counters.
    pub fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::NetworkUnreachable => "network-unreachable",
            Self::HostUnreachable => "host-unreachable",
            Self::Prohibited => "prohibited",
            Self::TimedOut => "timed-out",
            Self::Exhausted => "exhausted",
        }
    }

    /// What the program is told: the same as its own kernel would have told it.
    pub fn refusal(self) -> Refusal {
        match self {
            Self::Refused | Self::Exhausted => Refusal::Reset,
            Self::NetworkUnreachable => Refusal::NetworkUnreachable,
            Self::HostUnreachable => Refusal::HostUnreachable,
            Self::Prohibited => Refusal::Prohibited,
            Self::TimedOut => Refusal::Silence,
        }
    }
}

/// One flow's life.
///
/// # Contract
///
/// After [`Flow::new`] and after each `handle_*`, call [`poll_action`](Self::poll_action) until it gives `None`, doing each
/// action before asking for the next; then [`poll_timeout`](Self::poll_timeout) for the time to call
/// [`handle_timeout`](Self::handle_timeout). An outcome that comes too late for the flow's state is ignored.
#[derive(Debug)]
pub struct Flow {
    state: State,
    action: Option<Action>,
    attempts: u32,
    wake_at: Option<Instant>,
    /// What the program is told if the user does not answer.
    unanswered: Refusal,
}

impl Default for Flow {
    fn default() -> Self {
        Self::new()
    }
}

impl Flow {
    /// A flow whose first packet has just come.
    pub fn new() -> Self {
        Self {
            state: State::LookingUp,
            action: Some(Action::LookUp),
            attempts: 0,
            wake_at: None,
            unanswered: Refusal::Silence,
        }
    }

    /// Where the flow stands.
    pub fn state(&self) -> State {
        self.state
    }

    /// What to do next.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.action.take()
    }

    /// When the owner is looked for again, or the user has had time enough.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.wake_at
    }

    /// Lets happen whose time has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.wake_at.is_none_or(|at| at > now) {
            return;
        }
        self.wake_at = None;
        match self.state {
            State::LookingUp => self.action = Some(Action::LookUp),
            State::Asking => {
                self.state = State::Refused;
                self.action = Some(Action::Refuse(self.unanswered));
            }
            State::Judging
            | State::Dialing
            | State::Open
            | State::HalfClosed
            | State::Refused
            | State::Closed
            | State::Uncaptured => {}
        }
    }

    /// The look-up that [`Action::LookUp`] asked for has ended.
    pub fn handle_looked_up(&mut self, now: Instant, found: Found) {
        if self.state != State::LookingUp {
            return;
        }
        self.attempts += 1;
        if found == Found::Nobody && self.attempts < LOOK_UP_ATTEMPTS {
            self.wake_at = Some(now + LOOK_UP_PAUSE * (1 << (self.attempts - 1)));
            return;
        }
        self.state = State::Judging;
        self.action = Some(Action::Judge);
    }

    /// The policy has spoken, and the user where there was an answer.
    ///
    /// What passes already is not held for a question: it ends, and asks when it begins anew.
    pub fn handle_judged(&mut self, verdict: Verdict) {
        let is_held = matches!(self.state, State::Judging | State::Asking);
        let refusal = match verdict {
            Verdict::Allow => {
                if is_held {
                    self.wake_at = None;
                    self.state = State::Dialing;
                    self.action = Some(Action::Dial);
                }
                return;
            }
            Verdict::Ask if is_held => {
                self.state = State::Asking;
                self.action = Some(Action::Ask);
                return;
            }
            Verdict::Ask | Verdict::Block => Refusal::Reset,
            Verdict::Drop => Refusal::Silence,
        };
        self.action = match self.state {
            State::Judging | State::Asking | State::Dialing => Some(Action::Refuse(refusal)),
            State::Open | State::HalfClosed => Some(Action::Cut),
            State::LookingUp | State::Refused | State::Closed | State::Uncaptured => return,
        };
        self.wake_at = None;
        self.state = State::Refused;
    }

    /// The user is being asked, and has time until `until`; after that the flow is refused as this verdict says. One who was
    /// asked before gets no more time.
    pub fn handle_asked(&mut self, until: Instant, then: Verdict) {
        if self.state == State::Asking && self.wake_at.is_none() {
            self.wake_at = Some(until);
            self.unanswered = match then {
                Verdict::Block => Refusal::Reset,
                // Not even by a mistake does a flow pass that nobody has allowed.
                Verdict::Allow | Verdict::Ask | Verdict::Drop => Refusal::Silence,
            };
        }
    }

    /// A new policy is in force: a flow that was judged by the old one is judged again. False if there is nothing to do for it
    /// now: one that waits for its look-up, or for its owner, goes on waiting. The user's answer is a policy that changed.
    pub fn handle_policy_changed(&mut self) -> bool {
        match self.state {
            State::Asking | State::Dialing | State::Open | State::HalfClosed => {
                self.action = Some(Action::Judge);
                true
            }
            State::LookingUp
            | State::Judging
            | State::Refused
            | State::Closed
            | State::Uncaptured => false,
        }
    }

    /// The upstream connection stands, or cannot be made.
    pub fn handle_dialed(&mut self, outcome: Result<(), DialFailure>) {
        if self.state != State::Dialing {
            return;
        }
        match outcome {
            Ok(()) => {
                self.state = State::Open;
                self.action = Some(Action::Accept);
            }
            Err(failure) => {
                self.state = State::Refused;
                self.action = Some(Action::Refuse(failure.refusal()));
            }
        }
    }

    /// One side has finished sending.
    pub fn handle_half_closed(&mut self) {
        if self.state == State::Open {
            self.state = State::HalfClosed;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn actions(flow: &mut Flow) -> Vec<Action> {
        std::iter::from_fn(|| flow.poll_action()).collect()
    }

    fn open_flow(now: Instant) -> Flow {
        let mut flow = Flow::new();
        flow.poll_action();
        flow.handle_looked_up(now, Found::Owner);
        flow.poll_action();
        flow.handle_judged(Verdict::Allow);
        flow.poll_action();
        flow.handle_dialed(Ok(()));
        flow.poll_action();
        flow
    }

    #[test]
    fn an_allowed_flow_is_looked_up_judged_dialed_and_accepted_in_that_order() {
        let now = Instant::now();
        let mut flow = Flow::new();
        assert_eq!(actions(&mut flow), [Action::LookUp]);
        flow.handle_looked_up(now, Found::Owner);
        assert_eq!(actions(&mut flow), [Action::Judge]);
        flow.handle_judged(Verdict::Allow);
        assert_eq!(actions(&mut flow), [Action::Dial]);
        flow.handle_dialed(Ok(()));
        assert_eq!(actions(&mut flow), [Action::Accept]);
        assert_eq!(flow.state(), State::Open);
    }

    #[test]
    fn a_missing_owner_is_looked_for_again_and_then_the_flow_is_judged_without() {
        let mut now = Instant::now();
        let mut flow = Flow::new();
        let mut looks = 0;
        while let Some(action) = flow.poll_action() {
            if action == Action::Judge {
                break;
            }
            looks += 1;
            flow.handle_looked_up(now, Found::Nobody);
            if let Some(at) = flow.poll_timeout() {
                flow.handle_timeout(now);
                assert_eq!(flow.poll_action(), None, "not before its time");
                now = at;
                flow.handle_timeout(now);
            }
        }
        assert_eq!(looks, LOOK_UP_ATTEMPTS);
        assert_eq!(flow.state(), State::Judging);
    }

    #[test]
    fn a_flow_without_any_look_up_is_judged_at_once() {
        let mut flow = Flow::new();
        flow.poll_action();
        flow.handle_looked_up(Instant::now(), Found::Never);
        assert_eq!(actions(&mut flow), [Action::Judge]);
    }

    #[test]
    fn block_refuses_at_once_and_drop_is_silence() {
        for (verdict, refusal) in [
            (Verdict::Block, Refusal::Reset),
            (Verdict::Drop, Refusal::Silence),
        ] {
            let mut flow = Flow::new();
            flow.poll_action();
            flow.handle_looked_up(Instant::now(), Found::Owner);
            flow.poll_action();
            flow.handle_judged(verdict);
            assert_eq!(actions(&mut flow), [Action::Refuse(refusal)]);
            assert_eq!(flow.state(), State::Refused);
        }
    }

    #[test]
    fn every_dial_failure_is_told_as_the_kernel_would() {
        let cases = [
            (DialFailure::Refused, Refusal::Reset),
            (DialFailure::NetworkUnreachable, Refusal::NetworkUnreachable),
            (DialFailure::HostUnreachable, Refusal::HostUnreachable),
            (DialFailure::Prohibited, Refusal::Prohibited),
            (DialFailure::TimedOut, Refusal::Silence),
            (DialFailure::Exhausted, Refusal::Reset),
        ];
        for (failure, refusal) in cases {
            let mut flow = Flow::new();
            flow.poll_action();
            flow.handle_looked_up(Instant::now(), Found::Owner);
            flow.poll_action();
            flow.handle_judged(Verdict::Allow);
            flow.poll_action();
            flow.handle_dialed(Err(failure));
            assert_eq!(actions(&mut flow), [Action::Refuse(refusal)]);
        }
    }

    #[test]
    fn a_new_policy_judges_an_open_flow_again_and_cuts_it_only_if_it_no_longer_passes() {
        let now = Instant::now();
        let mut flow = open_flow(now);
        flow.handle_policy_changed();
        assert_eq!(actions(&mut flow), [Action::Judge]);
        flow.handle_judged(Verdict::Allow);
        assert_eq!(actions(&mut flow), []);
        assert_eq!(flow.state(), State::Open);

        flow.handle_policy_changed();
        flow.poll_action();
        flow.handle_judged(Verdict::Block);
        assert_eq!(actions(&mut flow), [Action::Cut]);
    }

    #[test]
    fn a_new_policy_refuses_a_flow_that_is_still_dialing_and_the_late_outcome_is_ignored() {
        let mut flow = Flow::new();
        flow.poll_action();
        flow.handle_looked_up(Instant::now(), Found::Owner);
        flow.poll_action();
        flow.handle_judged(Verdict::Allow);
        flow.poll_action();
        flow.handle_policy_changed();
        assert_eq!(actions(&mut flow), [Action::Judge]);
        flow.handle_judged(Verdict::Block);
        assert_eq!(actions(&mut flow), [Action::Refuse(Refusal::Reset)]);
        flow.handle_dialed(Ok(()));
        assert_eq!(actions(&mut flow), []);
        assert_eq!(flow.state(), State::Refused);
    }

    #[test]
    fn a_new_policy_leaves_a_flow_alone_that_was_not_judged_yet() {
        let mut flow = Flow::new();
        assert!(!flow.handle_policy_changed());
        assert_eq!(actions(&mut flow), [Action::LookUp]);
        assert!(!flow.handle_policy_changed());
        assert_eq!(actions(&mut flow), []);
        flow.handle_looked_up(Instant::now(), Found::Owner);
        assert_eq!(actions(&mut flow), [Action::Judge]);
        flow.handle_judged(Verdict::Allow);
        assert!(flow.handle_policy_changed());
    }

    fn asked_flow(now: Instant) -> Flow {
        let mut flow = Flow::new();
        flow.poll_action();
        flow.handle_looked_up(now, Found::Owner);
        flow.poll_action();
        flow.handle_judged(Verdict::Ask);
        assert_eq!(actions(&mut flow), [Action::Ask]);
        flow
    }

    #[test]
    fn a_flow_waits_for_the_users_answer_and_goes_where_it_says() {
        let now = Instant::now();
        let until = now + Duration::from_secs(30);
        for (answer, action) in [
            (Verdict::Allow, Action::Dial),
            (Verdict::Block, Action::Refuse(Refusal::Reset)),
            (Verdict::Drop, Action::Refuse(Refusal::Silence)),
        ] {
            let mut flow = asked_flow(now);
            flow.handle_asked(until, Verdict::Block);
            assert_eq!(
                (flow.state(), flow.poll_timeout()),
                (State::Asking, Some(until))
            );
            assert!(flow.handle_policy_changed());
            assert_eq!(actions(&mut flow), [Action::Judge]);
            flow.handle_judged(answer);
            assert_eq!(actions(&mut flow), [action]);
            assert_eq!(flow.poll_timeout(), None);
            flow.handle_timeout(until);
            assert_eq!(actions(&mut flow), []);
        }
    }

    #[test]
    fn without_an_answer_the_flow_is_refused_when_the_time_is_over_and_never_passes() {
        let now = Instant::now();
        let until = now + Duration::from_secs(30);
        for (then, refusal) in [
            (Verdict::Block, Refusal::Reset),
            (Verdict::Drop, Refusal::Silence),
            (Verdict::Allow, Refusal::Silence),
        ] {
            let mut flow = asked_flow(now);
            flow.handle_asked(until, then);
            flow.handle_timeout(until - Duration::from_millis(1));
            assert_eq!(actions(&mut flow), []);
            flow.handle_timeout(until);
            assert_eq!(actions(&mut flow), [Action::Refuse(refusal)]);
            flow.handle_judged(Verdict::Allow);
            assert_eq!(actions(&mut flow), [], "too late");
        }
    }

    #[test]
    fn who_is_asked_again_gets_no_more_time() {
        let now = Instant::now();
        let until = now + Duration::from_secs(30);
        let mut flow = asked_flow(now);
        flow.handle_asked(until, Verdict::Block);
        flow.handle_policy_changed();
        flow.poll_action();
        flow.handle_judged(Verdict::Ask);
        assert_eq!(actions(&mut flow), [Action::Ask]);
        flow.handle_asked(until + Duration::from_secs(30), Verdict::Drop);
        assert_eq!(flow.poll_timeout(), Some(until));
        flow.handle_timeout(until);
        assert_eq!(actions(&mut flow), [Action::Refuse(Refusal::Reset)]);
    }

    #[test]
    fn a_new_policy_that_asks_cuts_what_is_open() {
        let mut flow = open_flow(Instant::now());
        flow.handle_policy_changed();
        flow.poll_action();
        flow.handle_judged(Verdict::Ask);
        assert_eq!(actions(&mut flow), [Action::Cut]);
    }

    #[test]
    fn half_closed_flows_are_still_judged_again() {
        let mut flow = open_flow(Instant::now());
        flow.handle_half_closed();
        assert_eq!(flow.state(), State::HalfClosed);
        assert!(flow.handle_policy_changed());
        flow.poll_action();
        flow.handle_judged(Verdict::Drop);
        assert_eq!(actions(&mut flow), [Action::Cut]);
    }
}
