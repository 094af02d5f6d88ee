//! `cargo xtask dist`: one static file that runs on any x86-64 Linux, tried in an empty root.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::elf::is_static;
use crate::shell::{CommandExt, Failure, Outcome};
use crate::workspace::{VERSION, cargo, fresh_folder, is_root, target};

/// Cargo needs it named, or the flag for static linking would reach procedural macros too.
const TARGET: &str = "x86_64-unknown-linux-gnu";
const LARGEST: usize = 25_000_000;

pub(crate) fn dist() -> Outcome {
    cargo()
        .args([
            "build",
            "--release",
            "--package",
            "tidegate",
            "--target",
            TARGET,
        ])
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .succeed()?;
    let built = target().join(TARGET).join("release/tidegate");
    inspect(&built)?;
    let shipped = fresh_folder("dist")?.join(format!("tidegate-{VERSION}-x86_64-linux"));
    copy(&built, &shipped)?;
    try_in_empty_root(&shipped)?;
    eprintln!("{}", shipped.display());
    Ok(())
}

fn inspect(program: &Path) -> Outcome {
    let bytes = fs::read(program).map_err(|error| Failure::at("read", program, &error))?;
    match is_static(&bytes) {
        Some(true) => {}
        Some(false) => {
            return Err(Failure::new(format!(
                "{} asks for a dynamic loader",
                program.display()
            )));
        }
        None => {
            return Err(Failure::new(format!(
                "{} is no x86-64 program",
                program.display()
            )));
        }
    }
    if bytes.len() > LARGEST {
        return Err(Failure::new(format!(
            "{} has {} bytes, more than {LARGEST}",
            program.display(),
            bytes.len()
        )));
    }
    Ok(())
}

/// Commands that need no daemon must work where there is no other file at all.
fn try_in_empty_root(program: &Path) -> Outcome {
    let root = fresh_folder("dist-root")?;
    copy(program, &root.join("tidegate"))?;
    let checked = alone(&root).arg("check").succeed();
    let explained = alone(&root)
        .args([
            "explain",
            "--app",
            "/usr/bin/curl",
            "--to",
            "192.0.2.1",
            "--port",
            "tcp/443",
        ])
        .text();
    let left = entries(&root)?;
    fs::remove_dir_all(&root).map_err(|error| Failure::at("remove", &root, &error))?;
    checked?;
    let explained = explained?;
    eprint!("{explained}");
    if !explained.contains("allow") {
        return Err(Failure::new(
            "`explain` without any rule does not say `allow`",
        ));
    }
    if left != [root.join("tidegate")] {
        return Err(Failure::new(format!(
            "`check` or `explain` left files behind: {left:?}"
        )));
    }
    Ok(())
}

/// The program with `root` as its whole file system.
fn alone(root: &Path) -> Command {
    let mut command = if is_root() {
        let mut chroot = Command::new("chroot");
        chroot.arg(root);
        chroot
    } else {
        let mut unshare = Command::new("unshare");
        unshare.arg("--map-root-user").arg("--root").arg(root);
        unshare
    };
    command
        .arg("/tidegate")
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command
}

fn entries(folder: &Path) -> Outcome<Vec<PathBuf>> {
    fs::read_dir(folder)
        .and_then(|entries| {
            entries
                .map(|entry| entry.map(|entry| entry.path()))
                .collect()
        })
        .map_err(|error| Failure::at("list", folder, &error))
}

fn copy(from: &Path, to: &Path) -> Outcome {
    fs::copy(from, to)
        .map(drop)
        .map_err(|error| Failure::at("write", to, &error))
}
