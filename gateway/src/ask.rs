//! Asking the user about flows for which the policy says `ask`.
//!
//! A worker holds such a flow and puts it on the [`Board`]: one [`Question`](QuestionRecord) for each program, destination,
//! port and protocol, on which all its flows wait, those of other workers too. A client of the control socket answers. The
//! answer is in force at once from the board's memory; one that is to last longer than the gateway is also written as a rule
//! ([`RulesFile`]), and forgotten here once a policy with that rule is in force.
//!
//! Nothing here lets a flow pass by itself: without an answer, without room, without anybody who listens it is refused.

mod answer;
mod board;
mod desk;
mod memory;
mod question;
mod rules_file;
mod topic;

pub use answer::{Answer, AnswerError, Lifetime, Reach};
pub use board::{Board, Joined, Told, Waiter, WorkerId};
pub use desk::{Desk, Given, Kept};
pub use memory::ProcessKey;
pub use question::{QuestionId, QuestionRecord};
pub use rules_file::{ANSWERS_FILE, RulesFile};
pub use topic::{About, Asker, Place, Topic};

#[cfg(test)]
mod tests;
