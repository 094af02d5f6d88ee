//! The file tree inside: nothing in it that leads round the network namespace.
//!
//! The order matters. First everything that stays is opened, then directories are covered, then what stays is bound back
//! in, then single sockets are covered. A path is never followed after it could have been covered.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountFlags, MountPropagationFlags};

use crate::namespaces::{ContainConfig, ContainReport, GATEWAY_V4, unix_sockets};

/// What programs on NixOS need below `/run`: the system's own programs and drivers.
const SYSTEM_BELOW_RUN: [&str; 4] = [
    "/run/current-system",
    "/run/booted-system",
    "/run/wrappers",
    "/run/opengl-driver",
];

/// Something that stays visible below a private directory.
#[derive(Debug)]
struct Kept {
    path: PathBuf,
    source: OwnedFd,
    is_directory: bool,
}

/// A failure and what it was about.
pub(super) type Failure = (String, io::Error);

fn about<'a>(path: &'a Path, what: &'a str) -> impl FnOnce(io::Error) -> Failure + 'a {
    move |error| (format!("{what} {}", path.display()), error)
}

/// Hides the host's UNIX sockets, and gives the command a resolver configuration that names the gateway. `socket_table`
/// is the text of `/proc/net/unix` of the network namespace that was left.
pub(super) fn isolate(
    config: &ContainConfig,
    program: Option<&Path>,
    socket_table: &[u8],
    report: &mut ContainReport,
) -> Result<(), Failure> {
    let root = Path::new("/");
    rustix::mount::mount_change(
        root,
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )
    .map_err(|error| about(root, "making mounts private below")(error.into()))?;
    let private = private_directories();
    let resolver = resolver_file();
    let kept = open_kept(config, program, &private)?;
    let sockets = reachable_sockets(config, socket_table, &private);

    for directory in &private {
        cover_directory(directory)?;
    }
    recreate_expected(&private);
    for kept in &kept {
        bind_back(kept)?;
    }
    for socket in sockets {
        match bind(Path::new("/dev/null"), &socket) {
            Ok(()) => report.covered.push(socket),
            Err(error) => report.warnings.push(format!(
                "socket {} stays reachable: {error}",
                socket.display()
            )),
        }
    }
    if let Err((what, error)) = write_resolver(&resolver, config, &private) {
        report
            .warnings
            .push(format!("names may not resolve inside: {what}: {error}"));
    }
    // The working directory is held by the mount that is now covered.
    if let Ok(here) = std::env::current_dir() {
        std::env::set_current_dir(&here).map_err(about(&here, "entering"))?;
    }
    report.private = private;
    Ok(())
}

/// Directories where programs put sockets: those of them that exist, none inside another through a link.
fn private_directories() -> Vec<PathBuf> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let fixed = ["/tmp", "/run", "/var/run"].map(PathBuf::from);
    let mut directories: Vec<PathBuf> = Vec::new();
    for directory in fixed.into_iter().chain(runtime) {
        let Ok(canonical) = directory.canonicalize() else {
            continue;
        };
        let covered = directories.iter().any(|other| canonical.starts_with(other));
        if canonical.is_dir() && canonical != Path::new("/") && !covered {
            directories.push(canonical);
        }
    }
    directories
}

fn is_below(path: &Path, directories: &[PathBuf]) -> bool {
    directories
        .iter()
        .any(|directory| path.starts_with(directory) && path != directory)
}

/// Opens what stays: named sockets, the working directory, the program itself, and what the system needs.
fn open_kept(
    config: &ContainConfig,
    program: Option<&Path>,
    private: &[PathBuf],
) -> Result<Vec<Kept>, Failure> {
    let mut kept: Vec<Kept> = Vec::new();
    let here = std::env::current_dir().ok();
    let system = SYSTEM_BELOW_RUN.iter().map(Path::new);
    for path in system.chain(here.as_deref()).chain(program) {
        if let Ok(path) = path.canonicalize()
            && is_hidden(&path, private, &kept)
            && let Ok(open) = open_path(path)
        {
            kept.push(open);
        }
    }
    for socket in &config.sockets {
        let path = socket
            .canonicalize()
            .map_err(about(socket, "opening the socket"))?;
        let is_socket = fs::metadata(&path).is_ok_and(|metadata| metadata.file_type().is_socket());
        if !is_socket {
            let error = io::Error::new(io::ErrorKind::InvalidInput, "it is not a socket");
            return Err(about(socket, "letting in")(error));
        }
        // Under both names: the one that was given may lie in a private directory and lead out of it.
        for path in [path, socket.clone()] {
            if is_hidden(&path, private, &kept) {
                kept.push(open_path(path).map_err(about(socket, "opening the socket"))?);
            }
        }
    }
    Ok(kept)
}

/// Whether a path would not be seen below the private directories.
fn is_hidden(path: &Path, private: &[PathBuf], kept: &[Kept]) -> bool {
    is_below(path, private) && !kept.iter().any(|kept| path.starts_with(&kept.path))
}

fn open_path(path: PathBuf) -> io::Result<Kept> {
    let source = rustix::fs::open(&path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let is_directory = fs::metadata(&path)?.is_dir();
    Ok(Kept {
        path,
        source,
        is_directory,
    })
}

/// Sockets outside of the private directories that nobody named.
fn reachable_sockets(config: &ContainConfig, table: &[u8], private: &[PathBuf]) -> Vec<PathBuf> {
    let named: Vec<PathBuf> = config
        .sockets
        .iter()
        .filter_map(|socket| socket.canonicalize().ok())
        .collect();
    // Below a private directory the working directory alone is still to be seen.
    let here = std::env::current_dir()
        .ok()
        .filter(|here| is_below(here, private));
    let mut sockets: Vec<PathBuf> = unix_sockets::reachable_paths(table)
        .into_iter()
        .filter_map(|path| path.canonicalize().ok())
        .filter(|path| {
            fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
        })
        .filter(|path| {
            !is_below(path, private) || here.as_ref().is_some_and(|here| path.starts_with(here))
        })
        .filter(|path| !named.contains(path))
        .collect();
    sockets.sort_unstable();
    sockets.dedup();
    sockets
}

fn cover_directory(directory: &Path) -> Result<(), Failure> {
    let mode = fs::metadata(directory)
        .map_err(about(directory, "reading"))?
        .permissions()
        .mode()
        & 0o7777;
    let options = std::ffi::CString::new(format!("mode={mode:o}"))
        .map_err(|error| about(directory, "hiding")(error.into()))?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    rustix::mount::mount("tmpfs", directory, "tmpfs", flags, options.as_c_str())
        .map_err(|error| about(directory, "hiding")(error.into()))
}

/// Makes the empty directories that programs expect to be there. What cannot be made is not needed by all.
fn recreate_expected(private: &[PathBuf]) {
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
    for (path, mode) in [
        (Some(PathBuf::from("/run/lock")), 0o1777),
        (variable("XDG_RUNTIME_DIR"), 0o700),
        (variable("TMPDIR"), 0o700),
    ] {
        if let Some(path) = path
            && is_below(&path, private)
        {
            let _ = make_directories(&path);
            let _ = fs::set_permissions(&path, fs::Permissions::from_mode(mode));
        }
    }
}

fn make_directories(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(path)
}

fn bind_back(kept: &Kept) -> Result<(), Failure> {
    let bind_back = || {
        if kept.is_directory {
            make_directories(&kept.path)?;
        } else {
            make_file(&kept.path)?;
        }
        bind(
            &PathBuf::from(format!("/proc/self/fd/{}", kept.source.as_raw_fd())),
            &kept.path,
        )
    };
    bind_back().map_err(about(&kept.path, "keeping"))
}

fn make_file(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), make_directories)?;
    fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)
        .map(drop)
}

/// Recursive, because the kernel refuses to bind a tree without the mounts that hide parts of it.
fn bind(source: &Path, target: &Path) -> io::Result<()> {
    Ok(rustix::mount::mount_bind_recursive(source, target)?)
}

/// The file behind `/etc/resolv.conf`: its last link is followed even if nothing is there.
fn resolver_file() -> PathBuf {
    let link = Path::new("/etc/resolv.conf");
    link.canonicalize().unwrap_or_else(|_| {
        let target = fs::read_link(link).unwrap_or_else(|_| link.to_owned());
        let target = Path::new("/etc").join(target);
        // `../run/x` as distributions write it.
        target
            .strip_prefix("/etc/..")
            .map_or(target.clone(), |rest| Path::new("/").join(rest))
    })
}

fn write_resolver(
    target: &Path,
    config: &ContainConfig,
    private: &[PathBuf],
) -> Result<(), Failure> {
    let text = resolver_text(config);
    if is_below(target, private) {
        let write = || {
            target.parent().map_or(Ok(()), make_directories)?;
            fs::write(target, &text)
        };
        return write().map_err(about(target, "writing"));
    }
    let nowhere = || about(target, "covering")(io::Error::from(io::ErrorKind::NotFound));
    let source = private
        .first()
        .ok_or_else(nowhere)?
        .join(".tidegate-resolv.conf");
    fs::write(&source, text).map_err(about(&source, "writing"))?;
    bind(&source, target).map_err(about(target, "covering"))?;
    // The mount keeps the file; its name need not stay.
    fs::remove_file(&source).map_err(about(&source, "removing"))
}

fn resolver_text(config: &ContainConfig) -> String {
    let mut text = format!("# Made by tidegate for this command only.\nnameserver {GATEWAY_V4}\n");
    if !config.search.is_empty() {
        text.push_str("search ");
        text.push_str(&config.search.join(" "));
        text.push('\n');
    }
    text
}
