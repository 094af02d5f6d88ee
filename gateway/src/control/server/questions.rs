//! Questions and answers over the control socket.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use super::Service;
use super::connection::{Connection, Hangup};
use crate::ask::{Answer, QuestionId};
use crate::audit::Author;
use crate::control::protocol::Reply;
use crate::shared::Shared;

/// A thread that has flows judged again when an answer's time is over; ends when dropped.
#[derive(Debug)]
pub(super) struct AnswerEnds {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl AnswerEnds {
    pub(super) fn watch(shared: &Arc<Shared>) -> io::Result<Self> {
        let watched = Arc::clone(shared);
        let thread = thread::Builder::new()
            .name("answer-ends".to_owned())
            .spawn(move || watched.board.watch_ends(|| watched.judge_again()))?;
        Ok(Self {
            shared: Arc::clone(shared),
            thread: Some(thread),
        })
    }
}

impl Drop for AnswerEnds {
    fn drop(&mut self) {
        self.shared.board.close();
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            tracing::error!("the thread that waits for the end of answers panicked");
        }
    }
}

impl Service {
    pub(super) async fn answer_questions(
        &self,
        client: &mut Connection,
        follow: bool,
    ) -> Result<(), Hangup> {
        // Followed first: a question between the two steps is seen by the next look.
        let mut changes = self.shared.board.follow();
        let mut told = BTreeSet::new();
        loop {
            self.tell_questions(client, &mut told).await?;
            if !follow {
                return client.send(&Reply::Done).await;
            }
            client.flush().await?;
            tokio::select! {
                changed = changes.changed() => if changed.is_err() {
                    return Ok(());
                },
                hangup = client.hung_up() => return Err(hangup),
            }
        }
    }

    /// What the client does not know yet: of the questions that were open at one moment, never more.
    async fn tell_questions(
        &self,
        client: &mut Connection,
        told: &mut BTreeSet<QuestionId>,
    ) -> Result<(), Hangup> {
        let questions = self.shared.board.questions();
        let open: BTreeSet<_> = questions.iter().map(|question| question.id).collect();
        for closed in told.difference(&open) {
            client.queue(&Reply::Closed(*closed)).await?;
        }
        for question in questions {
            if !told.contains(&question.id) {
                client.queue(&Reply::Question(Box::new(question))).await?;
            }
        }
        *told = open;
        Ok(())
    }

    pub(super) async fn take_answer(
        &self,
        client: &mut Connection,
        question: QuestionId,
        answer: Answer,
        author: Author,
    ) -> Result<(), Hangup> {
        let desk = Arc::clone(&self.desk);
        let given = tokio::task::spawn_blocking(move || desk.give(question, &answer, author)).await;
        match given {
            Ok(Ok(given)) => client.send(&Reply::Answered(given)).await,
            Ok(Err(error)) => client.send_failure(error.to_string()).await,
            Err(_) => {
                let cut_short = "the answer was cut short: see the log";
                client.send_failure(cut_short.to_owned()).await
            }
        }
    }
}
