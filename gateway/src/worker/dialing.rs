//! How many connections each program is making just now: one that calls thousands of dead addresses must not take the room
//! in which every other program's connections begin.

use std::net::IpAddr;
use std::path::PathBuf;

use rustc_hash::FxHashMap;
use tidegate_netstack::FlowId;

use super::{Entry, Worker};

/// Of the connections that may be in the making, the part that is for one program alone: one of so many.
const SHARE: usize = 4;

/// Who makes a connection: all processes of one user that run one executable, a host that we forward for, or all that nobody
/// could name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Caller {
    Program {
        uid: u32,
        path: PathBuf,
    },
    /// Nobody knows whose, but another host's or a container's.
    Forwarded(IpAddr),
    Unknown,
}

/// Connections on their way, by program.
#[derive(Debug)]
pub(super) struct Dialing {
    by_caller: FxHashMap<Caller, usize>,
    most: usize,
}

impl Dialing {
    /// For a stack that holds at most `half_open` connections in the making.
    pub(super) fn new(half_open: usize) -> Self {
        Self {
            by_caller: FxHashMap::default(),
            most: (half_open / SHARE).max(1),
        }
    }

    /// Counts one more; false if there are too many.
    fn begin(&mut self, caller: Caller) -> bool {
        let count = self.by_caller.entry(caller).or_default();
        if *count >= self.most {
            return false;
        }
        *count += 1;
        true
    }

    /// One stands, or has failed.
    pub(super) fn end(&mut self, caller: &Caller) {
        if let Some(count) = self.by_caller.get_mut(caller) {
            *count -= 1;
            if *count == 0 {
                self.by_caller.remove(caller);
            }
        }
    }
}

impl Worker {
    /// Counts the flow among its program's; false if there are too many of them.
    pub(super) fn may_dial(&mut self, flow: FlowId) -> bool {
        let Some(entry) = self.flows.get_mut(&flow) else {
            return false;
        };
        let caller = caller(entry);
        let may = self.dialing.begin(caller.clone());
        entry.dialing = may.then_some(caller);
        may
    }
}

fn caller(entry: &Entry) -> Caller {
    match (entry.apps.first(), entry.inner) {
        (Some(app), _) => Caller::Program {
            uid: app.uid,
            path: app.path.clone(),
        },
        (None, Some(inner)) => Caller::Forwarded(inner.source.ip()),
        (None, None) => Caller::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(path: &str) -> Caller {
        Caller::Program {
            uid: 1000,
            path: path.into(),
        }
    }

    #[test]
    fn a_program_at_its_limit_leaves_room_for_others() {
        let mut dialing = Dialing::new(40);
        let greedy = caller("/usr/bin/greedy");
        for _ in 0..10 {
            assert!(dialing.begin(greedy.clone()));
        }
        assert!(!dialing.begin(greedy.clone()));
        assert!(dialing.begin(caller("/usr/bin/modest")) && dialing.begin(Caller::Unknown));
        dialing.end(&greedy);
        assert!(dialing.begin(greedy.clone()) && !dialing.begin(greedy));
    }

    #[test]
    fn who_makes_no_connection_is_not_remembered() {
        let mut dialing = Dialing::new(4);
        assert!(dialing.begin(caller("/usr/bin/one")));
        dialing.end(&caller("/usr/bin/one"));
        dialing.end(&caller("/usr/bin/one"));
        assert!(dialing.by_caller.is_empty());
    }
}
