//! `cargo xtask check-macos`: type-checks and lints for aarch64-apple-darwin, on Linux.
//!
//! The standard library for that target is compiled from source, which needs a compiler and a source tree of one
//! version. Debian has such a pair (`rustc-web`, `rust-web-src`); it is unpacked into the build directory, never
//! installed, so it cannot get in the way of the real toolchain. Nothing is linked or run: a check needs no Apple SDK.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::packages::apt_get;
use crate::shell::{CommandExt, Failure, Outcome};
use crate::workspace::{is_root, root, target};

const TARGET: &str = "aarch64-apple-darwin";
const PACKAGES: [&str; 4] = ["rustc-web", "rust-web-src", "cargo-web", "rust-web-clippy"];

pub(crate) fn check_macos() -> Outcome {
    let toolchain = Toolchain::present_or_unpacked()?;
    let packages = [
        "tidegate",
        "tidegate-platform",
        "tidegate-routing",
        "tidegate-policy",
        "tidegate-netstack",
    ];
    let mut clippy = toolchain.cargo();
    clippy.args(["clippy", "-Zbuild-std=std,panic_abort", "--target", TARGET]);
    for package in packages {
        clippy.args(["--package", package]);
    }
    // Without tests: those of the pure crates are the same on every system, the others drive Linux programs.
    clippy.args(["--", "--deny", "warnings"]).succeed()
}

/// The unpacked Debian compiler.
struct Toolchain {
    folder: PathBuf,
}

impl Toolchain {
    fn present_or_unpacked() -> Outcome<Self> {
        let toolchain = Self {
            folder: target().join("macos-toolchain"),
        };
        let complete = toolchain.folder.join("complete");
        if !complete.is_file() {
            toolchain.unpack()?;
            toolchain.write_stubs()?;
            write(&complete, "")?;
        }
        Ok(toolchain)
    }

    fn unpack(&self) -> Outcome {
        if !is_root() {
            let names = PACKAGES.join(" ");
            return Err(Failure::new(format!(
                "apt-get downloads {names} for root only: run this once as root"
            )));
        }
        let archives = self.folder.join("archives");
        // apt keeps unfinished downloads there, and does not make the directory itself.
        let partial = archives.join("partial");
        fs::create_dir_all(&partial).map_err(|error| Failure::at("create", &partial, &error))?;
        apt_get().args(["update", "--quiet"]).succeed()?;
        apt_get()
            .args([
                "install",
                "--quiet",
                "--yes",
                "--download-only",
                "--reinstall",
                "--no-install-recommends",
            ])
            .arg(format!(
                "--option=Dir::Cache::archives={}",
                archives.display()
            ))
            .args(PACKAGES)
            .succeed()?;
        for entry in
            fs::read_dir(&archives).map_err(|error| Failure::at("list", &archives, &error))?
        {
            let package = entry
                .map_err(|error| Failure::at("list", &archives, &error))?
                .path();
            if package
                .extension()
                .is_some_and(|extension| extension == "deb")
            {
                Command::new("dpkg-deb")
                    .arg("--extract")
                    .arg(&package)
                    .arg(self.root())
                    .succeed()?;
            }
        }
        Ok(())
    }

    /// A C compiler and an archiver that only leave a file behind: build scripts call them for aarch64, and a check
    /// never looks at what they made.
    fn write_stubs(&self) -> Outcome {
        write(
            &self.stub_compiler(),
            "#!/bin/sh\nwhile [ $# -gt 0 ]; do [ \"$1\" = -o ] && : >\"$2\"; shift; done\nexit 0\n",
        )?;
        write(
            &self.stub_archiver(),
            "#!/bin/sh\nfor f; do case $f in *.a) printf '!<arch>\\n' >\"$f\";; esac; done\nexit 0\n",
        )
    }

    /// The unpacked cargo, which finds the unpacked compiler, library source and clippy.
    fn cargo(&self) -> Command {
        let binaries = self.root().join("usr/bin");
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut searched = binaries.clone().into_os_string();
        searched.push(":");
        searched.push(path);
        let mut cargo = Command::new(binaries.join("cargo"));
        cargo
            .current_dir(root())
            .env("PATH", searched)
            .env(
                "LD_LIBRARY_PATH",
                self.root().join("usr/lib/x86_64-linux-gnu"),
            )
            .env("RUSTC", binaries.join("rustc"))
            // -Zbuild-std is for nightly compilers; this one is told to behave as one.
            .env("RUSTC_BOOTSTRAP", "1")
            .env("CARGO_TARGET_DIR", target().join("macos"))
            .env("CC_aarch64_apple_darwin", self.stub_compiler())
            .env("AR_aarch64_apple_darwin", self.stub_archiver());
        for set_by_the_calling_cargo in ["CARGO", "RUSTUP_TOOLCHAIN", "RUSTC_WRAPPER", "RUSTFLAGS"]
        {
            cargo.env_remove(set_by_the_calling_cargo);
        }
        cargo
    }

    fn root(&self) -> PathBuf {
        self.folder.join("root")
    }

    fn stub_compiler(&self) -> PathBuf {
        self.folder.join("cc")
    }

    fn stub_archiver(&self) -> PathBuf {
        self.folder.join("ar")
    }
}

fn write(path: &Path, text: &str) -> Outcome {
    fs::write(path, text)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o755)))
        .map_err(|error| Failure::at("write", path, &error))
}
