//! How many connections each program is making just now: one that calls thousands of dead addresses must not take the room
//! in which every other program's connections begin.

use rustc_hash::FxHashMap;
use tidegate_netstack::FlowId;

use super::{Entry, Worker};

/// Most connections that one program may be making at once: a quarter of what the stack holds half-open.
const MOST_PER_PROGRAM: usize = 1_024;
/// Who makes a connection: a process, or all that nobody could name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Caller {
    Process(u32),
    Unknown,
}

/// Connections on their way, by program.
#[derive(Debug, Default)]
pub(super) struct Dialing {
    by_caller: FxHashMap<Caller, usize>,
}

impl Dialing {
    /// Counts one more; false if there are too many.
    fn begin(&mut self, caller: Caller) -> bool {
        let count = self.by_caller.entry(caller).or_default();
        if *count >= MOST_PER_PROGRAM {
            return false;
        }
        *count += 1;
        true
    }

    /// One stands, or has failed.
    pub(super) fn end(&mut self, caller: Caller) {
        if let Some(count) = self.by_caller.get_mut(&caller) {
            *count -= 1;
            if *count == 0 {
                self.by_caller.remove(&caller);
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
        let may = self.dialing.begin(caller);
        entry.dialing = may.then_some(caller);
        may
    }
}

fn caller(entry: &Entry) -> Caller {
    entry
        .apps
        .first()
        .map_or(Caller::Unknown, |app| Caller::Process(app.pid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_at_its_limit_leaves_room_for_others() {
        let mut dialing = Dialing::default();
        let (greedy, modest) = (Caller::Process(1), Caller::Process(2));
        for _ in 0..MOST_PER_PROGRAM {
            assert!(dialing.begin(greedy));
        }
        assert!(!dialing.begin(greedy));
        assert!(dialing.begin(modest) && dialing.begin(Caller::Unknown));
        dialing.end(greedy);
        assert!(dialing.begin(greedy) && !dialing.begin(greedy));
    }

    #[test]
    fn who_makes_no_connection_is_not_remembered() {
        let mut dialing = Dialing::default();
        assert!(dialing.begin(Caller::Process(1)));
        dialing.end(Caller::Process(1));
        dialing.end(Caller::Process(1));
        assert!(dialing.by_caller.is_empty());
    }
}
