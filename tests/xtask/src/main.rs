//! The one entry to building, testing and measuring Tidegate: `cargo xtask SUBCOMMAND`.
//!
//! CI and README use the same subcommands. Each lives in a file of its own name; [`shell`] runs the programs they call,
//! [`workspace`] knows where things are, [`packages`] installs what the tests need.
#![expect(
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a command line tool talks to its terminal"
)]

use std::process::ExitCode;

mod bench;
mod check_macos;
mod demo;
mod dist;
mod elf;
mod fuzz;
mod lab;
mod lint;
mod packages;
mod run;
mod shell;
mod test;
mod workspace;

use shell::{Failure, Outcome};

const USAGE: &str = "\
usage: cargo xtask SUBCOMMAND

  run [-- COMMAND ARG..]    build the gateway and run COMMAND through it (`tidegate exec`);
                            without COMMAND, a demonstration that needs no internet
  test [--full] [-- ARG..]  install what the tests need (as root), build, run every test;
                            --full adds the long ones (#[ignore]d), some of which run the
                            release build, and, where cargo-fuzz is, a moment of fuzzing;
                            ARGs go to the test runner
  fuzz [--seconds N] [TARGET..]
                            random input for every parser of outside bytes, 60 seconds each
  lint                      format, clippy, rustdoc, licences and sources, macOS
  check-macos               type-check and lint for aarch64-apple-darwin
  bench [ARG..]             compare the bare link, Tidegate and installed peers (as root)
  bench --install-peers     install peers to compare with, into the build directory (as root)
  lab [--delay MS] [--loss PERCENT] [COMMAND ARG..]
                            a shell, or COMMAND, on the host of a private network (as root)
  dist                      one static x86-64 file in target/dist, tried in an empty root
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&arguments) {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("xtask: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(arguments: &[String]) -> Outcome<ExitCode> {
    let Some((subcommand, rest)) = arguments.split_first() else {
        return Err(Failure::new(USAGE));
    };
    match subcommand.as_str() {
        "run" => return run::run(rest),
        "test" => return test::test(rest),
        "lab" => return lab::lab(rest),
        demo::CLIENT => return Ok(demo::client(rest)),
        "bench" => bench::bench(rest)?,
        "fuzz" => fuzz::fuzz(rest)?,
        "lint" => no_arguments(rest).and_then(|()| lint::lint())?,
        "check-macos" => no_arguments(rest).and_then(|()| check_macos::check_macos())?,
        "dist" => no_arguments(rest).and_then(|()| dist::dist())?,
        "help" | "--help" | "-h" => print!("{USAGE}"),
        unknown => {
            return Err(Failure::new(format!(
                "there is no subcommand `{unknown}`\n{USAGE}"
            )));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn no_arguments(rest: &[String]) -> Outcome {
    match rest {
        [] => Ok(()),
        [first, ..] => Err(Failure::new(format!(
            "this subcommand takes no argument, found `{first}`\n{USAGE}"
        ))),
    }
}
