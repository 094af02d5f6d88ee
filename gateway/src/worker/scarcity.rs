//! Where descriptors or ports run out, quiet UDP flows give theirs up for new flows.
//!
//! Nobody says when a UDP flow has ended, so each holds its socket until its time-out. Those that were never answered go
//! first, then those that were quiet for longest; a socket that several flows share stays. TCP flows are not ended.

use std::io;

use tidegate_netstack::FlowId;
use tidegate_platform::bypass::Bypass;
use tidegate_platform::limits::Spent;

use super::Worker;
use super::entry::Path;

/// Of all UDP sockets, the part that is given up at a time, one of so many: to find out which takes a walk over all flows.
const BATCH: usize = 256;

/// Which sockets can make room for a new one.
#[derive(Clone, Copy, Debug)]
pub(super) enum Yielding {
    /// A UDP socket of the same family, for its port; any, for its descriptor.
    Udp { ipv6: bool },
    /// Any UDP socket, for its descriptor.
    Others,
}

impl Worker {
    /// Opens an upstream socket; tries again once others have given up what was missing.
    pub(super) fn open_socket<S>(
        &mut self,
        yielding: Yielding,
        open: impl Fn(&Bypass) -> io::Result<S>,
    ) -> io::Result<S> {
        if self.sources.len() >= self.most_sockets {
            self.give_up_quiet(|_| true);
        }
        if self.sources.len() >= self.most_sockets {
            return Err(out_of_sockets());
        }
        if let Yielding::Udp { ipv6 } = yielding
            && self.associations.len_of(ipv6) >= self.most_udp
        {
            self.give_up_quiet(|v6| v6 == ipv6);
        }
        let error = match open(&self.bypass) {
            Err(error) => error,
            opened => return opened,
        };
        let has_room = match (Spent::of(&error), yielding) {
            (Some(Spent::Descriptors), _) => self.give_up_quiet(|_| true),
            (Some(Spent::Ports), Yielding::Udp { ipv6 }) => self.give_up_quiet(|v6| v6 == ipv6),
            (Some(Spent::Ports), Yielding::Others) | (None, _) => false,
        };
        if has_room {
            open(&self.bypass)
        } else {
            Err(error)
        }
    }

    /// Ends flows that were quiet for longest, of those whose socket ends with them and is of a family that `fits`; false if
    /// there are none.
    fn give_up_quiet(&mut self, fits: impl Fn(bool) -> bool) -> bool {
        let most = self.associations.len().div_ceil(BATCH);
        let (mut unanswered, mut answered) = (Vec::new(), Vec::new());
        for flow in self.stack.quietest_first() {
            let Some(Path::Udp(path)) = self.flows.get(&flow).map(|entry| &entry.path) else {
                continue;
            };
            let sole = path.association().and_then(|id| self.associations.sole(id));
            if sole.is_none_or(|sole| !fits(sole.ipv6)) {
                continue;
            }
            if !path.is_answered() {
                unanswered.push(flow);
            } else if answered.len() < most {
                answered.push(flow);
            }
            if unanswered.len() >= most {
                break;
            }
        }
        let given: Vec<FlowId> = unanswered.into_iter().chain(answered).take(most).collect();
        for flow in &given {
            self.stack.forget(*flow);
            self.end(*flow, "evicted");
            self.shared.counters.count_evicted();
        }
        !given.is_empty()
    }
}

/// As the system says it.
fn out_of_sockets() -> io::Error {
    io::Error::from_raw_os_error(Spent::TOO_MANY_FILES)
}
