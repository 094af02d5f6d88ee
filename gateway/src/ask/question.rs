//! One question, open or as clients see it.

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::board::Waiter;
use super::topic::{About, Asker, Place, Topic};
use crate::record::Timestamp;

/// Names a question; never used again while the gateway lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct QuestionId(pub u64);

/// A question as clients see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuestionRecord {
    /// To answer it by.
    pub id: QuestionId,
    /// When it was first asked.
    pub since: Timestamp,
    /// Seconds until the last flow gives up that waits now.
    pub seconds_left: u64,
    /// Executable of the program; absent where it is not known.
    pub app: Option<PathBuf>,
    /// Owner of the socket.
    pub uid: Option<u32>,
    /// The container that the program runs in.
    pub container: Option<String>,
    /// The host for which this one forwards, where the program is not known.
    pub from: Option<String>,
    /// Whether a client elsewhere opened the flow.
    pub incoming: bool,
    /// Name or address of the other end; absent: many.
    pub to: Option<String>,
    /// Protocol and port; absent: many.
    pub service: Option<String>,
    /// Flows that wait.
    pub flows: usize,
    /// More of the flow that raised it.
    pub about: About,
}

/// A question, and the flows that wait on it.
pub(super) struct Open {
    pub(super) topic: Topic,
    pub(super) about: About,
    pub(super) since: Timestamp,
    pub(super) waiters: Vec<Waiter>,
    pub(super) bytes: usize,
}

impl Open {
    pub(super) fn record(&self, id: QuestionId, now: Instant) -> QuestionRecord {
        let latest = self.waiters.iter().map(|waiter| waiter.until).max();
        let left = latest.map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        let (to, service) = match &self.topic.place {
            Place::One { end, service } => (Some(end.to_string()), Some(service.clone())),
            Place::Many => (None, None),
        };
        let (app, uid, container, from) = match &self.topic.asker {
            Asker::Program {
                path,
                uid,
                container,
            } => (Some(path.clone()), Some(*uid), container.clone(), None),
            Asker::Host(address) => (None, None, None, Some(address.to_string())),
            Asker::Unknown => (None, None, None, None),
        };
        QuestionRecord {
            id,
            since: self.since,
            seconds_left: left.as_secs(),
            app,
            uid,
            container,
            from,
            incoming: self.topic.is_incoming,
            to,
            service,
            flows: self.waiters.len(),
            about: self.about.clone(),
        }
    }
}

impl fmt::Display for QuestionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
