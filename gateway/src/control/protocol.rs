//! What is said over the control socket.
//!
//! ```json
//! {"version":1,"request":{"flows":{"follow":false,"app":"curl","verdict":null}}}
//! ```
//!
//! is answered by any number of `{"flow":{...}}` lines and a last `"done"`. Whatever cannot be done is answered by one
//! `{"refused":{"why":"...","message":"..."}}`.

use serde::{Deserialize, Serialize};
use tidegate_policy::Verdict;

use super::status::{Profiles, Status};
use crate::ask::{Answer, Given, QuestionId, QuestionRecord};
use crate::library::LibraryState;
use crate::quick::request::QuickRule;
use crate::record::FlowRecord;

/// Version of this protocol. Another one is refused, so that an old client gets an error instead of nonsense.
pub const VERSION: u32 = 1;

/// One line from the client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// [`VERSION`].
    pub version: u32,
    /// What is wanted.
    pub request: Request,
}

impl From<Request> for Message {
    fn from(request: Request) -> Self {
        Self {
            version: VERSION,
            request,
        }
    }
}

/// What a client may want.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// How the gateway is: one [`Reply::Status`].
    Status,
    /// Flows: [`Reply::Flow`] for each, then [`Reply::Done`] unless they are followed.
    Flows(FlowsRequest),
    /// Make a trial permanent: [`Reply::Done`].
    Confirm,
    /// Read the configuration again: [`Reply::Reloaded`].
    Reload,
    /// One more rule ahead of all others: [`Reply::RulesChanged`] with its name.
    Quick(QuickRule),
    /// Take the newest of such rules away: [`Reply::RulesChanged`] with their names.
    Undo {
        /// So many, or all that there are.
        count: usize,
    },
    /// Questions that are open: [`Reply::Question`] for each, then [`Reply::Done`] unless they are followed.
    Questions {
        /// Go on with every question that is asked or closed from now on, until the client hangs up.
        follow: bool,
    },
    /// Answer a question: [`Reply::Answered`].
    Answer {
        /// Which.
        question: QuestionId,
        /// How.
        answer: Answer,
    },
    /// The profiles: [`Reply::Profiles`].
    Profiles,
    /// Make one profile active: [`Reply::Profiles`], as they are then.
    UseProfile {
        /// Its name, or `auto`: each by its own conditions.
        name: String,
    },
    /// Fetch this list, or all, now: [`Reply::Library`] when that is done.
    UpdateLists(Option<String>),
}

/// Which flows are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlowsRequest {
    /// Go on with every flow that is let through or ends from now on, until the client hangs up.
    #[serde(default)]
    pub follow: bool,
    /// Only programs that match this glob: with a slash the path, without the name.
    #[serde(default)]
    pub app: Option<String>,
    /// Only flows with this verdict.
    #[serde(default)]
    pub verdict: Option<Verdict>,
    /// With what identifies their programs, also where no rule asks for it.
    #[serde(default)]
    pub identity: bool,
}

/// One line from the daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// How the gateway is.
    Status(Box<Status>),
    /// A flow as it is now.
    Flow(Box<FlowRecord>),
    /// This many records did not reach a follower, who read too slowly.
    Missed(u64),
    /// The configuration was read and this generation of the policy is in force.
    Reloaded {
        /// Generation of the policy.
        generation: u64,
    },
    /// Rules were added or taken away, and this generation of the policy is in force.
    RulesChanged {
        /// Generation of the policy.
        generation: u64,
        /// What the rules are called.
        rules: Vec<String>,
    },
    /// A question that is open.
    Question(Box<QuestionRecord>),
    /// A question that was told before is open no longer: it was answered, or nobody waits for it any more.
    Closed(QuestionId),
    /// An answer is in force.
    Answered(Given),
    /// The profiles, and which are active.
    Profiles(Profiles),
    /// Lists and databases, as they are now.
    Library(Box<LibraryState>),
    /// That was all.
    Done,
    /// It was not done.
    Refused(Refused),
}

/// Why a request was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Refused {
    /// What kind of refusal, for programs.
    pub why: RefusedWhy,
    /// What and what next, for people.
    pub message: String,
}

/// Kinds of refusals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefusedWhy {
    /// The peer may not use this socket.
    Forbidden,
    /// Too many clients at once.
    Busy,
    /// The request is not of this protocol, or of another version of it.
    Malformed,
    /// The request was understood but cannot be done now.
    Failed,
}

impl Refused {
    /// A refusal.
    pub fn new(why: RefusedWhy, message: impl Into<String>) -> Self {
        Self {
            why,
            message: message.into(),
        }
    }
}

impl Message {
    /// Reads one line.
    ///
    /// # Errors
    /// The line is no request, or one of another version of the protocol.
    pub fn parse(line: &[u8]) -> Result<Self, Refused> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let malformed = |error: serde_json::Error| {
            Refused::new(RefusedWhy::Malformed, format!("not a request: {error}"))
        };
        let Versioned { version } = serde_json::from_slice(line).map_err(malformed)?;
        if version != VERSION {
            let message = format!(
                "the daemon speaks version {VERSION} of the control protocol, not {version}: \
                 use the `tidegate` that the daemon was started from"
            );
            return Err(Refused::new(RefusedWhy::Malformed, message));
        }
        serde_json::from_slice(line).map_err(malformed)
    }
}
