//! Where things are: the repository, its build directory, and cargo.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::shell::{CommandExt, Failure, Outcome};

/// The version that all packages share.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    let own_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    own_folder
        .ancestors()
        .nth(2)
        .unwrap_or(own_folder)
        .to_path_buf()
}

/// The build directory, as cargo would choose it.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| root().join("target"), |chosen| root().join(chosen))
}

/// The cargo that runs this program, working in the repository's root.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root());
    cargo
}

/// How the gateway is compiled.
#[derive(Clone, Copy)]
pub(crate) enum Profile {
    /// Quick to build.
    Dev,
    /// Quick to run.
    Release,
}

/// Builds the gateway and says where it is.
pub(crate) fn build_gateway(profile: Profile) -> Outcome<PathBuf> {
    let mut build = cargo();
    build.args(["build", "--package", "tidegate"]);
    let folder = match profile {
        Profile::Dev => "debug",
        Profile::Release => {
            build.arg("--release");
            "release"
        }
    };
    build.succeed()?;
    Ok(target().join(folder).join("tidegate"))
}

/// An empty directory of this name in the build directory.
pub(crate) fn fresh_folder(name: &str) -> Outcome<PathBuf> {
    let folder = target().join(name);
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(|error| Failure::at("remove", &folder, &error))?;
    }
    fs::create_dir_all(&folder).map_err(|error| Failure::at("create", &folder, &error))?;
    Ok(folder)
}

/// Whether this process is root's.
pub(crate) fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

/// Whether a program of this name is in `PATH`.
pub(crate) fn has_program(name: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(name).is_file()))
}
