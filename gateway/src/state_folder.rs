//! The folder in which the gateway keeps what outlives it.

use std::env;
use std::path::PathBuf;

/// Where a daemon keeps its state when nobody says otherwise.
const OF_ROOT: &str = "/var/lib/tidegate";

/// `$STATE_DIRECTORY` (systemd's `StateDirectory=`) where it is set; root's is `/var/lib/tidegate`, a user's
/// `$XDG_STATE_HOME/tidegate` or `~/.local/state/tidegate`. It need not exist. None: a user without a home.
pub fn state_folder() -> Option<PathBuf> {
    let absolute = |name| {
        env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    if let Some(folder) = absolute("STATE_DIRECTORY") {
        return Some(folder);
    }
    if rustix::process::geteuid().is_root() {
        return Some(OF_ROOT.into());
    }
    let home = || Some(absolute("HOME")?.join(".local/state"));
    Some(absolute("XDG_STATE_HOME").or_else(home)?.join("tidegate"))
}
