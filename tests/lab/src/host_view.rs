//! What of the file system is a lab machine's own: `/run`, `resolv.conf`, and a TUN device that everybody may open.
//!
//! A daemon and its command line tool on one machine share `/run`; two labs at once do not. Distributions ship
//! `/dev/net/tun` open to everybody; some build machines do not, so the lab's machines get such a node of their own.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::network::address;
use crate::sys;

const TUN: &str = "/dev/net/tun";

/// Arranges the mounts of the calling thread, which has a mount namespace of its own.
pub(crate) fn arrange(folder: &Path) -> Result<()> {
    let nothing = Path::new("");
    sys::mount(
        nothing,
        Path::new("/"),
        "",
        libc::MS_REC | libc::MS_PRIVATE,
        "",
    )
    .context("cannot part from the mounts of the rest of the system")?;
    let names = fs::canonicalize("/etc/resolv.conf").context("cannot find /etc/resolv.conf")?;
    sys::mount(
        Path::new("lab"),
        Path::new("/run"),
        "tmpfs",
        libc::MS_NOSUID,
        "mode=755",
    )
    .context("cannot mount a private /run")?;
    set_resolver(folder, &names)?;
    share_tun()
}

/// `resolv.conf` names the lab's own server, whose file it is bound over, or written to if that vanished with `/run`.
fn set_resolver(folder: &Path, names: &Path) -> Result<()> {
    let text = format!("nameserver {}\n", address::DNS_V4);
    if names.starts_with("/run") {
        let parent = names.parent().map(Path::to_path_buf).unwrap_or_default();
        fs::create_dir_all(&parent)?;
        return fs::write(names, text).with_context(|| format!("cannot write {}", names.display()));
    }
    let own: PathBuf = folder.join("resolv.conf");
    fs::write(&own, text).with_context(|| format!("cannot write {}", own.display()))?;
    bind(&own, names)
}

fn share_tun() -> Result<()> {
    let node = Path::new("/run/tun");
    sys::character_device(node, 0o666, 10, 200).context("cannot make a node for the TUN device")?;
    // `mknod` is subject to the umask.
    fs::set_permissions(node, std::os::unix::fs::PermissionsExt::from_mode(0o666))?;
    bind(node, Path::new(TUN))
}

fn bind(what: &Path, over: &Path) -> Result<()> {
    sys::mount(what, over, "", libc::MS_BIND, "")
        .with_context(|| format!("cannot bind over {}", over.display()))
}
