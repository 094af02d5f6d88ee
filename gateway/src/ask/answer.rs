//! What the user may answer.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidegate_policy::{Name, Verdict, span};

use super::topic::{Asker, Place, Topic, has_ports};
use crate::record::Timestamp;

/// An answer to one question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// [`Verdict::Allow`] or [`Verdict::Block`].
    pub verdict: Verdict,
    /// What else it is for.
    pub reach: Reach,
    /// How long it holds.
    pub lifetime: Lifetime,
}

/// For which flows of the same program an answer is; always for those that wait on the question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Reach {
    /// To this other end, at this port.
    Exact,
    /// To this other end, at whatever port.
    Host,
    /// To this name and all beneath it, or beneath one that it is beneath, at whatever port.
    Domain(Option<String>),
    /// To wherever, at this port.
    Port,
    /// To wherever.
    Anywhere,
}

/// How long an answer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Lifetime {
    /// For the flows that wait now, as long as they live.
    Once,
    /// As long as the processes live whose flows wait now.
    Process,
    /// So long from now on.
    For(Duration),
    /// Until then.
    Until(Timestamp),
    /// Until somebody takes the rule out.
    Forever,
}

/// An answer that does not fit its question.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// There is no such question.
    #[error(
        "question {0} is not open: it was answered, or nobody waits for it any more; `tidegate ask --list` shows those that are"
    )]
    Gone(u64),
    /// No rule could tell the program again.
    #[error(
        "the program is not known, so an answer can be for the flows that wait now only: answer for `once`"
    )]
    NoProgram,
    /// The question is about many places at once.
    #[error("the question is about many places: answer with scope `anywhere`")]
    ManyPlaces,
    /// No name of the other end is known.
    #[error("no name of {0} is known: answer with scope `exact` or `host`")]
    NoName(String),
    /// The name is not beneath this one.
    #[error(
        "{name} is not beneath {domain}: name a domain of two labels or more that it is beneath"
    )]
    OtherDomain {
        /// The other end's name.
        name: String,
        /// What was said.
        domain: String,
    },
    /// The protocol has none.
    #[error("{0} has no ports: answer with scope `host`")]
    NoPort(String),
    /// Neither allow nor block.
    #[error("a question is answered by `allow` or `block`, not `{0}`")]
    Verdict(Verdict),
    /// The time is over.
    #[error("{0} is in the past")]
    Past(Timestamp),
    /// The waiting processes cannot be told again.
    #[error(
        "the processes that wait have ended or cannot be told again: answer for `once` or for a time"
    )]
    NoProcess,
}

impl Answer {
    /// Whether it can be given to a question about this.
    pub(super) fn check(&self, topic: &Topic) -> Result<(), AnswerError> {
        if !matches!(self.verdict, Verdict::Allow | Verdict::Block) {
            return Err(AnswerError::Verdict(self.verdict));
        }
        if let Lifetime::Until(at) = self.lifetime
            && at <= Timestamp::now()
        {
            return Err(AnswerError::Past(at));
        }
        if self.lifetime == Lifetime::Once {
            return Ok(());
        }
        if !matches!(topic.asker, Asker::Program { .. }) {
            return Err(AnswerError::NoProgram);
        }
        let Place::One { end, service } = &topic.place else {
            return match self.reach {
                Reach::Anywhere => Ok(()),
                Reach::Exact | Reach::Host | Reach::Domain(_) | Reach::Port => {
                    Err(AnswerError::ManyPlaces)
                }
            };
        };
        match &self.reach {
            Reach::Port if !has_ports(service) => Err(AnswerError::NoPort(service.clone())),
            Reach::Domain(domain) => {
                let name = end
                    .name()
                    .ok_or_else(|| AnswerError::NoName(end.to_string()))?;
                match domain {
                    Some(domain) if !is_domain_of(domain, &name) => Err(AnswerError::OtherDomain {
                        name: name.to_string(),
                        domain: domain.clone(),
                    }),
                    _ => Ok(()),
                }
            }
            Reach::Exact | Reach::Host | Reach::Port | Reach::Anywhere => Ok(()),
        }
    }
}

/// A name of one label, such as `com`, is nobody's own.
fn is_domain_of(domain: &str, name: &Name) -> bool {
    Name::parse(domain).is_ok_and(|domain| domain.as_str().contains('.') && name.is_within(&domain))
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact => f.write_str("exact"),
            Self::Host => f.write_str("host"),
            Self::Domain(None) => f.write_str("domain"),
            Self::Domain(Some(domain)) => write!(f, "domain:{domain}"),
            Self::Port => f.write_str("port"),
            Self::Anywhere => f.write_str("anywhere"),
        }
    }
}

impl FromStr for Reach {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "exact" => Self::Exact,
            "host" => Self::Host,
            "domain" => Self::Domain(None),
            "port" => Self::Port,
            "anywhere" => Self::Anywhere,
            _ => match text.strip_prefix("domain:") {
                Some(domain) => Self::Domain(Some(domain.to_owned())),
                None => {
                    return Err(format!(
                        "\"{text}\" is no scope: write exact, host, domain, domain:NAME, port or anywhere"
                    ));
                }
            },
        })
    }
}

impl fmt::Display for Lifetime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Once => f.write_str("once"),
            Self::Process => f.write_str("process"),
            Self::For(length) => write!(f, "{}s", length.as_secs()),
            Self::Until(at) => at.fmt(f),
            Self::Forever => f.write_str("forever"),
        }
    }
}

impl FromStr for Lifetime {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "once" => return Ok(Self::Once),
            "process" => return Ok(Self::Process),
            "forever" => return Ok(Self::Forever),
            _ => {}
        }
        if let Ok(length) = span(text) {
            return Ok(Self::For(length));
        }
        let date = format!("{text}T00:00:00.000Z");
        let whole = text.replace('Z', ".000Z");
        [text, &date, &whole]
            .into_iter()
            .find_map(|text| text.parse().ok())
            .map(Self::Until)
            .ok_or_else(|| {
                format!(
                    "\"{text}\" is no length of time: write once, process, 10m, 8h, 7d, a date such as 2026-12-01 \
                     (UTC, its beginning), or forever"
                )
            })
    }
}

impl From<Reach> for String {
    fn from(reach: Reach) -> Self {
        reach.to_string()
    }
}

impl TryFrom<String> for Reach {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Lifetime> for String {
    fn from(lifetime: Lifetime) -> Self {
        lifetime.to_string()
    }
}

impl TryFrom<String> for Lifetime {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}
