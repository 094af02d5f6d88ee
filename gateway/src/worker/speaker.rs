//! Whether a UDP flow's datagrams still come from the program that it was judged for.
//!
//! No packet says that a UDP flow has ended: a program may take over the port of one that is gone, and send to the same peer.
//! So whoever sends is compared with who sent before, not for each datagram but where another could have come in between:
//! after a pause, and once a second in a stream without one.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tidegate_netstack::{FlowId, Protocol};
use tidegate_platform::apps::{Sender, SocketInfo};
use tidegate_routing::flow::State;

use super::Worker;
use super::entry::Path;

/// A program that takes a port over needs longer: the one before it has to end.
const PAUSE: Duration = Duration::from_millis(5);
/// How long a stream without a pause goes on unlooked.
const UNLOOKED: Duration = Duration::from_secs(1);

/// Who sends.
#[derive(Clone, Copy, Debug)]
pub(super) enum Speaker {
    /// As the kernel noted it with the datagram.
    Noted(Sender),
    /// The socket that has the flow's addresses now.
    Socket(u64),
    /// Of a forwarded flow: who has its addresses now.
    Inner(SocketAddr),
}

impl Speaker {
    /// From what is known of a datagram: the note tells more than the socket, which may be another one by now.
    pub(super) fn of(noted: Option<Sender>, socket: Option<SocketInfo>) -> Option<Self> {
        let socket = socket.filter(|socket| socket.cookie != 0);
        noted
            .map(Self::Noted)
            .or_else(|| socket.map(|socket| Self::Socket(socket.cookie)))
    }

    /// `None` of a forwarded flow's.
    fn cookie(&self) -> Option<u64> {
        match self {
            Self::Noted(sender) => Some(sender.cookie()),
            Self::Socket(cookie) => Some(*cookie),
            Self::Inner(_) => None,
        }
    }

    /// A program may open its port anew, and a socket may have several users, all of whom were judged.
    fn is_same(&self, other: &Self) -> bool {
        let same_source = match (self, other) {
            (Self::Noted(one), Self::Noted(other)) => one.is_of_same_process(other),
            (Self::Inner(one), Self::Inner(other)) => one == other,
            _ => false,
        };
        same_source
            || self
                .cookie()
                .is_some_and(|cookie| other.cookie() == Some(cookie))
    }
}

/// Who was last seen sending in a flow.
#[derive(Debug, Default)]
pub(super) struct Speaking {
    who: Option<Speaker>,
    /// When it was last heard, and when it was last compared; not of the datagram that began the flow.
    last: Option<(Instant, Instant)>,
}

impl Speaking {
    /// The flow is being judged for this one.
    pub(super) fn begins(&mut self, who: Option<Speaker>) {
        self.who = who;
    }

    /// A datagram has come that did not begin the flow: whether another could have sent it.
    fn hear(&mut self, now: Instant) -> bool {
        let since = |then: Instant| now.saturating_duration_since(then);
        let is_due = match self.last {
            None => true,
            Some((heard, compared)) => since(heard) >= PAUSE || since(compared) >= UNLOOKED,
        };
        let compared = self
            .last
            .filter(|_| !is_due)
            .map_or(now, |(_, compared)| compared);
        self.last = Some((now, compared));
        is_due
    }

    /// Whether it is another who sends now. Where nobody can be found the flow goes on: its program may have sent and ended.
    /// But then its note would be there, where there was one: without it, somebody has pushed it out by a flood of others.
    fn is_another(&self, now: Option<&Speaker>) -> bool {
        match (&self.who, now) {
            (Some(Speaker::Noted(_)), None) => true,
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(before), Some(now)) => !before.is_same(now),
        }
    }
}

impl Path {
    /// Who sends in this flow, if it may be a UDP flow.
    pub(super) fn speaking(&mut self) -> Option<&mut Speaking> {
        match self {
            Self::Udp(path) => Some(&mut path.speaking),
            Self::Pass(path) => Some(&mut path.speaking),
            Self::Tcp(_) | Self::Echo(_) => None,
        }
    }
}

impl Worker {
    /// A datagram of a flow that is there has come. If another program sent it than the one that the flow was judged for, the
    /// flow ends and the datagram is to be taken as a new one's: true.
    pub(super) fn ends_with_its_speaker(&mut self, now: Instant, flow: FlowId) -> bool {
        let Some(entry) = self.flows.get_mut(&flow) else {
            return false;
        };
        if entry.life.state() != State::Open {
            return false;
        }
        let Some(speaking) = entry
            .path
            .speaking()
            .filter(|_| entry.key.protocol == Protocol::Udp)
        else {
            return false;
        };
        if !speaking.hear(now) {
            return false;
        }
        let who = self.identify.speaker(&entry.key);
        if !speaking.is_another(who.as_ref()) {
            return false;
        }
        self.stack.forget(flow);
        self.end(flow, "another program has its port");
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_sends_is_looked_at_after_a_pause_and_once_a_second() {
        let start = Instant::now();
        let mut speaking = Speaking::default();
        let looked: Vec<u64> = (0..3_000)
            .filter(|&at| speaking.hear(start + Duration::from_millis(at)))
            .collect();
        assert_eq!(looked, [0, 1_000, 2_000]);
        let after = start + Duration::from_millis(3_000) + PAUSE;
        assert!(speaking.hear(after) && !speaking.hear(after));
    }

    #[test]
    fn another_socket_is_another_program_and_none_is_the_one_that_was_there() {
        let mut speaking = Speaking::default();
        assert!(!speaking.is_another(None));
        assert!(speaking.is_another(Some(&Speaker::Socket(1))));
        speaking.begins(Some(Speaker::Socket(1)));
        assert!(!speaking.is_another(None));
        assert!(!speaking.is_another(Some(&Speaker::Socket(1))));
        assert!(speaking.is_another(Some(&Speaker::Socket(2))));
    }
}
