//! `cargo xtask bench`: the bare link, Tidegate and installed peers in one interleaved run.

use crate::packages;
use crate::shell::{CommandExt, Outcome};
use crate::workspace::{Profile, build_gateway, cargo};

pub(crate) fn bench(arguments: &[String]) -> Outcome {
    packages::install_needed()?;
    let gateway = build_gateway(Profile::Release)?;
    cargo()
        .args([
            "run",
            "--release",
            "--quiet",
            "--package",
            "tidegate-bench",
            "--",
        ])
        .args(arguments)
        .env("TIDEGATE", gateway)
        .succeed()
}
