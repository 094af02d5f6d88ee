//! Whether the record is as it was written.

use std::fmt;
use std::path::Path;

use super::chain::{Hash, split};
use super::change::Record;
use super::file::{AuditError, each_line};
use super::head::Head;

/// What was found.
#[derive(Debug, Default)]
pub struct Verified {
    /// Lines of the file.
    pub lines: u64,
    /// The hash of the last line.
    pub last: Hash,
    /// What is wrong, in the order of the file.
    pub faults: Vec<Fault>,
}

/// Something that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// This line is not what it was, or the one before it is not.
    Broken {
        /// Counted from 1.
        line: u64,
    },
    /// After this line others are missing, or there are too many.
    OutOfOrder {
        /// Counted from 1.
        line: u64,
        /// The number that its record has.
        number: u64,
        /// The number that belongs there.
        expected: u64,
    },
    /// The file once had more records than now.
    CutOff {
        /// How many it has.
        records: u64,
        /// How many it had.
        once: u64,
    },
    /// The file that says how long the record is does not fit it, or cannot be read.
    Head(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken { line } => write!(
                f,
                "line {line}: it, or the line before it, is not what was written"
            ),
            Self::OutOfOrder {
                line,
                number,
                expected,
            } => write!(
                f,
                "line {line}: record {number} stands where record {expected} belongs"
            ),
            Self::CutOff { records, once } => {
                write!(f, "the end is missing: {records} of {once} records")
            }
            Self::Head(why) => write!(f, "audit.head: {why}"),
        }
    }
}

/// Goes through the record in `folder`.
///
/// # Errors
/// It cannot be read. That there is none is an empty one, unless `audit.head` says that there was more.
pub fn verify(folder: &Path) -> Result<Verified, AuditError> {
    let mut found = Verified::default();
    let mut number = 0;
    // The hash after each number that the head may name: the last one, and the one before it.
    let mut ends = [Head::default(); 2];
    each_line(folder, |line| {
        found.lines += 1;
        let Some((hash, json)) = split(line) else {
            found.faults.push(Fault::Broken { line: found.lines });
            return;
        };
        if found.last.then(json) != hash {
            found.faults.push(Fault::Broken { line: found.lines });
        }
        found.last = hash;
        number += 1;
        let claimed = serde_json::from_slice(json).map(|record: Record| record.number);
        if let Ok(claimed) = claimed
            && claimed != number
        {
            found.faults.push(Fault::OutOfOrder {
                line: found.lines,
                number: claimed,
                expected: number,
            });
            number = claimed;
        }
        ends = [ends[1], Head { number, hash }];
    })?;
    found.faults.extend(compare(folder, ends));
    Ok(found)
}

/// The head may lag one record behind: whoever wrote that was interrupted.
fn compare(folder: &Path, [before, last]: [Head; 2]) -> Option<Fault> {
    match Head::read(folder) {
        Ok(Some(head)) if head == last || head == before => None,
        Ok(Some(head)) if head.number > last.number => Some(Fault::CutOff {
            records: last.number,
            once: head.number,
        }),
        Ok(Some(head)) => Some(Fault::Head(format!(
            "it names record {} and another hash than the record has",
            head.number
        ))),
        Ok(None) if last.number <= 1 => None,
        Ok(None) => Some(Fault::Head("it is missing".to_owned())),
        Err(error) => Some(Fault::Head(error.to_string())),
    }
}
