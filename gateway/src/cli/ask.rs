//! `tidegate ask`: the questions that are open, listed, or one after the other at the terminal.
//!
//! Nothing passes by accident: an answer is a whole word and Enter, Enter alone answers nothing, and what was typed before a
//! question could be read is thrown away. That takes a terminal; programs use `--list --json` and `tidegate answer`.

mod line;

use std::collections::VecDeque;
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::bail;
use rustix::termios::{QueueSelector, tcflush};

use super::answer::{give, outcome};
use super::answering::AskArgs;
use super::daemon::socket;
use crate::ask::QuestionRecord;
use crate::control::client::{Client, ClientError};
use crate::control::protocol::{Reply, Request};
use crate::report::question_text;
use crate::terminal::{self, printable};
use line::{HELP, Said};

/// How long nobody can have read a question.
const UNREAD: Duration = Duration::from_millis(400);

pub(super) fn main(args: AskArgs, control: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    let path = socket(control);
    if args.list {
        return list(&path, &args);
    }
    if !io::stdin().is_terminal() {
        bail!(
            "this asks at a terminal, and standard input is none: use `tidegate ask --list` and `tidegate answer`"
        );
    }
    let (events, inbox) = channel();
    follow(&path, events.clone())?;
    thread::Builder::new()
        .name("keyboard".to_owned())
        .spawn(move || read_lines(&events))?;
    let mut desk = Desk {
        path,
        waiting: VecDeque::new(),
        shown: None,
    };
    desk.serve(&inbox)?;
    Ok(ExitCode::SUCCESS)
}

fn list(path: &Path, args: &AskArgs) -> anyhow::Result<ExitCode> {
    let mut client = Client::connect(path)?;
    client.send(Request::Questions {
        follow: args.follow,
    })?;
    if args.follow {
        client.wait_forever()?;
    }
    while let Some(event) = next(&mut client)? {
        match event {
            Event::Asked(question) if args.json => {
                terminal::print_line(&serde_json::to_string(&question)?)?;
            }
            Event::Asked(question) => terminal::print_text(&question_text(&question))?,
            Event::Closed(_) | Event::Typed(..) | Event::Over(_) => {}
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What happens while questions are asked.
enum Event {
    Asked(Box<QuestionRecord>),
    Closed(u64),
    /// A line, and when it was there.
    Typed(String, Instant),
    /// Nobody asks, or nobody types, any more.
    Over(Option<ClientError>),
}

/// The next the daemon tells of questions; none when it has told all.
fn next(client: &mut Client) -> Result<Option<Event>, ClientError> {
    let reply = match client.next_reply()? {
        Some(Reply::Done) | None => return Ok(None),
        Some(reply) => reply,
    };
    if let Reply::Closed(id) = reply {
        return Ok(Some(Event::Closed(id.0)));
    }
    let Reply::Question(question) = reply else {
        return Err(ClientError::strange(&reply));
    };
    Ok(Some(Event::Asked(question)))
}

fn follow(path: &Path, events: Sender<Event>) -> anyhow::Result<()> {
    let mut client = Client::connect(path)?;
    client.send(Request::Questions { follow: true })?;
    client.wait_forever()?;
    thread::Builder::new()
        .name("questions".to_owned())
        .spawn(move || {
            let over = loop {
                match next(&mut client) {
                    Ok(Some(event)) => {
                        if events.send(event).is_err() {
                            return;
                        }
                    }
                    Ok(None) => break None,
                    Err(error) => break Some(error),
                }
            };
            drop(events.send(Event::Over(over)));
        })?;
    Ok(())
}

fn read_lines(events: &Sender<Event>) {
    for line in io::stdin().lock().lines().map_while(Result::ok) {
        if events.send(Event::Typed(line, Instant::now())).is_err() {
            return;
        }
    }
    drop(events.send(Event::Over(None)));
}

/// Asks one question at a time.
struct Desk {
    path: PathBuf,
    waiting: VecDeque<QuestionRecord>,
    /// The question at the terminal, and since when.
    shown: Option<(QuestionRecord, Instant)>,
}

impl Desk {
    fn serve(&mut self, events: &Receiver<Event>) -> anyhow::Result<()> {
        terminal::print_line("waiting for questions; Ctrl-C ends")?;
        while let Ok(event) = events.recv() {
            match event {
                Event::Asked(question) => self.waiting.push_back(*question),
                Event::Closed(id) => self.close(id)?,
                Event::Typed(line, at) => {
                    if self.hear(&line, at)? == Next::End {
                        return Ok(());
                    }
                }
                Event::Over(None) => return Ok(()),
                Event::Over(Some(error)) => return Err(error.into()),
            }
            self.show_next()?;
        }
        Ok(())
    }

    fn close(&mut self, id: u64) -> io::Result<()> {
        self.waiting.retain(|question| question.id.0 != id);
        if self.shown.take_if(|(shown, _)| shown.id.0 == id).is_some() {
            terminal::print_line(&format!(
                "\nquestion {id} is closed: it was answered, or nobody waits any more"
            ))?;
        }
        Ok(())
    }

    fn show_next(&mut self) -> io::Result<()> {
        if self.shown.is_some() {
            return Ok(());
        }
        let Some(question) = self.waiting.pop_front() else {
            return Ok(());
        };
        terminal::print_text(&question_text(&question))?;
        // What was typed until now was not meant for this one.
        tcflush(io::stdin(), QueueSelector::IFlush)?;
        self.shown = Some((question, Instant::now()));
        prompt()
    }

    fn hear(&mut self, line: &str, at: Instant) -> anyhow::Result<Next> {
        let Some((question, since)) = &self.shown else {
            return Ok(Next::Go);
        };
        if at < *since + UNREAD {
            terminal::print_line("that was typed before the question could be read")?;
            prompt()?;
            return Ok(Next::Go);
        }
        match line::read(line) {
            Ok(Said::Answer(answer)) => {
                let given = Client::connect(&self.path)
                    .and_then(|mut client| give(&mut client, question.id, answer));
                match given {
                    Ok(given) => {
                        self.shown = None;
                        terminal::print_line(&printable(&outcome(&given)))?;
                    }
                    Err(ClientError::Refused(refused)) => {
                        terminal::print_line(&printable(&refused.message))?;
                        prompt()?;
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            Ok(Said::Skip) => self.shown = None,
            Ok(Said::Quit) => return Ok(Next::End),
            Ok(Said::Nothing) => prompt()?,
            Ok(Said::Help) => {
                terminal::print_text(HELP)?;
                prompt()?;
            }
            Err(message) => {
                terminal::print_line(&printable(&message))?;
                prompt()?;
            }
        }
        Ok(Next::Go)
    }
}

/// Whether to go on.
#[derive(PartialEq, Eq)]
enum Next {
    Go,
    End,
}

fn prompt() -> io::Result<()> {
    terminal::print_text("allow or block? (? for help) ")?;
    io::stdout().lock().flush()
}
