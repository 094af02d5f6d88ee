//! Answers in force that no rule says yet, or never will.

use std::collections::BTreeMap;

use tidegate_policy::{Name, Verdict};

use super::answer::{Answer, Lifetime, Reach};
use super::topic::{Asker, End, Place, Topic};
use crate::record::Timestamp;

/// Answers of one program; the oldest makes room, and is asked for again.
const OF_ONE: usize = 256;
/// Answers in all; one of the program with the most makes room.
const IN_ALL: usize = 4_096;

/// A process, told from later ones of the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProcessKey {
    /// Its number.
    pub pid: u32,
    /// When it was started, in the system's own measure.
    pub born: u64,
}

/// Where an answer's flows go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum To {
    Anywhere,
    One(End),
    /// This name and all beneath it.
    Within(Name),
}

/// Until when an answer holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// One of these processes has made the flow.
    Processes(Vec<ProcessKey>),
    Time(Timestamp),
    /// The gateway's end, or a rule in force that says the same.
    End,
}

/// An answer that is for more than the flows that waited for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Remembered {
    pub(super) asker: Asker,
    pub(super) is_incoming: bool,
    pub(super) to: To,
    pub(super) service: Option<String>,
    pub(super) verdict: Verdict,
    pub(super) until: Until,
    /// It is also a rule on disk, the so manieth that was written.
    pub(super) written: Option<u64>,
}

impl Remembered {
    /// From an answer that fits this question. None: it is for the flows that wait only.
    pub(super) fn new(topic: &Topic, answer: &Answer, waiting: Vec<ProcessKey>) -> Option<Self> {
        let until = match answer.lifetime {
            Lifetime::Once => return None,
            Lifetime::Process => Until::Processes(waiting),
            Lifetime::For(length) => Until::Time(Timestamp::now().later_by(length)),
            Lifetime::Until(at) => Until::Time(at),
            Lifetime::Forever => Until::End,
        };
        let (to, service) = match (&topic.place, &answer.reach) {
            (Place::Many, _) | (Place::One { .. }, Reach::Anywhere) => (To::Anywhere, None),
            (Place::One { end, service }, Reach::Exact) => {
                (To::One(end.clone()), Some(service.clone()))
            }
            (Place::One { end, .. }, Reach::Host) => (To::One(end.clone()), None),
            (Place::One { service, .. }, Reach::Port) => (To::Anywhere, Some(service.clone())),
            (Place::One { end, .. }, Reach::Domain(domain)) => {
                let domain = domain.as_deref().map(Name::parse).transpose().ok()?;
                (To::Within(domain.or_else(|| end.name())?), None)
            }
        };
        Some(Self {
            asker: topic.asker.clone(),
            is_incoming: topic.is_incoming,
            to,
            service,
            verdict: answer.verdict,
            until,
            written: None,
        })
    }

    /// Whether it answers a question about this, for a flow of this process.
    pub(super) fn covers(&self, topic: &Topic, process: Option<ProcessKey>) -> bool {
        self.asker == topic.asker
            && self.is_incoming == topic.is_incoming
            && match &self.until {
                Until::Processes(all) => process.is_some_and(|process| all.contains(&process)),
                Until::Time(at) => *at > Timestamp::now(),
                Until::End => true,
            }
            && match &topic.place {
                Place::Many => self.to == To::Anywhere && self.service.is_none(),
                Place::One { end, service } => {
                    self.service.as_ref().is_none_or(|own| own == service)
                        && match &self.to {
                            To::Anywhere => true,
                            To::One(own) => own == end,
                            To::Within(domain) => {
                                end.name().is_some_and(|name| name.is_within(domain))
                            }
                        }
                }
            }
    }
}

/// The answers, by program.
#[derive(Debug, Default)]
pub(super) struct Memory {
    by_asker: BTreeMap<Asker, Vec<Remembered>>,
    count: usize,
}

impl Memory {
    /// Whether there are answers of this program that are bound to its process.
    pub(super) fn asks_for_process(&self, asker: &Asker) -> bool {
        self.by_asker.get(asker).is_some_and(|answers| {
            answers
                .iter()
                .any(|answer| matches!(answer.until, Until::Processes(_)))
        })
    }

    /// The newest answer that covers this.
    pub(super) fn find(&self, topic: &Topic, process: Option<ProcessKey>) -> Option<Verdict> {
        let answers = self.by_asker.get(&topic.asker)?;
        let newest = answers
            .iter()
            .rev()
            .find(|answer| answer.covers(topic, process));
        newest.map(|answer| answer.verdict)
    }

    pub(super) fn insert(&mut self, answer: Remembered) {
        self.forget(is_over);
        if self.count >= IN_ALL
            && let Some(most) = self
                .by_asker
                .values_mut()
                .max_by_key(|answers| answers.len())
        {
            most.remove(0);
            self.count -= 1;
        }
        let answers = self.by_asker.entry(answer.asker.clone()).or_default();
        if answers.len() >= OF_ONE {
            answers.remove(0);
            self.count -= 1;
        }
        answers.push(answer);
        self.count += 1;
    }

    /// Forgets those of which `is_over` says so; whether there were any.
    pub(super) fn forget(&mut self, is_over: impl Fn(&Remembered) -> bool) -> bool {
        let before = self.count;
        self.by_asker.retain(|_, answers| {
            answers.retain(|answer| !is_over(answer));
            !answers.is_empty()
        });
        self.count = self.by_asker.values().map(Vec::len).sum();
        self.count < before
    }

    /// When the next answer ends.
    pub(super) fn next_end(&self) -> Option<Timestamp> {
        let answers = self.by_asker.values().flatten();
        let ends = answers.filter_map(|answer| match answer.until {
            Until::Time(at) => Some(at),
            Until::Processes(_) | Until::End => None,
        });
        ends.min()
    }

    /// That an answer is written, as the so manieth rule.
    pub(super) fn note_written(&mut self, written: &Remembered, number: u64) {
        let answers = self.by_asker.get_mut(&written.asker);
        let same = answers
            .into_iter()
            .flatten()
            .rev()
            .find(|answer| *answer == written);
        if let Some(answer) = same {
            answer.written = Some(number);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }
}

/// Whether its time has passed.
pub(super) fn is_over(answer: &Remembered) -> bool {
    matches!(answer.until, Until::Time(at) if at <= Timestamp::now())
}
