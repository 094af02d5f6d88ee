//! How many connections each program is making just now: one that calls thousands of dead addresses must not take the room
//! in which every other program's connections begin.

use rustc_hash::FxHashMap;
use tidegate_netstack::FlowId;

use super::Worker;
use super::caller::Caller;

/// Of the connections that may be in the making, the part that is for one program alone: one of so many.
const SHARE: usize = 4;

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
        let caller = Caller::of(entry);
        let may = self.dialing.begin(caller.clone());
        entry.dialing = may.then_some(caller);
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(path: &str) -> Caller {
        crate::worker::caller::tests::caller(1000, path, 1)
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
