//! The layout of the workspace: which crate may use which, where `unsafe` and operating systems may appear, and what the
//! repository's root shows. See `gateway/docs/architecture.md`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// Each crate of the program, and the crates of the workspace that it may use.
const ARROWS: [(&str, &[&str]); 5] = [
    ("tidegate-netstack", &[]),
    ("tidegate-policy", &[]),
    (
        "tidegate-routing",
        &["tidegate-netstack", "tidegate-policy"],
    ),
    (
        "tidegate-platform",
        &["tidegate-netstack", "tidegate-policy", "tidegate-routing"],
    ),
    (
        "tidegate",
        &[
            "tidegate-netstack",
            "tidegate-platform",
            "tidegate-policy",
            "tidegate-routing",
        ],
    ),
];
/// The crates without IO.
const PURE: [&str; 3] = ["netstack", "policy", "routing"];
/// What a visitor of the repository sees, besides names that begin with a dot.
const ROOT: [&str; 11] = [
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "gateway",
    "netstack",
    "platform",
    "policy",
    "routing",
    "tests",
];

#[test]
fn crates_use_only_what_is_to_their_right() -> Result<()> {
    let packages = packages()?;
    for (name, allowed) in ARROWS {
        let used = packages
            .get(name)
            .with_context(|| format!("there is no package {name}"))?;
        for other in used.iter().filter(|other| packages.contains_key(*other)) {
            ensure!(
                allowed.contains(&other.as_str()),
                "{name} uses {other}, which is to its left"
            );
        }
    }
    Ok(())
}

#[test]
fn packages_besides_the_five_live_in_tests() -> Result<()> {
    for package in metadata()?["packages"].as_array().context("no packages")? {
        let (name, manifest) = (text(&package["name"])?, text(&package["manifest_path"])?);
        let in_tests = Path::new(&manifest).starts_with(root().join("tests"));
        let is_of_the_program = ARROWS
            .iter()
            .any(|(of_the_program, _)| *of_the_program == name);
        ensure!(in_tests != is_of_the_program, "{name} is in {manifest}");
    }
    Ok(())
}

#[test]
fn pure_crates_forbid_unsafe_code() -> Result<()> {
    for crate_name in PURE {
        let library = root().join(crate_name).join("src/lib.rs");
        ensure!(
            fs::read_to_string(&library)?.contains("#![forbid(unsafe_code)]"),
            "{} does not",
            library.display()
        );
    }
    Ok(())
}

#[test]
fn pure_crates_have_no_clock_file_socket_thread_or_environment() -> Result<()> {
    let impure = [
        "Instant::now",
        "SystemTime::now",
        "std::fs",
        "std::thread",
        "std::env",
        "std::process",
        "TcpStream",
        "UdpSocket",
    ];
    for crate_name in PURE {
        for (file, line, text) in code(&root().join(crate_name).join("src"))? {
            let found = impure.iter().find(|name| text.contains(*name));
            ensure!(found.is_none(), "{}:{line} has {found:?}", file.display());
        }
    }
    Ok(())
}

#[test]
fn only_platform_knows_operating_systems_and_unsafe_code() -> Result<()> {
    for crate_name in [&PURE[..], &["gateway"]].concat() {
        for (file, line, text) in code(&root().join(crate_name).join("src"))? {
            for banned in [
                "target_os",
                "cfg(unix)",
                "unsafe {",
                "unsafe fn",
                "unsafe impl",
            ] {
                ensure!(
                    !text.contains(banned),
                    "{}:{line} has `{banned}`",
                    file.display()
                );
            }
        }
    }
    Ok(())
}

#[test]
fn the_root_shows_what_it_should_and_nothing_else() -> Result<()> {
    // What git would commit: build products and editors' files are nobody's business.
    let listed = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .context("cannot ask git for the files")?;
    let listed = if listed.status.success() {
        String::from_utf8(listed.stdout)?
    } else {
        plain_listing()?
    };
    let mut shown: Vec<_> = listed
        .lines()
        .filter_map(|path| path.split('/').next())
        .collect();
    shown.retain(|name| !name.starts_with('.') && root().join(name).exists());
    shown.sort_unstable();
    shown.dedup();
    ensure!(shown == ROOT, "the root shows {shown:?}");
    Ok(())
}

#[test]
fn no_module_is_called_after_nothing() -> Result<()> {
    for folder in [
        "netstack", "policy", "routing", "platform", "gateway", "tests",
    ] {
        for file in rust_files(&root().join(folder))? {
            let stem = file
                .file_stem()
                .and_then(|stem| stem.to_str())
                .unwrap_or_default();
            ensure!(
                !["mod", "utils", "util", "helpers", "common", "types"].contains(&stem),
                "{}",
                file.display()
            );
        }
    }
    Ok(())
}

/// The repository's root, without git: an unpacked archive of the sources.
fn plain_listing() -> Result<String> {
    let names =
        fs::read_dir(root())?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let names = names.collect::<Result<Vec<_>>>()?;
    Ok(names
        .into_iter()
        .filter(|name| name != "target")
        .collect::<Vec<_>>()
        .join("\n"))
}

fn root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.ancestors().nth(2).unwrap_or(own).to_path_buf()
}

fn metadata() -> Result<Value> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "metadata",
            "--format-version",
            "1",
            "--no-deps",
            "--offline",
        ])
        .current_dir(root())
        .output()
        .context("cannot start cargo")?;
    ensure!(
        output.status.success(),
        "cargo metadata: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Every package of the workspace with all it depends on, tests included.
fn packages() -> Result<BTreeMap<String, Vec<String>>> {
    let metadata = metadata()?;
    let package = |package: &Value| {
        let dependencies = package["dependencies"]
            .as_array()
            .context("a package without dependencies")?;
        let names = dependencies
            .iter()
            .map(|dependency| text(&dependency["name"]))
            .collect::<Result<_>>()?;
        Ok((text(&package["name"])?, names))
    };
    metadata["packages"]
        .as_array()
        .context("no packages")?
        .iter()
        .map(package)
        .collect()
}

fn text(value: &Value) -> Result<String> {
    Ok(value.as_str().context("expected a string")?.to_owned())
}

/// Lines that the crate is built from, with file and number: no comments, no tests.
fn code(folder: &Path) -> Result<Vec<(PathBuf, usize, String)>> {
    let mut lines = Vec::new();
    for file in rust_files(folder)? {
        if file.components().any(|part| part.as_os_str() == "tests") || file.ends_with("tests.rs") {
            continue;
        }
        let source = fs::read_to_string(&file)?;
        // Tests come last in a file; those in a file of their own are only named.
        let source = source.split("\n#[cfg(test)]\nmod tests {").next();
        let source = source.unwrap_or_default();
        let statements = source
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.trim_start().starts_with("//"));
        lines.extend(statements.map(|(index, line)| (file.clone(), index + 1, line.to_owned())));
    }
    Ok(lines)
}

fn rust_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in
        fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?
    {
        let path = entry?.path();
        if path.is_dir() {
            if path.file_name().is_none_or(|name| name != "target") {
                files.extend(rust_files(&path)?);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(files)
}
