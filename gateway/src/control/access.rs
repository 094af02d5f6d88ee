//! Who is heard on the control socket.

use std::fmt;

use tidegate_platform::users::{Group, Users};

/// Group whose members are heard.
pub const GROUP: &str = "tidegate";

/// Who connected, as the kernel says (`SO_PEERCRED`): the identity at the time of `connect`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
}

/// The group [`GROUP`] as the host's user database has it.
pub trait Membership: Send + Sync {
    /// The group's id; none if the host has no such group.
    fn gid(&self) -> Option<u32>;

    /// Whether a process of user `uid` with primary group `gid` belongs to the group. Asked for every client, so that a
    /// user who was just added need not wait for a restart.
    fn includes(&self, uid: u32, gid: u32) -> bool;
}

/// [`GROUP`] in the host's own user database.
#[derive(Debug, Default)]
pub struct HostGroup;

impl HostGroup {
    fn read() -> Option<Group> {
        Group::named(GROUP).unwrap_or_else(|error| {
            tracing::warn!(%error, "the host's groups cannot be read: only root and our own user are heard");
            None
        })
    }
}

impl Membership for HostGroup {
    fn gid(&self) -> Option<u32> {
        Some(Self::read()?.gid)
    }

    fn includes(&self, uid: u32, gid: u32) -> bool {
        Self::read().is_some_and(|group| group.holds(gid, uid, &mut Users::default()))
    }
}

/// The check of peers.
pub struct Access {
    daemon_uid: u32,
    group: Box<dyn Membership>,
}

impl Access {
    /// Admits root, the daemon's own user, and the members of the group.
    pub fn new(daemon_uid: u32, group: impl Membership + 'static) -> Self {
        Self {
            daemon_uid,
            group: Box::new(group),
        }
    }

    /// Whether the peer is heard.
    pub fn admits(&self, peer: Peer) -> bool {
        peer.uid == 0 || peer.uid == self.daemon_uid || self.group.includes(peer.uid, peer.gid)
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access")
            .field("daemon_uid", &self.daemon_uid)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct OnlyUser(u32);

    impl Membership for OnlyUser {
        fn gid(&self) -> Option<u32> {
            None
        }

        fn includes(&self, uid: u32, _gid: u32) -> bool {
            uid == self.0
        }
    }

    #[test]
    fn root_the_daemons_user_and_the_group_are_heard_and_no_one_else() {
        let access = Access::new(500, OnlyUser(1000));
        let admitted =
            [0, 500, 1000, 1001, 65_534].map(|uid| access.admits(Peer { uid, gid: 100 }));
        assert_eq!(admitted, [true, true, true, false, false]);
    }

    #[test]
    fn the_root_group_alone_opens_nothing() {
        let access = Access::new(0, OnlyUser(1000));
        assert!(!access.admits(Peer { uid: 1001, gid: 0 }));
    }
}
