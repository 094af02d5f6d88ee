//! Flows about which the policy asks: held until the user has answered, or had time enough.
//!
//! The policy asks for each owner of the flow's socket by itself. What is known already, the answers in memory and the rules
//! that are answers, is looked at first; for the first owner without an answer the flow waits on the board
//! ([`Board`]). An answer comes by the inbox and is a reason to judge again. Nothing has gone upstream before: the flow is not
//! dialed, its packets wait or are sent again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate_netstack::FlowId;
use tidegate_platform::apps::born;
use tidegate_policy::{App, DecidedBy, FlowFacts, Policy, Verdict};
use tidegate_routing::flow::State;

use super::Worker;
use super::entry::Entry;
use super::identify::levels::{About as Levels, lack};
use super::identify::{decide, facts, label};
use super::inbox::{Handle, Message};
use crate::ask::{About, Board, Joined, ProcessKey, QuestionId, Told, Topic, Waiter, WorkerId};
use crate::knowledge::ListBuffer;
use crate::shared::ActivePolicy;

/// What a record names instead of a rule.
const ANSWER: &str = "answer";
/// Why a flow was refused.
const UNANSWERED: &str = "nobody answered in time";
/// What holds a flow in the stack's tables holds it somewhat longer than the user has time.
const MARGIN: Duration = Duration::from_secs(5);

/// What a flow has to do with the user.
#[derive(Debug, Default)]
pub(super) struct Asking {
    question: Option<Question>,
    /// Answers for this flow and no other, by the owner's position.
    once: Vec<(usize, Verdict)>,
}

/// The question that a flow waits on.
#[derive(Clone, Copy, Debug)]
struct Question {
    id: QuestionId,
    /// The owner about whom it is, by position.
    owner: usize,
}

impl Asking {
    /// Only its question, which it no longer waits on.
    pub(super) fn take_question(&mut self) -> Self {
        Self {
            question: self.question.take(),
            once: Vec::new(),
        }
    }

    fn once(&self, owner: usize) -> Option<Verdict> {
        let mut answers = self.once.iter();
        answers
            .find(|(own, _)| *own == owner)
            .map(|(_, verdict)| *verdict)
    }
}

/// What is known of an owner's question.
enum Known {
    /// Nobody need be asked.
    Answered(Verdict, Option<Arc<str>>),
    /// It is open.
    Open,
}

/// Has the board reach a worker by its inbox.
pub(super) fn register(board: &Board, handle: &Handle) -> WorkerId {
    let handle = handle.clone();
    board.add_worker(move |told| handle.tell(Message::Answered(told)))
}

impl Entry {
    /// Each owner of the socket; one that is not known, where there is none, or where what is kept is no ground to judge on.
    fn owners(&self) -> impl Iterator<Item = (usize, Option<&App>)> {
        let apps: &[App] = if self.is_lost { &[] } else { &self.apps };
        let unknown = apps.is_empty().then_some((0, None));
        let known = apps.iter().enumerate();
        known.map(|(index, app)| (index, Some(app))).chain(unknown)
    }

    fn facts_of<'e>(
        &'e self,
        app: Option<&'e App>,
        active: &'e ActivePolicy,
        lists: &'e mut ListBuffer,
    ) -> FlowFacts<'e> {
        FlowFacts {
            apps: app.map_or(&[], std::slice::from_ref),
            ..facts(self, active, lists)
        }
    }

    fn topic(&self, app: Option<&App>, active: &ActivePolicy) -> Topic {
        let source = self.inner.map(|inner| inner.source.ip());
        let mut lists = ListBuffer::default();
        Topic::of(&self.facts_of(app, active, &mut lists), app, source)
    }

    /// Its time may be over: the record is to say so.
    pub(super) fn note_unanswered(&mut self, now: Instant) {
        let is_over = self.life.poll_timeout().is_some_and(|at| at <= now);
        if is_over && self.life.state() == State::Asking {
            self.failure = Some(UNANSWERED.into());
        }
    }
}

impl Worker {
    /// The policy asks about this flow by `rule`: what is known of the user's answers. Still [`Verdict::Ask`] if there is an owner
    /// about whom he was not asked yet.
    pub(super) fn answer_known(
        &mut self,
        flow: FlowId,
        rule: Option<Arc<str>>,
    ) -> (Verdict, Option<Arc<str>>) {
        let Some(entry) = self.flows.get(&flow) else {
            return (Verdict::Ask, rule);
        };
        let strictest = entry
            .owners()
            .map(|(index, app)| match self.known(entry, index, app) {
                Known::Answered(verdict, by) => (verdict, by),
                Known::Open => (Verdict::Ask, rule.clone()),
            })
            .max_by_key(|(verdict, _)| *verdict);
        strictest.unwrap_or((Verdict::Ask, rule))
    }

    /// What is known for one owner.
    fn known(&self, entry: &Entry, index: usize, app: Option<&App>) -> Known {
        let policy = &self.policy.policy;
        let mut lists = ListBuffer::default();
        let facts = entry.facts_of(app, &self.policy, &mut lists);
        let decision = decide(policy, entry, &facts);
        if decision.verdict != Verdict::Ask {
            return Known::Answered(decision.verdict, label(policy, decision.by));
        }
        let board = &self.shared.board;
        let remembered = board.remembered(&entry.topic(app, &self.policy), || process(app));
        if let Some(verdict) = remembered {
            return Known::Answered(verdict, Some(Arc::from(ANSWER)));
        }
        // What the board has just forgotten is a rule of the newest policy, which this worker may not have taken over yet.
        let newest = self.shared.policy.load();
        if let Some((verdict, label)) = answered_by_rule(&newest.policy, entry, &facts) {
            return Known::Answered(verdict, Some(label));
        }
        match entry.asking.once(index) {
            Some(verdict) => Known::Answered(verdict, Some(Arc::from(ANSWER))),
            None => Known::Open,
        }
    }

    /// Puts the flow on the board.
    pub(super) fn ask(&mut self, now: Instant, flow: FlowId) {
        let Some(entry) = self.flows.get(&flow) else {
            return;
        };
        let open = |(index, app): &(usize, Option<&App>)| {
            matches!(self.known(entry, *index, *app), Known::Open)
        };
        // The board may have got its answer since.
        let Some((owner, app)) = entry.owners().find(open) else {
            return self.judge(flow);
        };
        if entry
            .asking
            .question
            .is_some_and(|question| question.owner == owner)
        {
            return;
        }
        let patience = self.policy.policy.patience();
        // There is no room for what is known of its program.
        if entry.short.is_some() {
            return self.cannot_ask(flow, "too much is known of the programs of flows");
        }
        let until = entry.life.poll_timeout().unwrap_or(now + patience.time);
        let waiter = Waiter {
            worker: self.board_id,
            flow,
            process: process(app),
            until,
        };
        let rule = entry.record.rule();
        let joined = self
            .shared
            .board
            .join(&entry.topic(app, &self.policy), waiter, || {
                About::of(app, rule)
            });
        let Some(entry) = self.flows.get_mut(&flow) else {
            return;
        };
        match joined {
            Joined::Waits(id) => {
                let before = entry.asking.take_question();
                entry.asking.question = Some(Question { id, owner });
                entry.life.handle_asked(until, patience.then);
                self.hold(flow);
                self.ask_no_more(flow, &before);
            }
            Joined::Answered(_) => self.judge(flow),
            Joined::Full(reason) => self.cannot_ask(flow, reason),
        }
    }

    /// The flow meets what holds without an answer.
    fn cannot_ask(&mut self, flow: FlowId, reason: &'static str) {
        let Some(entry) = self.flows.get_mut(&flow) else {
            return;
        };
        entry.failure = Some(reason.into());
        self.shared.counters.unasked.add(reason);
        let rule = entry.record.rule().map(Arc::from);
        self.note_judged(flow, self.policy.policy.patience().then, rule);
    }

    /// Has the stack keep the flow as long as it waits for the user; to be said after each of its packets.
    pub(super) fn hold(&mut self, flow: FlowId) {
        if let Some(entry) = self.flows.get(&flow)
            && entry.life.state() == State::Asking
            && let Some(until) = entry.life.poll_timeout()
        {
            self.stack.hold(flow, until + MARGIN);
        }
    }

    /// The user has answered the question that this flow waited on.
    pub(super) fn user_answered(&mut self, now: Instant, told: Told) {
        let Some(entry) = self.flows.get_mut(&told.flow) else {
            return;
        };
        let asking = &mut entry.asking;
        let Some(question) = asking.question.take_if(|own| own.id == told.question) else {
            return;
        };
        if let Some(verdict) = told.once {
            asking.once.push((question.owner, verdict));
        }
        let wanted = self.policy.policy.levels();
        if !entry.is_lost && lack(&entry.apps, wanted) {
            // A policy has come since that asks for more than was looked at.
            let apps = Arc::clone(&entry.apps);
            self.levels.ask(told.flow, Levels::Judged(apps), wanted);
        } else if entry.life.handle_policy_changed() {
            self.drive(now, told.flow);
        }
    }

    /// The flow waits for no answer any more.
    pub(super) fn ask_no_more(&self, flow: FlowId, asking: &Asking) {
        if let Some(question) = asking.question {
            self.shared.board.leave(question.id, self.board_id, flow);
        }
    }
}

/// What a rule of the file of answers says.
fn answered_by_rule(
    policy: &Policy,
    entry: &Entry,
    facts: &FlowFacts<'_>,
) -> Option<(Verdict, Arc<str>)> {
    let answers = policy.answers()?;
    let decision = decide(answers, entry, facts);
    let DecidedBy::Rule(rule) = decision.by else {
        return None;
    };
    let label = answers.rule(rule)?.label();
    (decision.verdict != Verdict::Ask).then(|| (decision.verdict, Arc::from(label)))
}

/// The process that made the flow, as far as it can be told again.
fn process(app: Option<&App>) -> Option<ProcessKey> {
    let pid = app?.pid;
    born(pid).map(|born| ProcessKey { pid, born })
}
