//! `tidegate answer`: one answer to one question.

use std::path::PathBuf;
use std::process::ExitCode;

use super::answering::AnswerArgs;
use super::daemon::socket;
use crate::ask::{Answer, Given, Kept, QuestionId};
use crate::control::client::{Client, ClientError};
use crate::control::protocol::{Reply, Request};
use crate::terminal::{self, printable};

pub(super) fn main(args: AnswerArgs, control: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    let answer = Answer {
        verdict: args.verdict.into(),
        reach: args.scope,
        lifetime: args.lifetime,
    };
    let question = QuestionId(args.question);
    let given = give(&mut Client::connect(&socket(control))?, question, answer)?;
    terminal::print_line(&printable(&outcome(&given)))?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn give(
    client: &mut Client,
    question: QuestionId,
    answer: Answer,
) -> Result<Given, ClientError> {
    let reply = client.ask(Request::Answer { question, answer })?;
    let Reply::Answered(given) = reply else {
        return Err(ClientError::strange(&reply));
    };
    Ok(given)
}

/// What became of an answer, in a sentence.
pub(super) fn outcome(given: &Given) -> String {
    let flows = match given.flows {
        1 => "1 flow".to_owned(),
        flows => format!("{flows} flows"),
    };
    let kept = match &given.kept {
        Kept::Once => "not kept for others".to_owned(),
        Kept::Memory => "kept until its time is over, at most until tidegate ends".to_owned(),
        Kept::File(path) => format!("kept as a rule in {}", path.display()),
        Kept::NotWritten(why) => format!("kept until tidegate ends only: {why}"),
    };
    format!("question {}: in force for {flows}; {kept}", given.question)
}
