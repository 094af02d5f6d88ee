//! `cargo xtask fuzz`: random input for every parser of outside bytes, by the targets in `tests/fuzz`.
//!
//! Needs cargo-fuzz and a nightly compiler. What a run finds interesting is kept in the fuzz crate's build directory and
//! used again by the next one; the committed corpora are read and never written.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::shell::{CommandExt, Failure, Outcome};
use crate::workspace::{has_program, root};

const USUAL_SECONDS: u32 = 60;
const USAGE: &str = "fuzz [--seconds N] [TARGET..]";
/// One input that takes longer, in seconds, is a finding.
const SLOWEST_INPUT: u32 = 10;
/// The code under test is safe Rust almost everywhere: overflow and bounds checks find more, sooner, than sanitizers.
const BUILD: [&str; 3] = ["--sanitizer", "none", "--debug-assertions"];

pub(crate) fn fuzz(arguments: &[String]) -> Outcome {
    if !is_possible() {
        return Err(Failure::new(
            "fuzzing needs cargo-fuzz and a nightly compiler: \
             `cargo install cargo-fuzz`, `rustup toolchain install nightly`",
        ));
    }
    let (seconds, chosen) = parse(arguments)?;
    let all = targets()?;
    if let Some(unknown) = chosen.iter().find(|target| !all.contains(target)) {
        return Err(Failure::new(format!(
            "there is no fuzz target `{unknown}`: {}",
            all.join(", ")
        )));
    }
    run(seconds, if chosen.is_empty() { &all } else { chosen })
}

/// Every target for this many seconds.
pub(crate) fn every_target(seconds: u32) -> Outcome {
    run(seconds, &targets()?)
}

/// Whether this machine has what fuzzing needs.
pub(crate) fn is_possible() -> bool {
    let nightly = || {
        let mut version = Command::new("rustup");
        version.args(["run", "nightly", "rustc", "--version"]);
        let quiet = version.stdout(Stdio::null()).stderr(Stdio::null());
        quiet.status().is_ok_and(|status| status.success())
    };
    has_program("cargo-fuzz") && nightly()
}

fn run(seconds: u32, targets: &[String]) -> Outcome {
    cargo_fuzz("build").args(BUILD).succeed()?;
    for target in targets {
        let kept = folder().join("target/corpus").join(target);
        fs::create_dir_all(&kept).map_err(|error| Failure::at("make", &kept, &error))?;
        cargo_fuzz("run")
            .args(BUILD)
            .arg(target)
            .arg(kept)
            .arg(folder().join("corpus").join(target))
            .arg("--")
            .arg(format!("-max_total_time={seconds}"))
            .arg(format!("-timeout={SLOWEST_INPUT}"))
            .arg("-print_final_stats=1")
            .succeed()?;
    }
    Ok(())
}

fn cargo_fuzz(subcommand: &str) -> Command {
    // The cargo that runs us is of the usual compiler.
    let mut command = Command::new("rustup");
    command
        .args(["run", "nightly", "cargo", "fuzz", subcommand, "--fuzz-dir"])
        .arg(folder())
        .current_dir(folder())
        .stdin(Stdio::null());
    command
}

fn folder() -> PathBuf {
    root().join("tests/fuzz")
}

fn targets() -> Outcome<Vec<String>> {
    let folder = folder().join("fuzz_targets");
    let failed = |error| Failure::at("read", &folder, &error);
    let mut targets = Vec::new();
    for entry in fs::read_dir(&folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        targets.extend(
            path.file_stem()
                .map(|name| name.to_string_lossy().into_owned()),
        );
    }
    targets.sort_unstable();
    Ok(targets)
}

fn parse(arguments: &[String]) -> Outcome<(u32, &[String])> {
    let (seconds, targets) = match arguments {
        [option, number, rest @ ..] if option == "--seconds" => {
            let seconds = number.parse().ok().filter(|seconds| *seconds > 0);
            let wrong = || Failure::new(format!("`{number}` is no number of seconds: {USAGE}"));
            (seconds.ok_or_else(wrong)?, rest)
        }
        rest => (USUAL_SECONDS, rest),
    };
    match targets.iter().find(|target| target.starts_with('-')) {
        Some(unknown) => Err(Failure::new(format!(
            "unknown argument `{unknown}`: {USAGE}"
        ))),
        None => Ok((seconds, targets)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_come_first_and_the_rest_are_targets() {
        let arguments = ["--seconds", "5", "packets"].map(String::from);
        let (seconds, targets) = parse(&arguments).expect("good arguments");
        assert_eq!((seconds, targets), (5, &["packets".to_owned()][..]));
        for wrong in [
            ["--seconds", "0"],
            ["--seconds", "x"],
            ["packets", "--fast"],
        ] {
            assert!(parse(&wrong.map(String::from)).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn every_target_is_built_and_has_inputs_to_begin_with() {
        let manifest = fs::read_to_string(folder().join("Cargo.toml")).expect("the fuzz crate");
        let targets = targets().expect("its targets");
        assert!(!targets.is_empty());
        for target in targets {
            assert!(
                manifest.contains(&format!("path = \"fuzz_targets/{target}.rs\"")),
                "{target} is not in the manifest"
            );
            let inputs = fs::read_dir(folder().join("corpus").join(&target));
            assert!(
                inputs.is_ok_and(|mut inputs| inputs.next().is_some()),
                "{target} has no corpus"
            );
        }
    }
}
