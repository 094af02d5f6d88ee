//! What the contained side of `exec` reads, for the fuzz targets.

use super::channel::{FromSecond, ToSecond};
use super::id_map;
use super::network;
use crate::namespaces::unix_sockets;

/// A packet of the channel between the two processes.
pub fn channel_message(bytes: &[u8]) {
    let _ = serde_json::from_slice::<ToSecond>(bytes);
    let _ = serde_json::from_slice::<FromSecond>(bytes);
}

/// A `gid_map`, and the table of UNIX sockets.
pub fn namespace_files(bytes: &[u8]) {
    for path in unix_sockets::reachable_paths(bytes) {
        assert!(
            path.is_absolute(),
            "{} is hidden from nobody",
            path.display()
        );
    }
    let text = String::from_utf8_lossy(bytes);
    id_map::identity(text.clone().into_owned());
    if let Some((first, last)) = network::ping_groups(&text) {
        assert!(first <= last, "{first} > {last}");
    }
}
