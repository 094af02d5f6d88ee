//! The command line: what each command takes, what it prints, and its exit status.
//!
//! Results go to standard output, everything else to standard error. Exit status: 0 done; 1 not done, or problems were
//! found; 2 the command line was wrong. `exec` gives its command's status, and statuses of its own as `env` and shells
//! do: 123 when `--deny-all` refused something, 125 when the gateway failed, 126 when the command cannot be run, 127 when there is none, 128+N for signal N.

#[cfg(capture)]
mod answer;
mod answering;
mod arguments;
#[cfg(capture)]
mod ask;
mod audit;
#[cfg(capture)]
mod capture;
mod check;
#[cfg(capture)]
mod confirm;
#[cfg(capture)]
mod daemon;
mod explain;
mod export;
mod files;
#[cfg(capture)]
mod flows;
mod fmt;
mod import;
mod lists;
mod logging;
#[cfg(capture)]
mod profile;
#[cfg(capture)]
mod quick;
#[cfg(capture)]
mod recover;
mod simulate;
#[cfg(capture)]
mod status;

use std::ffi::OsString;
use std::io;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
#[cfg(capture)]
use tidegate_policy::Verdict;

use crate::control::client::ClientError;
use crate::terminal;
use arguments::{Cli, Command};

#[cfg(capture)]
pub use capture::{ExecArgs, RunArgs};

/// First argument of the child that `exec` starts inside its namespaces; not for people.
pub const CONTAIN: &str = "__contain";

/// Exit status of `exec` when the gateway failed before or beside the command.
pub const EXEC_FAILED: u8 = 125;

/// Exit status of `exec --deny-all` when something was refused: what the command made of it is not to be trusted.
pub const EXEC_REFUSED: u8 = 123;

/// Runs the program.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    #[cfg(capture)]
    if arguments.get(1).is_some_and(|first| first == CONTAIN) {
        return finish(
            crate::exec::contain(arguments.into_iter().skip(2)),
            EXEC_FAILED,
        );
    }
    match Cli::try_parse_from(arguments) {
        Ok(cli) => dispatch(cli),
        // Help that was asked for goes to standard output with status 0, complaints to standard error with status 2.
        Err(error) => {
            let status = u8::try_from(error.exit_code()).unwrap_or(2);
            let printed = error.print();
            ExitCode::from(if printed.is_ok() { status } else { 1 })
        }
    }
}

fn dispatch(cli: Cli) -> ExitCode {
    #[cfg(capture)]
    let control = cli.control;
    let Some(command) = cli.command else {
        return finish(print_help(), 1);
    };
    logging::init(&command);
    match command {
        #[cfg(capture)]
        Command::Run(args) => finish(crate::run::main(RunArgs { control, ..args }), 1),
        #[cfg(capture)]
        Command::Exec(args) => finish(crate::exec::main(ExecArgs { control, ..args }), EXEC_FAILED),
        #[cfg(capture)]
        Command::Confirm => finish(confirm::main(control), 1),
        #[cfg(capture)]
        Command::Block(args) => finish(quick::main(args, Verdict::Block, control), 1),
        #[cfg(capture)]
        Command::Allow(args) => finish(quick::main(args, Verdict::Allow, control), 1),
        #[cfg(capture)]
        Command::Undo(args) => finish(quick::undo(&args, control), 1),
        Command::Check(args) => finish(check::main(args), 1),
        Command::Explain(args) => finish(explain::main(args), 1),
        Command::Simulate(args) => finish(simulate::main(args), 1),
        Command::Fmt(args) => finish(fmt::main(&args), 1),
        Command::Import(args) => finish(import::main(args), 1),
        Command::Export(args) => finish(export::main(&args), 1),
        #[cfg(capture)]
        Command::Flows(args) => finish(flows::main(args, control), 1),
        #[cfg(capture)]
        Command::Profile(args) => finish(profile::main(args, control), 1),
        #[cfg(capture)]
        Command::Status(args) => finish(status::main(args, control), 1),
        #[cfg(capture)]
        Command::Ask(args) => finish(ask::main(args, control), 1),
        #[cfg(capture)]
        Command::Answer(args) => finish(answer::main(args, control), 1),
        Command::Audit(args) => finish(audit::main(args), 1),
        #[cfg(capture)]
        Command::Lists(args) => finish(lists::main(args, control), 1),
        #[cfg(not(capture))]
        Command::Lists(args) => finish(lists::main(args, None), 1),
        #[cfg(capture)]
        Command::Recover => finish(recover::main(), 1),
    }
}

fn print_help() -> anyhow::Result<ExitCode> {
    terminal::print_line(&Cli::command().render_help())?;
    Ok(ExitCode::SUCCESS)
}

/// The exit status, after saying what went wrong.
fn finish(result: anyhow::Result<ExitCode>, failed: u8) -> ExitCode {
    let error = match result {
        Ok(status) => return status,
        Err(error) => error,
    };
    // The reader of our output has seen enough: `tidegate flows | head`.
    let closed = error.downcast_ref::<io::Error>().map(io::Error::kind);
    if closed == Some(io::ErrorKind::BrokenPipe) {
        return ExitCode::SUCCESS;
    }
    terminal::complain(&error_text(&error));
    ExitCode::from(failed)
}

/// What went wrong, then the causes that it does not name itself.
fn error_text(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    if error.is::<ClientError>() {
        return text;
    }
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

#[cfg(test)]
mod tests;
