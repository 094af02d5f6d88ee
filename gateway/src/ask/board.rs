//! The questions that are open, the flows that wait on each, and the answers in force.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tidegate_netstack::FlowId;
use tidegate_policy::Verdict;
use tokio::sync::watch;

use super::answer::{Answer, AnswerError};
use super::memory::{Memory, ProcessKey, Remembered, Until, is_over};
use super::question::{Open, QuestionId, QuestionRecord};
use super::topic::{About, Asker, Topic};
use crate::record::Timestamp;

/// Questions at once.
const QUESTIONS: usize = 1_024;
/// Bytes of all questions: 4 KiB each on average.
const BYTES: usize = 4 << 20;
/// Questions of one program, after which its further places are one question.
const OF_ONE: usize = 16;
/// Flows of one program that wait.
const FLOWS_OF_ONE: usize = 512;
/// Flows that wait in all: half of what may be half-open, so that others can still begin.
const FLOWS: usize = 2_048;

/// Names a worker on the board.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerId(usize);

/// A flow that waits.
#[derive(Clone, Copy, Debug)]
pub struct Waiter {
    /// Whose flow it is.
    pub worker: WorkerId,
    /// The flow.
    pub flow: FlowId,
    /// The process that made it, where it can be told again.
    pub process: Option<ProcessKey>,
    /// Until when it waits.
    pub until: Instant,
}

/// What became of a flow that was put on the board.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joined {
    /// There is an answer already.
    Answered(Verdict),
    /// It waits; its worker is told of the answer.
    Waits(QuestionId),
    /// There is no room to wait in, for this reason.
    Full(&'static str),
}

/// What a worker is told: the question on which its flow waits was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// The question.
    pub question: QuestionId,
    /// The flow.
    pub flow: FlowId,
    /// The answer, where it is for the flows that wait and no others: it is not found in any other place.
    pub once: Option<Verdict>,
}

/// What comes of an answer.
pub(super) struct Settled {
    pub(super) topic: Topic,
    /// Absent: it was for the waiting flows only.
    pub(super) remembered: Option<Remembered>,
    pub(super) flows: usize,
}

type Listener = Box<dyn Fn(Told) + Send + Sync>;

/// The questions, their flows, and the answers. One lock, taken for flows about which the policy asks and for no others.
pub struct Board {
    inner: Mutex<Inner>,
    workers: Mutex<Vec<Listener>>,
    /// Counts the changes that followers want to see.
    changes: watch::Sender<u64>,
    /// An answer with an end was given, or the board closes.
    ends_changed: Condvar,
}

#[derive(Default)]
struct Inner {
    last: u64,
    open: BTreeMap<QuestionId, Open>,
    by_topic: BTreeMap<Topic, QuestionId>,
    of_asker: BTreeMap<Asker, Load>,
    flows: usize,
    bytes: usize,
    memory: Memory,
    /// Rules that were written.
    written: u64,
    closing: bool,
}

/// What a program has on the board.
#[derive(Clone, Copy, Debug, Default)]
struct Load {
    questions: usize,
    flows: usize,
}

impl Default for Board {
    fn default() -> Self {
        Self {
            inner: Mutex::default(),
            workers: Mutex::default(),
            changes: watch::Sender::new(0),
            ends_changed: Condvar::new(),
        }
    }
}

impl Board {
    /// One more worker; `tell` is called, on another thread, for each of its flows whose question was answered. It must not
    /// block.
    pub fn add_worker(&self, tell: impl Fn(Told) + Send + Sync + 'static) -> WorkerId {
        let mut workers = lock(&self.workers);
        workers.push(Box::new(tell));
        WorkerId(workers.len() - 1)
    }

    /// The answer in force that covers this. `process` is asked for only where some answer depends on it.
    pub fn remembered(
        &self,
        topic: &Topic,
        process: impl FnOnce() -> Option<ProcessKey>,
    ) -> Option<Verdict> {
        let inner = lock(&self.inner);
        let process = inner
            .memory
            .asks_for_process(&topic.asker)
            .then(process)
            .flatten();
        inner.memory.find(topic, process)
    }

    /// Has the user asked, if nobody has before; `about` says more of the flow.
    pub fn join(&self, topic: &Topic, waiter: Waiter, about: impl FnOnce() -> About) -> Joined {
        let mut inner = lock(&self.inner);
        if let Some(verdict) = inner.memory.find(topic, waiter.process) {
            return Joined::Answered(verdict);
        }
        let load = inner
            .of_asker
            .get(&topic.asker)
            .copied()
            .unwrap_or_default();
        if load.flows >= FLOWS_OF_ONE {
            return Joined::Full("too many flows of one program wait for an answer");
        }
        if inner.flows >= FLOWS {
            return Joined::Full("too many flows wait for an answer");
        }
        let id = match inner.by_topic.get(topic) {
            Some(id) => *id,
            None => {
                let to_many = topic.to_many();
                let topic = if load.questions >= OF_ONE {
                    &to_many
                } else {
                    topic
                };
                match inner.by_topic.get(topic).copied() {
                    Some(id) => id,
                    None => match inner.open(topic, about()) {
                        Some(id) => id,
                        None => return Joined::Full("too many questions are open"),
                    },
                }
            }
        };
        inner.add(id, waiter);
        drop(inner);
        self.note_change();
        Joined::Waits(id)
    }

    /// A flow waits no longer: it ended, or was judged otherwise. A question that nobody waits on is closed.
    pub fn leave(&self, question: QuestionId, worker: WorkerId, flow: FlowId) {
        let mut inner = lock(&self.inner);
        let Some(open) = inner.open.get_mut(&question) else {
            return;
        };
        let before = open.waiters.len();
        open.waiters
            .retain(|waiter| (waiter.worker, waiter.flow) != (worker, flow));
        let (left, is_last) = (before - open.waiters.len(), open.waiters.is_empty());
        let asker = open.topic.asker.clone();
        inner.unload(&asker, 0, left);
        if is_last {
            inner.close(question);
        }
        drop(inner);
        self.note_change();
    }

    /// The questions that are open, oldest first.
    pub fn questions(&self) -> Vec<QuestionRecord> {
        let now = Instant::now();
        let inner = lock(&self.inner);
        let open = inner.open.iter();
        open.map(|(id, open)| open.record(*id, now)).collect()
    }

    /// Hears of changes: each time there may be another question, or one fewer.
    pub fn follow(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Puts an answer in force: for the flows that wait on the question, and on others that it covers.
    pub(super) fn answer(&self, id: QuestionId, answer: &Answer) -> Result<Settled, AnswerError> {
        let mut inner = lock(&self.inner);
        let open = inner.open.get(&id).ok_or(AnswerError::Gone(id.0))?;
        answer.check(&open.topic)?;
        let topic = open.topic.clone();
        let processes: Vec<_> = open
            .waiters
            .iter()
            .filter_map(|waiter| waiter.process)
            .collect();
        let remembered = Remembered::new(&topic, answer, processes);
        if let Some(remembered) = &remembered
            && matches!(&remembered.until, Until::Processes(all) if all.is_empty())
        {
            return Err(AnswerError::NoProcess);
        }
        let mut told = Vec::new();
        for waiter in inner.close(id) {
            let once = remembered.is_none().then_some(answer.verdict);
            told.push((waiter.worker, id, waiter.flow, once));
        }
        if let Some(remembered) = remembered.clone() {
            for id in inner.covered_by(&remembered) {
                let waiters = inner.close(id).into_iter();
                told.extend(waiters.map(|waiter| (waiter.worker, id, waiter.flow, None)));
            }
            inner.memory.insert(remembered);
        }
        drop(inner);
        self.ends_changed.notify_all();
        let workers = lock(&self.workers);
        for (WorkerId(worker), question, flow, once) in &told {
            if let Some(tell) = workers.get(*worker) {
                tell(Told {
                    question: *question,
                    flow: *flow,
                    once: *once,
                });
            }
        }
        drop(workers);
        self.note_change();
        Ok(Settled {
            topic,
            remembered,
            flows: told.len(),
        })
    }

    /// An answer is a rule on disk now.
    pub(super) fn note_written(&self, remembered: &Remembered) {
        let mut inner = lock(&self.inner);
        inner.written += 1;
        let number = inner.written;
        inner.memory.note_written(remembered, number);
    }

    /// How many answers were written as rules: to be asked before a policy is read, for [`settle`](Self::settle) after that.
    pub fn written(&self) -> u64 {
        lock(&self.inner).written
    }

    /// A policy is in force that was read when so many answers were written: they are its rules, and need not be remembered.
    pub fn settle(&self, written: u64) {
        let mut inner = lock(&self.inner);
        inner
            .memory
            .forget(|answer| answer.written.is_some_and(|number| number <= written));
    }

    /// Answers in force that are no rules.
    pub fn remembered_count(&self) -> usize {
        lock(&self.inner).memory.len()
    }

    /// Waits for the end of answers, and calls `ended` after each; returns when the board [closes](Self::close).
    pub fn watch_ends(&self, ended: impl Fn()) {
        /// Clocks may be set; and no wait is so long that this counts.
        const LONGEST: Duration = Duration::from_secs(60 * 60);
        let mut inner = lock(&self.inner);
        while !inner.closing {
            if inner.memory.forget(is_over) {
                drop(inner);
                ended();
                inner = lock(&self.inner);
                continue;
            }
            inner = match inner.memory.next_end() {
                None => self
                    .ends_changed
                    .wait(inner)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(at) => {
                    let left = at.since(Timestamp::now()) + Duration::from_millis(1);
                    let waited = self.ends_changed.wait_timeout(inner, left.min(LONGEST));
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// Ends [`watch_ends`](Self::watch_ends).
    pub fn close(&self) {
        lock(&self.inner).closing = true;
        self.ends_changed.notify_all();
    }

    fn note_change(&self) {
        self.changes
            .send_modify(|count| *count = count.wrapping_add(1));
    }
}

impl Inner {
    /// A new question; none where there is no room.
    fn open(&mut self, topic: &Topic, about: About) -> Option<QuestionId> {
        // The topic is kept twice.
        let bytes = 2 * topic.bytes() + about.bytes();
        if self.open.len() >= QUESTIONS || self.bytes + bytes > BYTES {
            return None;
        }
        self.last += 1;
        let id = QuestionId(self.last);
        self.bytes += bytes;
        self.of_asker
            .entry(topic.asker.clone())
            .or_default()
            .questions += 1;
        self.by_topic.insert(topic.clone(), id);
        self.open.insert(
            id,
            Open {
                topic: topic.clone(),
                about,
                since: Timestamp::now(),
                waiters: Vec::new(),
                bytes,
            },
        );
        Some(id)
    }

    fn add(&mut self, id: QuestionId, waiter: Waiter) {
        if let Some(open) = self.open.get_mut(&id) {
            open.waiters.push(waiter);
            self.flows += 1;
            if let Some(load) = self.of_asker.get_mut(&open.topic.asker) {
                load.flows += 1;
            }
        }
    }

    /// Takes a question off the board, and gives the flows that wait on it.
    fn close(&mut self, id: QuestionId) -> Vec<Waiter> {
        let Some(open) = self.open.remove(&id) else {
            return Vec::new();
        };
        self.by_topic.remove(&open.topic);
        self.bytes -= open.bytes;
        self.unload(&open.topic.asker, 1, open.waiters.len());
        open.waiters
    }

    fn unload(&mut self, asker: &Asker, questions: usize, flows: usize) {
        self.flows -= flows;
        let Some(load) = self.of_asker.get_mut(asker) else {
            return;
        };
        load.questions -= questions;
        load.flows -= flows;
        if load.questions == 0 {
            self.of_asker.remove(asker);
        }
    }

    /// Open questions to which this is an answer for every flow that waits.
    fn covered_by(&self, remembered: &Remembered) -> Vec<QuestionId> {
        let covers = |open: &Open| {
            let mut waiters = open.waiters.iter();
            waiters.all(|waiter| remembered.covers(&open.topic, waiter.process))
        };
        let open = self.open.iter().filter(|(_, open)| covers(open));
        open.map(|(id, _)| *id).collect()
    }
}

impl fmt::Debug for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = lock(&self.inner);
        f.debug_struct("Board")
            .field("questions", &inner.open.len())
            .field("flows", &inner.flows)
            .field("answers", &inner.memory.len())
            .finish_non_exhaustive()
    }
}

/// The board's lock; each change is complete before it is given back.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
