//! Whether a UDP flow's datagrams, or an echo flow's requests, still come from the program that it was judged for.
//!
//! No packet says that such a flow has ended: a program may take over the port or identifier of one that is gone, and send to
//! the same peer. So whoever sends is compared with who sent before, not for each datagram but where another could have come in between:
//! after a pause, and once a second in a stream without one.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tidegate_netstack::{FlowId, Protocol};
use tidegate_platform::apps::{Sender, SocketInfo, SocketName, Unattributed};
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
    Socket(SocketName),
    /// One of several sockets that may have sent this.
    Several,
    /// A socket that it takes too long to find.
    Unclear,
    /// Of a forwarded flow: who has its addresses now.
    Inner(SocketAddr),
}

impl Speaker {
    /// From what is known of a datagram: the note tells more than the socket, which may be another one by now.
    pub(super) fn of(noted: Option<Sender>, socket: Option<SocketInfo>) -> Option<Self> {
        let socket = || Some(Self::Socket(socket?.name()?));
        noted.map(Self::Noted).or_else(socket)
    }

    /// From what is known of an echo request's socket.
    pub(super) fn of_ping(socket: Result<Option<SocketInfo>, Unattributed>) -> Option<Self> {
        match socket {
            Ok(socket) => Self::of(None, socket),
            Err(Unattributed::Ambiguous | Unattributed::Hidden) => Some(Self::Several),
            Err(_) => Some(Self::Unclear),
        }
    }

    fn cookie(&self) -> Option<u64> {
        match self {
            Self::Noted(sender) => Some(sender.cookie()),
            Self::Socket(socket) => socket.cookie(),
            Self::Several | Self::Unclear | Self::Inner(_) => None,
        }
    }

    /// A program may open its port anew, and a socket may have several users, all of whom were judged.
    fn is_same(&self, other: &Self) -> bool {
        let same_source = match (self, other) {
            (Self::Noted(one), Self::Noted(other)) => one.is_of_same_process(other),
            (Self::Socket(one), Self::Socket(other)) => one == other,
            (Self::Inner(one), Self::Inner(other)) => one == other,
            (Self::Several, Self::Several) => true,
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
    /// When it was last heard; not of the datagram that began the flow.
    heard: Option<Instant>,
    /// When it was last looked who sends.
    looked: Option<Instant>,
}

impl Speaking {
    /// It is being looked whom the flow is judged for.
    pub(super) fn look(&mut self, now: Instant) {
        self.looked = Some(now);
    }

    /// The flow is being judged for this one.
    pub(super) fn begins(&mut self, who: Option<Speaker>) {
        self.who = who;
    }

    /// A datagram has come that did not begin the flow: whether another could have sent it, and it is time to look. Where it
    /// is unclear who sends, a look does not tell but ends the flow, so there a pause is no reason for one.
    fn hear(&mut self, now: Instant) -> bool {
        let has_been = |span: Duration, then: Option<Instant>| {
            then.is_none_or(|then| now.saturating_duration_since(then) >= span)
        };
        let is_clear = !matches!(self.who, Some(Speaker::Unclear));
        let is_due = (is_clear && has_been(PAUSE, self.heard)) || has_been(UNLOOKED, self.looked);
        self.heard = Some(now);
        if is_due {
            self.look(now);
        }
        is_due
    }

    /// Whether it is another who sends now. Where nobody can be found the flow goes on: its program may have sent and ended.
    /// But then its note would be there, where there was one: without it, somebody has pushed it out by a flood of others.
    /// Who pings waits for answers: where the one who did is gone, somebody else has sent this.
    fn is_another(&self, protocol: Protocol, now: Option<&Speaker>) -> bool {
        match (&self.who, now) {
            (Some(Speaker::Noted(_)), None) => true,
            (Some(Speaker::Socket(_) | Speaker::Several), None) => protocol == Protocol::Icmp,
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(before), Some(now)) => !before.is_same(now),
        }
    }
}

impl Path {
    /// Who sends in this flow, if it may be a UDP or echo flow.
    pub(super) fn speaking(&mut self) -> Option<&mut Speaking> {
        match self {
            Self::Udp(path) => Some(&mut path.speaking),
            Self::Pass(path) => Some(&mut path.speaking),
            Self::Echo(path) => Some(&mut path.speaking),
            Self::Tcp(_) => None,
        }
    }
}

impl Worker {
    /// A datagram or an echo request of a flow that is there has come. If another program sent it than the one that the flow was
    /// judged for, the flow ends and what has come is to be taken as a new one's: true.
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
            .filter(|_| matches!(entry.key.protocol, Protocol::Udp | Protocol::Icmp))
        else {
            return false;
        };
        if !speaking.hear(now) {
            return false;
        }
        let who = self.identify.speaker(&entry.key);
        if !speaking.is_another(entry.key.protocol, who.as_ref()) {
            return false;
        }
        let reason = match entry.key.protocol {
            Protocol::Icmp => "another program has its identifier",
            Protocol::Tcp | Protocol::Udp | Protocol::Other(_) => "another program has its port",
        };
        self.stack.forget(flow);
        self.end(flow, reason);
        true
    }
}

#[cfg(test)]
mod tests {
    use tidegate_platform::apps::SocketState;

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
    fn where_it_is_unclear_who_pings_a_pause_does_not_end_the_flow_and_a_second_does() {
        let start = Instant::now();
        let mut speaking = Speaking::default();
        speaking.look(start);
        speaking.begins(Some(Speaker::Unclear));
        let looked: Vec<u64> = (1..=10)
            .map(|request| 200 * request)
            .filter(|&at| speaking.hear(start + Duration::from_millis(at)))
            .collect();
        assert_eq!(looked, [1_000, 2_000]);
    }

    fn socket(cookie: u64, inode: u32) -> Option<Speaker> {
        let info = SocketInfo {
            uid: 1000,
            inode,
            cookie,
            state: SocketState::Unconnected,
            mark: None,
            device: None,
        };
        Speaker::of(None, Some(info))
    }

    #[test]
    fn another_socket_is_another_program_and_none_is_the_one_that_was_there() {
        let mut speaking = Speaking::default();
        let is_another = |speaking: &Speaking, now: Option<Speaker>| {
            speaking.is_another(Protocol::Udp, now.as_ref())
        };
        assert!(!is_another(&speaking, None));
        assert!(is_another(&speaking, socket(1, 9)));
        speaking.begins(socket(1, 9));
        assert!(!is_another(&speaking, None));
        assert!(!is_another(&speaking, socket(1, 9)));
        assert!(is_another(&speaking, socket(2, 9)));
    }

    #[test]
    fn a_ping_socket_is_known_by_its_file_and_without_it_another_has_sent() {
        let mut speaking = Speaking::default();
        let is_another = |speaking: &Speaking, now: Option<Speaker>| {
            speaking.is_another(Protocol::Icmp, now.as_ref())
        };
        speaking.begins(socket(0, 9));
        assert!(!is_another(&speaking, socket(0, 9)));
        assert!(is_another(&speaking, socket(0, 8)));
        assert!(is_another(&speaking, None));
        speaking.begins(Some(Speaker::Several));
        assert!(!is_another(&speaking, Some(Speaker::Several)));
        assert!(is_another(&speaking, Some(Speaker::Unclear)));
        speaking.begins(Some(Speaker::Unclear));
        assert!(is_another(&speaking, Some(Speaker::Unclear)));
    }
}
