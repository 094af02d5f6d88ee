//! `cargo xtask lint`: everything that is checked without running the program.

use std::path::PathBuf;
use std::process::Stdio;

use crate::check_macos::check_macos;
use crate::shell::{CommandExt, Outcome};
use crate::workspace::{cargo, has_program, target};

pub(crate) fn lint() -> Outcome {
    cargo().args(["fmt", "--all", "--check"]).succeed()?;
    cargo()
        .args([
            "clippy",
            "--workspace",
            "--all-targets",
            "--",
            "--deny",
            "warnings",
        ])
        .succeed()?;
    cargo()
        .args(["doc", "--workspace", "--no-deps"])
        .env("RUSTDOCFLAGS", "--deny warnings")
        .succeed()?;
    deny()?;
    check_macos()
}

/// Licences, banned crates, duplicates and foreign sources, by `deny.toml`.
///
/// The fourth check, `advisories`, fetches a git repository of known vulnerabilities. CI reaches package registries only,
/// so it is left to a developer: `cargo deny check advisories`.
fn deny() -> Outcome {
    let program = deny_program()?;
    let mut deny = cargo();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(program.into_iter().chain(std::env::split_paths(&path)));
    if let Ok(path) = path {
        deny.env("PATH", path);
    }
    deny.args([
        "deny",
        "--workspace",
        "check",
        "bans",
        "licenses",
        "sources",
    ])
    .succeed()
}

/// The folder of our own `cargo-deny`, built when there is none at all.
fn deny_program() -> Outcome<Option<PathBuf>> {
    if has_program("cargo-deny") {
        return Ok(None);
    }
    let tools = target().join("tools");
    if !tools.join("bin/cargo-deny").is_file() {
        cargo()
            // Unoptimised: it runs for a second, and would be optimised for minutes.
            .args([
                "install",
                "--locked",
                "--quiet",
                "--debug",
                "cargo-deny",
                "--root",
            ])
            .arg(&tools)
            .stdin(Stdio::null())
            .succeed()?;
    }
    Ok(Some(tools.join("bin")))
}
