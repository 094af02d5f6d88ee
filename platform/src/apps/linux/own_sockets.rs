//! Which raw and packet sockets are this gateway's own.
//!
//! The tables of `/proc` give inodes, and only this process's descriptors tell whose they are. There may be tens of thousands of those, one
//! for each flow, and whoever pings from a new socket each time has the tables read each time: so what was found out once is
//! kept. Such sockets are few, take root to make, and no inode number comes again soon.

use std::fs;
use std::sync::{Mutex, PoisonError};

use rustc_hash::FxHashMap;

/// Of how many sockets it is kept.
const MOST: usize = 256;

static KNOWN: Mutex<Option<FxHashMap<u32, bool>>> = Mutex::new(None);

/// Whether a raw or packet socket with this inode is one of this process.
pub(super) fn is_own(inode: u32) -> bool {
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let known = known.get_or_insert_default();
    if let Some(own) = known.get(&inode) {
        return *own;
    }
    if known.len() >= MOST {
        known.clear();
    }
    let own = is_open_here(inode);
    known.insert(inode, own);
    own
}

fn is_open_here(inode: u32) -> bool {
    let Ok(descriptors) = fs::read_dir("/proc/self/fd") else {
        return false;
    };
    let name = format!("socket:[{inode}]");
    let mut targets =
        descriptors.filter_map(|descriptor| fs::read_link(descriptor.ok()?.path()).ok());
    targets.any(|target| target.as_os_str() == name.as_str())
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_socket_of_this_process_is_known_as_its_own() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let file = fs::File::from(std::os::fd::OwnedFd::from(socket));
        let inode = u32::try_from(file.metadata().unwrap().ino()).unwrap();
        assert!(is_own(inode) && is_own(inode));
        assert!(!is_own(0));
    }
}
