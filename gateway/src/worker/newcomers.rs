//! New UDP flows and pings wait in line, each program's or forwarded host's in one of its own, and a few are taken up at a time.
//!
//! To look a flow up, judge it and open its socket takes a hundred times as long as to pass a datagram on. A program that
//! speaks to thousands of peers at once would keep all others waiting for as long, so a turn of the worker takes up only so
//! many new flows, of each user in turn, of these of each program, and of its processes, and old flows go on between.
//!
//! A line may grow while what it holds, its program's lines hold and its user's lines hold, added up, is less than what is free.
//! So however many there are, they leave room: one process takes a quarter of all at most, one program a third, one user half,
//! two users two thirds, and who comes then is heard.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Instant;

use tidegate_netstack::{FlowId, LocalAddr, Offload};
use tidegate_platform::apps::NotedProgram;

use super::Worker;
use super::branch::{Branch, Queue};
use super::caller::Household;
use super::entry::Path;
use super::identify::Inner;
use super::udp::Shape;

/// New flows that are taken up before the device and the sockets have their turn again.
const TURN: usize = 8;

/// Where a flow waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Line {
    pub(super) household: Household,
    pub(super) member: Member,
    /// Of a program of this host; 0 where it is not known.
    pub(super) process: u32,
}

/// Whose line it is among those of a household.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Member {
    /// The kernel noted which program sent.
    Program(NotedProgram),
    /// It did not: a socket may be told from others, a program not.
    Socket(LocalAddr),
    /// A container or another host, whose sockets are as many as it likes.
    Host(IpAddr),
    /// Sockets that are gone.
    Nobody,
}

/// Why there is no room in a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Full {
    /// It holds too many itself.
    Line(Member),
    /// Its household's others do.
    Household,
    /// All together.
    All,
}

impl Full {
    /// Why a datagram is thrown away; its name in counters.
    fn name(self) -> &'static str {
        match self {
            Self::Line(Member::Program(_) | Member::Socket(_) | Member::Nobody) => {
                "too many new flows of one program"
            }
            Self::Line(Member::Host(_)) => "too many new flows of one host",
            Self::Household => "too many new flows of one user or network",
            Self::All => "too many new flows",
        }
    }
}

/// The lines.
#[derive(Debug)]
pub(super) struct Newcomers<F = FlowId> {
    lines: Households<F>,
    most: usize,
    /// How many more may be taken up in this turn.
    left: usize,
}

type Households<F> = Branch<Household, Branch<Member, Branch<u32, VecDeque<F>>>>;

impl<F> Newcomers<F> {
    /// At most so many wait.
    pub(super) fn new(most: usize) -> Self {
        Self {
            lines: Branch::default(),
            most,
            left: TURN,
        }
    }

    /// Whether flows wait.
    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// How many more may wait.
    fn free(&self) -> usize {
        self.most.saturating_sub(self.lines.len())
    }

    /// A new flow that nobody is in front of need not wait.
    fn goes_at_once(&mut self) -> bool {
        let at_once = self.is_empty() && self.left > 0;
        self.left -= usize::from(at_once);
        at_once
    }

    /// Puts a flow at the end of a line.
    fn join(&mut self, line: Line, flow: F) -> Result<(), Full> {
        let Line {
            household,
            member,
            process,
        } = line;
        let members = self.lines.of.get(&household);
        let processes = members.and_then(|members| members.of.get(&member));
        let of_process = processes.and_then(|processes| processes.of.get(&process));
        let of_process = of_process.map_or(0, VecDeque::len);
        let of_member = processes.map_or(0, Queue::len);
        let of_household = members.map_or(0, Queue::len);
        let free = self.free();
        if free == 0 {
            return Err(Full::All);
        }
        if of_process + of_member + of_household >= free {
            return Err(match 2 * of_member >= of_household {
                true => Full::Line(member),
                false => Full::Household,
            });
        }
        self.lines.push((household, (member, (process, ()))), flow);
        Ok(())
    }

    /// The next flow of this turn.
    fn next(&mut self) -> Option<F> {
        self.left = self.left.checked_sub(1)?;
        self.lines.pop()
    }
}

impl Worker {
    /// A datagram, or several, began a flow: they came as this `packet`.
    pub(super) fn begin_udp(
        &mut self,
        now: Instant,
        flow: FlowId,
        payload: &[u8],
        shape: Shape,
        packet: (&[u8], Offload),
    ) {
        let Some(key) = self.stack.key(flow) else {
            return;
        };
        let inner = self.identify.inner(&key);
        if self.answers_unasked(&key, inner.as_ref()) {
            return self.begin_service(now, key, inner, packet);
        }
        if self.begin_in_line(now, flow, inner, Path::udp()) {
            self.datagram_from_program(flow, payload, shape);
        }
    }

    /// An echo request began a flow; false if there is no room for it.
    pub(super) fn begin_echo(&mut self, now: Instant, flow: FlowId) -> bool {
        let Some(key) = self.stack.key(flow) else {
            return false;
        };
        let inner = self.identify.inner(&key);
        self.begin_in_line(now, flow, inner, Path::echo())
    }

    /// A flow has begun: its life starts now, or once it is its turn. False if there is no room for it.
    fn begin_in_line(
        &mut self,
        now: Instant,
        flow: FlowId,
        inner: Option<Inner>,
        path: Path,
    ) -> bool {
        if self.newcomers.goes_at_once() {
            self.note_begun(flow, inner, path);
            self.drive(now, flow);
            return true;
        }
        let Some(key) = self.stack.key(flow) else {
            return false;
        };
        let joined = if self.newcomers.free() == 0 {
            // To look its line up takes system calls.
            Err(Full::All)
        } else {
            let line = self.identify.line_of(&key, inner.as_ref());
            self.newcomers.join(line, flow)
        };
        match joined {
            Ok(()) => {
                self.note_begun(flow, inner, path);
                true
            }
            Err(full) => {
                self.stack.forget(flow);
                self.shared.counters.packets_dropped.add(full.name());
                false
            }
        }
    }

    /// Takes up some of the flows that wait. One that has ended meanwhile is nobody's.
    pub(super) fn take_newcomers(&mut self, now: Instant) {
        while let Some(flow) = self.newcomers.next() {
            self.drive(now, flow);
        }
        self.newcomers.left = TURN;
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use super::*;

    /// The line of a user's socket with this port.
    fn line(uid: u32, port: u16) -> Line {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Line {
            household: Household::User(uid),
            member: Member::Socket(LocalAddr(address)),
            process: 0,
        }
    }

    fn flows(newcomers: &mut Newcomers<u32>, count: usize) -> Vec<u32> {
        newcomers.left = count;
        std::iter::from_fn(|| newcomers.next()).collect()
    }

    /// Puts flows in a line until there is no room, and says how many and why no more.
    fn fill(newcomers: &mut Newcomers<u32>, line: Line) -> (usize, Full) {
        let mut count = 0;
        loop {
            match newcomers.join(line, 0) {
                Ok(()) => count += 1,
                Err(full) => return (count, full),
            }
        }
    }

    #[test]
    fn users_take_turns_and_so_do_lines_and_each_keeps_its_order() {
        let mut newcomers = Newcomers::new(100);
        for flow in 0..5 {
            newcomers.join(line(1, 1), flow).unwrap();
        }
        newcomers.join(line(1, 2), 10).unwrap();
        newcomers.join(line(2, 1), 20).unwrap();
        assert_eq!(flows(&mut newcomers, 4), [0, 20, 10, 1]);
        assert_eq!(flows(&mut newcomers, 9), [2, 3, 4]);
        assert!(newcomers.is_empty());
    }

    #[test]
    fn who_fills_its_line_leaves_room_to_its_program_its_user_and_others() {
        let mut newcomers = Newcomers::new(1200);
        let of_process = |process| Line {
            process,
            ..line(1, 0)
        };
        let (first, full) = fill(&mut newcomers, of_process(1));
        assert_eq!((first, full), (300, Full::Line(line(1, 0).member)));
        for process in 2..100 {
            fill(&mut newcomers, of_process(process));
        }
        assert_eq!(newcomers.lines.len(), 400);
        for port in 1..200 {
            fill(&mut newcomers, line(1, port));
        }
        let full = newcomers.join(line(1, 200), 0);
        assert_eq!(full, Err(Full::Household));
        assert_eq!(newcomers.lines.len(), 600);
        let (of_other, _) = fill(&mut newcomers, line(2, 0));
        assert_eq!(of_other, 150);
        for uid in 3..100 {
            assert!(newcomers.join(line(uid, 0), 0).is_ok(), "user {uid}");
        }
    }

    #[test]
    fn no_more_wait_than_may() {
        let mut newcomers = Newcomers::new(8);
        let joined = (0..100).filter(|uid| newcomers.join(line(*uid, 0), 0).is_ok());
        assert_eq!(joined.count(), 8);
        assert_eq!(newcomers.free(), 0);
        assert_eq!(newcomers.join(line(100, 0), 0), Err(Full::All));
    }

    #[test]
    fn who_comes_alone_does_not_wait_and_who_comes_behind_others_does() {
        let mut newcomers = Newcomers::<u32>::new(100);
        assert!((0..TURN).all(|_| newcomers.goes_at_once()));
        assert!(!newcomers.goes_at_once());
        newcomers.join(line(1, 1), 1).unwrap();
        newcomers.left = TURN;
        assert!(!newcomers.goes_at_once());
        assert_eq!(flows(&mut newcomers, TURN).len(), 1);
    }
}
