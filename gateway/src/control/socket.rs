//! The control socket in the file system: made, found stale, taken away.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Why the control socket could not be made.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another daemon listens there.
    #[error("another tidegate listens on {}: stop it, or choose another socket with --control", .0.display())]
    InUse(PathBuf),
    /// Something that is not a socket is in the way.
    #[error("{} is not a socket: remove it, or choose another path with --control", .0.display())]
    InTheWay(PathBuf),
    /// The system refused a step.
    #[error("cannot {step} {}: {source}", path.display())]
    System {
        /// What was tried.
        step: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// A listening socket that is removed from the file system when dropped.
#[derive(Debug)]
pub(super) struct BoundSocket {
    path: PathBuf,
    inode: u64,
    owner: u32,
}

impl BoundSocket {
    /// Makes the socket, and its folder if that is missing. Both are open to `group` if there is one, the socket to
    /// nobody else.
    pub(super) fn bind(
        path: &Path,
        group: Option<u32>,
    ) -> Result<(Self, UnixListener), SocketError> {
        make_folder(path, group)?;
        remove_stale(path)?;
        let step = |step| {
            let path = path.to_owned();
            move |source| SocketError::System { step, path, source }
        };
        let listener = UnixListener::bind(path).map_err(step("listen on"))?;
        let metadata = fs::symlink_metadata(path).map_err(step("look at"))?;
        let bound = Self {
            path: path.to_owned(),
            inode: metadata.ino(),
            owner: metadata.uid(),
        };
        let mode = if group.is_some() { 0o660 } else { 0o600 };
        fs::set_permissions(path, Permissions::from_mode(mode)).map_err(step("protect"))?;
        if group.is_some() {
            chown(path, None, group).map_err(step("give its group"))?;
        }
        listener.set_nonblocking(true).map_err(step("set up"))?;
        Ok((bound, listener))
    }

    /// The user who made the socket: the daemon's own.
    pub(super) fn owner(&self) -> u32 {
        self.owner
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for BoundSocket {
    fn drop(&mut self) {
        // Another daemon may have put its own socket there meanwhile.
        let ours = fs::symlink_metadata(&self.path).is_ok_and(|found| found.ino() == self.inode);
        if ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "the control socket stays behind");
        }
    }
}

/// A folder that exists keeps its owner and mode.
fn make_folder(path: &Path, group: Option<u32>) -> Result<(), SocketError> {
    let Some(folder) = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    else {
        return Ok(());
    };
    let mode = if group.is_some() { 0o750 } else { 0o755 };
    let made = DirBuilder::new().mode(mode).create(folder);
    let step = |step| {
        move |source| SocketError::System {
            step,
            path: folder.to_owned(),
            source,
        }
    };
    match made {
        Ok(()) if group.is_some() => chown(folder, None, group).map_err(step("give its group")),
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(step("make the folder")(error)),
    }
}

/// Removes the socket of a daemon that died.
fn remove_stale(path: &Path) -> Result<(), SocketError> {
    let Ok(found) = fs::symlink_metadata(path) else {
        return Ok(());
    };
    if !found.file_type().is_socket() {
        return Err(SocketError::InTheWay(path.to_owned()));
    }
    let Err(error) = UnixStream::connect(path) else {
        return Err(SocketError::InUse(path.to_owned()));
    };
    if error.kind() != io::ErrorKind::ConnectionRefused {
        return Err(SocketError::System {
            step: "find out who listens on",
            path: path.to_owned(),
            source: error,
        });
    }
    fs::remove_file(path).map_err(|source| SocketError::System {
        step: "remove the stale",
        path: path.to_owned(),
        source,
    })
}
