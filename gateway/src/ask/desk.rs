//! Where answers are given: put in force, written down, and recorded as a change.

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tidegate_policy::Verdict;

use super::answer::{Answer, AnswerError};
use super::memory::Remembered;
use super::question::QuestionId;
use super::rules_file::{RulesFile, WriteError, can_say};
use crate::audit::{Author, Change, Subject};
use crate::shared::Shared;

/// Takes answers.
#[derive(Debug)]
pub struct Desk {
    shared: Arc<Shared>,
    /// Absent where there are no files.
    file: Option<RulesFile>,
}

/// What became of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Given {
    /// The question.
    pub question: QuestionId,
    /// Flows that were waiting for it.
    pub flows: usize,
    /// For how long it is known.
    pub kept: Kept,
}

/// For how long an answer is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kept {
    /// It was for the flows that waited.
    Once,
    /// As long as it is to hold; not longer than the gateway runs.
    Memory,
    /// It is a rule in this file.
    File(PathBuf),
    /// It was to be a rule and could not be written: it is forgotten when the gateway ends.
    NotWritten(String),
}

impl Desk {
    /// Writes rules to `file`, if there is to be one.
    pub fn new(shared: Arc<Shared>, file: Option<RulesFile>) -> Self {
        Self { shared, file }
    }

    fn write(&self, answer: &Remembered, author: &Author) -> Result<PathBuf, WriteError> {
        let file = self.file.as_ref().ok_or(WriteError::NoFile)?;
        file.add(answer, author)
    }

    /// Gives an answer. It is in force when this returns, for the flows that wait and for those to come.
    ///
    /// # Errors
    /// There is no such question, or the answer does not fit it.
    pub fn give(
        &self,
        question: QuestionId,
        answer: &Answer,
        author: Author,
    ) -> Result<Given, AnswerError> {
        let board = &self.shared.board;
        let settled = board.answer(question, answer)?;
        let kept = match &settled.remembered {
            None => Kept::Once,
            Some(remembered) if !can_say(&remembered.until) => Kept::Memory,
            Some(remembered) => match self.write(remembered, &author) {
                Ok(path) => {
                    board.note_written(remembered);
                    Kept::File(path)
                }
                Err(error) => {
                    tracing::warn!("an answer is kept in memory only: {error}");
                    Kept::NotWritten(error.to_string())
                }
            },
        };
        // Live flows that an earlier answer let pass once.
        if settled.remembered.is_some() && answer.verdict == Verdict::Block {
            self.shared.judge_again();
        }
        let topic = &settled.topic;
        let after = format!(
            "{} {} to {}{}: scope {}, lifetime {}",
            answer.verdict,
            topic.asker,
            topic.place,
            if topic.is_incoming { " (incoming)" } else { "" },
            answer.reach,
            answer.lifetime,
        );
        self.shared.note_change(Change {
            author,
            subject: Subject::Answer,
            before: None,
            after: Some(after),
        });
        Ok(Given {
            question,
            flows: settled.flows,
            kept,
        })
    }
}
