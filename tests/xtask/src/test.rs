//! `cargo xtask test`: every test, the runner's own summary last.

use std::process::{ExitCode, Stdio};

use crate::fuzz;
use crate::packages;
use crate::shell::{CommandExt, Failure, Outcome, exit_code};
use crate::workspace::{Profile, build_gateway, cargo, has_program};

/// How long each fuzz target runs among the long tests.
const FUZZ_SECONDS: u32 = 10;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Length {
    /// What runs on every change.
    Usual,
    /// The tests marked `#[ignore]` for their length too, and the fuzz targets where they can be built.
    Full,
}

pub(crate) fn test(arguments: &[String]) -> Outcome<ExitCode> {
    let (length, for_the_runner) = parse(arguments)?;
    packages::install_needed()?;
    // Scenarios run the built program; a test build alone would leave it out, or old. One build for both: each set of
    // packages has its own choice of features, for which dependencies would be compiled again.
    cargo()
        .args(["build", "--workspace", "--bins", "--tests"])
        .succeed()?;
    // nextest runs no doc tests. They come first, so that the last line is the summary of the tests.
    if for_the_runner.is_empty() {
        cargo()
            .args(["test", "--workspace", "--doc", "--quiet"])
            .stdin(Stdio::null())
            .succeed()?;
    }
    if length == Length::Full && for_the_runner.is_empty() && fuzz::is_possible() {
        fuzz::every_target(FUZZ_SECONDS)?;
    }
    let mut runner = cargo();
    if length == Length::Full {
        // For those that are about speed.
        runner.env("TIDEGATE_RELEASE", build_gateway(Profile::Release)?);
    }
    if has_program("cargo-nextest") {
        runner.args(["nextest", "run", "--workspace", "--no-fail-fast"]);
        if length == Length::Full {
            runner.args(["--run-ignored", "all"]);
        }
        runner.args(for_the_runner);
    } else {
        runner.args([
            "test",
            "--workspace",
            "--lib",
            "--bins",
            "--tests",
            "--no-fail-fast",
            "--",
        ]);
        if length == Length::Full {
            runner.arg("--include-ignored");
        }
        runner.args(for_the_runner);
    }
    // The status is passed on without a word of ours after the summary.
    Ok(exit_code(runner.stdin(Stdio::null()).status_shown()?))
}

fn parse(arguments: &[String]) -> Outcome<(Length, &[String])> {
    let (length, rest) = match arguments {
        [first, rest @ ..] if first == "--full" => (Length::Full, rest),
        rest => (Length::Usual, rest),
    };
    match rest {
        [] => Ok((length, rest)),
        [dashes, for_the_runner @ ..] if dashes == "--" => Ok((length, for_the_runner)),
        [unknown, ..] => Err(Failure::new(format!(
            "unknown argument `{unknown}`: test [--full] [-- ARG..]"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::{Length, parse};

    #[test]
    fn full_is_recognised_and_what_follows_the_dashes_is_passed_on() {
        let arguments = ["--full", "--", "lab"].map(String::from);
        let (length, for_the_runner) = parse(&arguments).expect("good arguments");
        assert!(length == Length::Full);
        assert_eq!(for_the_runner, ["lab"]);
    }

    #[test]
    fn an_unknown_argument_is_refused() {
        assert!(parse(&["--fast".to_owned()]).is_err());
    }
}
