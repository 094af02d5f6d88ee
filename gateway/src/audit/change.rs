//! What a record says.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::record::Timestamp;

/// Longest text of `before` and `after` each, in bytes; what is longer is cut, and says so.
const LONGEST: usize = 16 << 10;

/// One change, before it has its place in the record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Who changed it.
    pub author: Author,
    /// What was changed.
    pub subject: Subject,
    /// What it was; absent where there was nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// What it is now; absent where it was taken away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// Who changed something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Author {
    /// A process of this user, by the control socket.
    Client {
        /// Its user.
        uid: u32,
        /// Its process id, where the system tells it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pid: Option<i32>,
    },
    /// Whoever changed a file: its owner now.
    File {
        /// Owner of the main configuration file, where there is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        uid: Option<u32>,
    },
    /// Whoever sent SIGHUP: only root and our own user can.
    Signal,
    /// The gateway itself: at its start, or because a time has come.
    Gateway,
}

/// What was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Subject {
    /// A policy came into force.
    Policy,
    /// A question was answered.
    Answer,
    /// A setting that is not in a rule file, by its name.
    Setting(String),
    /// A list, by its name.
    List(String),
}

/// A change at its place in the record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Counted from 1.
    pub number: u64,
    /// When it was written.
    pub at: Timestamp,
    /// The change.
    #[serde(flatten)]
    pub change: Change,
}

impl Change {
    /// The change with texts of bounded length.
    pub(super) fn shortened(mut self) -> Self {
        for text in [&mut self.before, &mut self.after].into_iter().flatten() {
            shorten(text);
        }
        self
    }
}

fn shorten(text: &mut String) {
    if text.len() <= LONGEST {
        return;
    }
    let whole = text.len();
    let end = (0..=LONGEST)
        .rev()
        .find(|end| text.is_char_boundary(*end))
        .unwrap_or(0);
    text.truncate(end);
    text.push_str(&format!("\n… cut: {whole} bytes in all"));
}

impl fmt::Display for Author {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client {
                uid,
                pid: Some(pid),
            } => write!(f, "user {uid} (process {pid})"),
            Self::Client { uid, pid: None } => write!(f, "user {uid}"),
            Self::File { uid: Some(uid) } => write!(f, "a file of user {uid}"),
            Self::File { uid: None } => f.write_str("a file"),
            Self::Signal => f.write_str("SIGHUP"),
            Self::Gateway => f.write_str("tidegate"),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Policy => f.write_str("policy"),
            Self::Answer => f.write_str("answer"),
            Self::Setting(name) => write!(f, "setting {name}"),
            Self::List(name) => write!(f, "list {name}"),
        }
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Change {
            author,
            subject,
            before,
            after,
        } = &self.change;
        write!(f, "{} {} {subject} by {author}", self.number, self.at)?;
        for (sign, text) in [('-', before), ('+', after)] {
            for line in text.iter().flat_map(|text| text.lines()) {
                write!(f, "\n  {sign} {line}")?;
            }
        }
        Ok(())
    }
}
