//! One engine by itself: segments in, packets out, on a clock that the test moves.

use std::net::SocketAddr;
use std::time::Duration;

use super::*;
use crate::flow::{FlowKey, LocalAddr, Protocol, RemoteAddr};
use crate::tcp::head::{Link, Offloads};
use crate::tcp::pool::{Holds, LARGEST};
use crate::tcp::segment::{TCP_HEADER, flag};

const MS: Duration = Duration::from_millis(1);
const MSS: usize = 1_460;
/// The program's first sequence number, and ours, where the numbers wrap in mid-stream.
const IRS: u32 = u32::MAX - 3_000;
const ISS: u32 = u32::MAX - 5_000;
const LINK: Link = Link {
    mtu: 1_500,
    offloads: Offloads::None,
};

fn way<'a>(key: &'a FlowKey, pool: &'a Pool) -> Way<'a> {
    Way {
        key,
        link: LINK,
        pool,
    }
}

/// An engine, its pool and its clock.
struct Bench {
    engine: Engine,
    pool: Pool,
    now: Instant,
    key: FlowKey,
}

/// A packet to the program.
#[derive(Debug)]
struct Seen {
    /// Relative to [`ISS`] and [`IRS`], so that the first byte of each stream is number 1.
    sequence: u32,
    acknowledgement: u32,
    flags: u8,
    window: u16,
    options: Vec<u8>,
    payload: Vec<u8>,
}

impl Seen {
    fn sack(&self) -> Vec<(u32, u32)> {
        let Some(at) = self.options.iter().position(|kind| *kind == option::SACK) else {
            return Vec::new();
        };
        let number = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().unwrap()).wrapping_sub(IRS);
        let blocks = &self.options[at + 2..at + usize::from(self.options[at + 1])];
        let blocks = blocks.chunks(8);
        blocks
            .map(|block| (number(&block[..4]), number(&block[4..])))
            .collect()
    }
}

const SYN_OPTIONS: [u8; 12] = [2, 4, 5, 180, 1, 3, 3, 7, 1, 1, 4, 2];

fn header(flags: u8, sequence: u32, acknowledgement: u32, window: u16, options: &[u8]) -> Vec<u8> {
    let mut tcp = vec![0; TCP_HEADER];
    tcp[..4].copy_from_slice(&[156, 64, 1, 187]);
    tcp[4..8].copy_from_slice(&sequence.to_be_bytes());
    tcp[8..12].copy_from_slice(&acknowledgement.to_be_bytes());
    tcp[12] = u8::try_from(((TCP_HEADER + options.len()) / 4) << 4).unwrap();
    tcp[13] = flags;
    tcp[14..16].copy_from_slice(&window.to_be_bytes());
    tcp.extend_from_slice(options);
    tcp
}

impl Bench {
    /// A SYN came and is answered; nothing is sent yet.
    fn opened(options: &[u8], habits: Habits) -> Self {
        let syn = header(flag::SYN, IRS, 0, 64_000, options);
        let mut pool = Pool::new(64 << 20, 8 << 20);
        let window = pool.admit().unwrap();
        let segment = Segment::parse(&syn).unwrap();
        Self {
            engine: Engine::open(&segment, &syn, ISS, MSS, window, habits),
            pool,
            now: Instant::now(),
            key: FlowKey {
                protocol: Protocol::Tcp,
                local: LocalAddr(SocketAddr::from(([10, 0, 0, 1], 40_000))),
                remote: RemoteAddr(SocketAddr::from(([203, 0, 113, 9], 443))),
            },
        }
    }

    /// A connection that stands, with a round trip of 10 ms.
    fn with(control: CongestionControl) -> Self {
        let habits = Habits {
            congestion: control,
            send_buffer: 1 << 20,
            receive_window: 1 << 20,
        };
        let mut bench = Self::opened(&SYN_OPTIONS, habits);
        bench.out();
        bench.now += 10 * MS;
        bench.ack(1);
        assert!(bench.out().is_empty());
        bench
    }

    fn new() -> Self {
        Self::with(CongestionControl::None)
    }

    fn put(&mut self, tcp: &[u8]) -> Reply {
        let segment = Segment::parse(tcp).unwrap();
        let reply = self.engine.ingest(self.now, &segment, tcp, &mut self.pool);
        if reply == Reply::Offer {
            let payload = &tcp[segment.header_len..];
            self.engine.take_in(payload, 0, &mut self.pool);
        }
        reply
    }

    /// An acknowledgement of everything before byte `n`, with a window of 64,000 << 7.
    fn ack(&mut self, n: u32) -> Reply {
        self.ack_with(n, 64_000, &[])
    }

    fn ack_with(&mut self, n: u32, window: u16, sack: &[(u32, u32)]) -> Reply {
        let mut options = Vec::new();
        if !sack.is_empty() {
            options.extend([1, 1, 5, u8::try_from(2 + 8 * sack.len()).unwrap()]);
            for (start, end) in sack {
                options.extend(ISS.wrapping_add(*start).to_be_bytes());
                options.extend(ISS.wrapping_add(*end).to_be_bytes());
            }
        }
        let next = self.engine.rcv_nxt;
        let tcp = header(flag::ACK, next, ISS.wrapping_add(n), window, &options);
        self.put(&tcp)
    }

    /// Bytes of the program from number `at` on.
    fn data(&mut self, at: u32, payload: &[u8], flags: u8) -> Reply {
        let ack = self.engine.snd_nxt;
        let mut tcp = header(flag::ACK | flags, IRS.wrapping_add(at), ack, 64_000, &[]);
        tcp.extend_from_slice(payload);
        self.put(&tcp)
    }

    /// Upstream sends `n` bytes.
    fn write(&mut self, n: usize) {
        let room = self.engine.room(&self.pool);
        let lent = self.engine.lend(room, &mut self.pool);
        lent[..n].fill(7);
        self.engine.commit(room, n, &mut self.pool);
    }

    fn read(&mut self) -> usize {
        let n = self.engine.readable().len();
        self.engine.consume(n, &mut self.pool);
        n
    }

    fn out(&mut self) -> Vec<Seen> {
        let mut all = Vec::new();
        while let Some(sent) = self.engine.transmit(self.now, way(&self.key, &self.pool)) {
            all.push(self.see(&sent));
            assert!(all.len() < 10_000, "there is no end to it");
        }
        all
    }

    fn see(&self, sent: &Outgoing) -> Seen {
        let tcp = &sent.head.as_ref()[20..];
        let number = |at: usize| u32::from_be_bytes(tcp[at..at + 4].try_into().unwrap());
        Seen {
            sequence: number(4).wrapping_sub(ISS),
            acknowledgement: number(8).wrapping_sub(IRS),
            flags: tcp[13],
            window: u16::from_be_bytes([tcp[14], tcp[15]]),
            options: tcp[TCP_HEADER..].to_vec(),
            payload: self.engine.payload(sent).concat(),
        }
    }

    /// Waits for the engine's own deadline, and says how long.
    fn wait(&mut self) -> Duration {
        let at = self.engine.next_poll().unwrap();
        let waited = at - self.now;
        self.now = at;
        waited
    }
}

fn numbers(seen: &[Seen]) -> Vec<u32> {
    seen.iter().map(|packet| packet.sequence).collect()
}

const HABITS: Habits = Habits {
    congestion: CongestionControl::None,
    send_buffer: 1 << 20,
    receive_window: 1 << 20,
};

#[test]
fn a_syn_ack_offers_what_the_syn_did_and_is_repeated_ever_more_slowly() {
    let mut bench = Bench::opened(&SYN_OPTIONS, HABITS);
    let first = &bench.out()[0];
    assert_eq!(first.flags, flag::SYN | flag::ACK);
    assert_eq!(first.options, [2, 4, 5, 180, 1, 3, 3, 5, 1, 1, 4, 2]);
    assert_eq!((first.sequence, first.acknowledgement), (0, 1));
    for seconds in [1, 2, 4] {
        assert_eq!(bench.wait(), Duration::from_secs(seconds));
        assert_eq!(bench.out()[0].flags, flag::SYN | flag::ACK);
    }
    let bare = &Bench::opened(&[], HABITS).out()[0];
    assert_eq!(bare.options, [2, 4, 5, 180]);
    assert_eq!(bare.window, u16::MAX);
}

#[test]
fn a_repeated_syn_is_answered_at_once() {
    let mut bench = Bench::opened(&SYN_OPTIONS, HABITS);
    bench.out();
    assert!(bench.out().is_empty());
    bench.put(&header(flag::SYN, IRS, 0, 64_000, &SYN_OPTIONS));
    assert_eq!(bench.out()[0].flags, flag::SYN | flag::ACK);
}

#[test]
fn an_acknowledgement_of_another_connection_is_reset() {
    let mut bench = Bench::opened(&SYN_OPTIONS, HABITS);
    bench.out();
    assert_eq!(bench.ack(77), Reply::Reset);
    assert_eq!(bench.engine.phase(), Phase::Handshake);
}

#[test]
fn a_connection_in_which_nothing_moves_holds_nothing_and_waits_for_nothing() {
    let mut bench = Bench::new();
    bench.write(100_000);
    let sent = bench.out().len();
    bench.data(1, &[1; 30_000], 0);
    assert!(bench.pool.lent() > 0);
    assert_eq!(bench.read(), 30_000);
    bench.ack(100_001);
    assert_eq!(sent, 69);
    bench.out();
    assert_eq!(bench.pool.lent(), 0);
    assert_eq!(bench.engine.next_poll(), None);
}

#[test]
fn what_comes_behind_a_gap_is_kept_and_told_at_once_the_latest_first() {
    let mut bench = Bench::new();
    let answer = |bench: &mut Bench| {
        let sent = bench.engine.acknowledgement(way(&bench.key, &bench.pool));
        bench.see(&sent)
    };
    assert_eq!(bench.data(2_001, &[3; 1_000], 0), Reply::Acknowledge);
    assert_eq!(bench.data(4_001, &[5; 1_000], 0), Reply::Acknowledge);
    assert_eq!(answer(&mut bench).sack(), [(4_001, 5_001), (2_001, 3_001)]);
    assert_eq!(bench.data(1_001, &[2; 1_000], 0), Reply::Acknowledge);
    let told = answer(&mut bench);
    assert_eq!(told.sack(), [(1_001, 3_001), (4_001, 5_001)]);
    assert_eq!(told.acknowledgement, 1);
    bench.data(1, &[1; 1_000], 0);
    assert_eq!(
        bench.engine.readable(),
        [[1; 1_000], [2; 1_000], [3; 1_000]].concat()
    );
    assert_eq!(bench.out()[0].acknowledgement, 3_001);
}

#[test]
fn a_fin_behind_a_gap_ends_the_stream_once_the_gap_is_filled() {
    let mut bench = Bench::new();
    bench.data(101, &[2; 100], flag::FIN);
    assert!(!bench.engine.fin_received());
    bench.data(1, &[1; 100], 0);
    assert!(bench.engine.fin_received());
    assert_eq!(bench.read(), 200);
    assert_eq!(bench.out()[0].acknowledgement, 202);
    assert_eq!(
        bench.data(101, &[2; 100], flag::FIN),
        Reply::Acknowledge,
        "it comes again"
    );
}

#[test]
fn one_lost_segment_is_sent_again_as_soon_as_three_arrived_behind_it() {
    let mut bench = Bench::new();
    bench.write(20 * MSS);
    assert_eq!(bench.out().len(), 20);
    bench.ack_with(1, 64_000, &[(1_461, 2_921)]);
    bench.ack_with(1, 64_000, &[(1_461, 4_381)]);
    assert!(bench.out().is_empty());
    bench.ack_with(1, 64_000, &[(1_461, 5_841)]);
    let again = bench.out();
    assert_eq!(numbers(&again), [1]);
    assert_eq!(again[0].payload.len(), MSS);
    bench.ack_with(1, 64_000, &[(1_461, 7_301)]);
    assert!(bench.out().is_empty(), "once is enough");
    bench.ack(20 * 1_460 + 1);
    assert_eq!(bench.engine.next_poll(), None);
}

#[test]
fn three_repeated_acknowledgements_do_the_same_without_sack() {
    let mut bench = Bench::opened(&[2, 4, 5, 180], HABITS);
    bench.out();
    bench.ack_with(1, 64_000, &[]);
    bench.write(20 * MSS);
    bench.out();
    for _ in 0..3 {
        assert!(bench.out().is_empty());
        bench.ack(1);
    }
    assert_eq!(numbers(&bench.out()), [1]);
    // Only a part is acknowledged: the next one is missing too.
    bench.ack(5 * 1_460 + 1);
    assert_eq!(numbers(&bench.out()), [5 * 1_460 + 1]);
}

#[test]
fn a_lost_tail_is_probed_for_after_two_round_trips() {
    let mut bench = Bench::new();
    bench.write(3 * MSS);
    bench.out();
    assert_eq!(bench.wait(), 20 * MS);
    assert_eq!(numbers(&bench.out()), [2 * 1_460 + 1]);
    // The probe arrived, what is before it did not.
    bench.ack_with(1, 64_000, &[(2 * 1_460 + 1, 3 * 1_460 + 1)]);
    assert_eq!(numbers(&bench.out()), [1, 1_461]);
    bench.ack(3 * 1_460 + 1);
    assert_eq!(bench.engine.next_poll(), None);
}

#[test]
fn without_an_answer_everything_is_sent_again_ever_more_slowly_and_carefully() {
    let mut bench = Bench::new();
    bench.write(10 * MSS);
    bench.out();
    bench.wait();
    bench.out();
    for milliseconds in [200, 400, 800] {
        assert_eq!(bench.wait(), milliseconds * MS);
        assert_eq!(numbers(&bench.out()), [1]);
    }
    bench.ack(1_461);
    assert_eq!(numbers(&bench.out()), [1_461, 2_921]);
    bench.ack(3 * 1_460 + 1);
    assert_eq!(bench.out().len(), 4);
    bench.ack(10 * 1_460 + 1);
    assert!(bench.out().is_empty());
    bench.write(50 * MSS);
    assert_eq!(bench.out().len(), 50, "and then as before");
}

#[test]
fn a_client_behind_a_link_gets_ten_segments_first_and_less_after_a_loss() {
    let mut bench = Bench::with(CongestionControl::Cubic);
    bench.write(150 * MSS);
    assert_eq!(bench.out().len(), 10);
    bench.ack(10 * 1_460 + 1);
    assert_eq!(bench.out().len(), 20);
    let first = 10 * 1_460 + 1;
    bench.ack_with(first, 64_000, &[(first + 1_460, first + 20 * 1_460)]);
    let again = bench.out();
    assert_eq!(again[0].sequence, first);
    // One was sent again, so thirteen more fill seven tenths of the twenty.
    assert_eq!(again.len(), 14);
}

#[test]
fn a_closed_window_is_asked_for_until_it_opens() {
    let mut bench = Bench::new();
    bench.ack_with(1, 0, &[]);
    bench.write(10_000);
    assert!(bench.out().is_empty());
    assert_eq!(bench.wait(), 200 * MS);
    let probe = bench.out();
    assert_eq!(
        (probe.len(), probe[0].sequence, probe[0].payload.len()),
        (1, 0, 0)
    );
    assert_eq!(bench.wait(), 400 * MS);
    assert_eq!(bench.out().len(), 1);
    bench.ack_with(1, 64_000, &[]);
    assert_eq!(bench.out().len(), 7);
}

#[test]
fn what_a_full_program_refused_is_sent_again_soon_after_it_reads() {
    let mut bench = Bench::new();
    bench.write(5_000);
    bench.out();
    bench.ack_with(1, 0, &[]);
    for _ in 0..8 {
        bench.wait();
        bench.out();
    }
    bench.ack_with(1, 64_000, &[]);
    bench.out();
    assert_eq!(bench.wait(), 200 * MS);
    assert_eq!(numbers(&bench.out()), [1]);
}

#[test]
fn a_silly_window_is_not_filled() {
    let mut bench = Bench::new();
    bench.write(10 * MSS);
    // Three segments and a half, in units of 128 bytes.
    bench.ack_with(1, 40, &[]);
    assert_eq!(bench.out().len(), 3);
    bench.ack_with(1, 42, &[]);
    assert!(bench.out().is_empty());
    bench.ack_with(3 * 1_460 + 1, 40, &[]);
    assert_eq!(bench.out().len(), 3);
}

#[test]
fn the_window_opens_as_bytes_are_read_and_its_edge_never_goes_back() {
    let mut bench = Bench::new();
    let edge = |bench: &Bench| bench.engine.rcv_adv.wrapping_sub(IRS);
    let mut at = 1;
    while at + 1_000 <= edge(&bench) {
        let before = edge(&bench);
        bench.data(at, &[0; 1_000], 0);
        bench.out();
        assert!(edge(&bench) >= before && edge(&bench) <= before + 32);
        at += 1_000;
    }
    let full = edge(&bench);
    assert_eq!(
        bench.data(at, &[0; 1_000], 0),
        Reply::Acknowledge,
        "a part does not fit"
    );
    while bench.read() > 0 {}
    let update = bench.out();
    assert_eq!(update.len(), 1, "the program must hear of it");
    assert!(u32::from(update[0].window) << 5 > 60_000);
    assert!(edge(&bench) > full + 60_000);
}

#[test]
fn who_sends_much_is_promised_much() {
    let mut bench = Bench::new();
    let mut at = 1;
    for _ in 0..100 {
        bench.data(at, &[0; 32_000], 0);
        at += 32_000;
        while bench.read() > 0 {}
        bench.out();
    }
    assert_eq!(bench.engine.window, 1 << 20);
    bench.engine.release(&mut bench.pool);
    assert_eq!(bench.pool.lent(), 0);
    assert_eq!(
        bench.pool.admit(),
        Some(64 << 10),
        "the promise is given back"
    );
}

#[test]
fn busy_neighbours_leave_a_flow_its_share_of_the_queue_and_no_less_than_two_segments() {
    let mut bench = Bench::new();
    let mut at = 1;
    let mut window = |bench: &mut Bench, neighbours: usize| {
        for _ in 0..2 {
            bench.now += 100 * MS;
            for _ in 0..neighbours {
                bench.pool.note_begin(bench.now, &mut Pace::default());
            }
            // Until what was promised before is used up.
            while ahead(bench.engine.rcv_nxt, bench.engine.rcv_adv) > 0 {
                let open = ahead(bench.engine.rcv_nxt, bench.engine.rcv_adv).min(1_000);
                bench.data(at, &vec![0; length(open)], 0);
                at += open;
            }
            while bench.read() > 0 {}
            bench.out();
        }
        ahead(bench.engine.rcv_nxt, bench.engine.rcv_adv)
    };
    assert!(window(&mut bench, 0) >= 64 << 10);
    let shared = window(&mut bench, 511);
    assert!((16_000..17_000).contains(&shared), "{shared}");
    let least = window(&mut bench, 20_000);
    assert!((2_920..3_000).contains(&least), "{least}");
    assert!(window(&mut bench, 0) >= 64 << 10);
}

#[test]
fn beside_many_programs_that_read_late_a_flow_keeps_what_is_enough_and_no_more() {
    const FULL: usize = 1 << 20;
    let mut bench = Bench::new();
    bench.pool = Pool::new(1 << 30, 8 << 20);
    let waiting = |bench: &mut Bench| {
        loop {
            let room = bench.engine.room(&bench.pool);
            let len = bench.engine.lend(room, &mut bench.pool).len();
            if len == 0 {
                return bench.engine.send.len();
            }
            bench.engine.commit(room, len, &mut bench.pool);
        }
    };
    let mut others = Vec::new();
    while !bench.pool.lends_much() {
        others.push(bench.pool.take(LARGEST, Holds::Something).unwrap());
    }
    bench.write(ENOUGH / 2);
    assert_eq!(bench.engine.send.len(), ENOUGH / 2);
    let enough = waiting(&mut bench);
    assert!((ENOUGH..=LARGEST).contains(&enough), "{enough} bytes");
    for chunk in others {
        bench.pool.put(chunk);
    }
    assert_eq!(waiting(&mut bench), FULL, "alone it takes all it may");
}

#[test]
fn strangers_are_challenged_and_not_too_often() {
    let mut bench = Bench::new();
    let next = bench.engine.rcv_nxt;
    let rst = |sequence| header(flag::RST, sequence, 0, 0, &[]);
    assert_eq!(bench.put(&rst(next.wrapping_add(100))), Reply::Acknowledge);
    assert_eq!(bench.put(&rst(next.wrapping_add(200))), Reply::None);
    bench.now += 200 * MS;
    assert_eq!(
        bench.ack(5_000),
        Reply::Acknowledge,
        "of what was never sent"
    );
    assert_eq!(bench.put(&rst(next.wrapping_sub(1))), Reply::None);
    assert_eq!(bench.engine.phase(), Phase::Open);
    assert_eq!(bench.put(&rst(next)), Reply::None);
    assert_eq!(bench.engine.phase(), Phase::Reset);
}

#[test]
fn a_lie_about_what_arrived_is_not_believed() {
    let mut bench = Bench::new();
    bench.write(5 * MSS);
    bench.out();
    bench.ack_with(1, 64_000, &[(10_000, 900_000)]);
    bench.ack_with(1, 64_000, &[(5_000, 4_000)]);
    assert!(bench.out().is_empty());
    assert!(bench.engine.recovery.is_open());
}

#[test]
fn single_bytes_close_the_window_too() {
    let mut bench = Bench::new();
    let promised = bench.engine.window;
    let mut sent = 0;
    let mut edge: u32 = 65_535;
    while edge > sent && length(sent) < 4 * promised {
        bench.data(sent + 1, &[7], 0);
        sent += 1;
        let seen = bench.out();
        let last = seen.last().unwrap();
        edge = last.acknowledgement - 1 + (u32::from(last.window) << 5);
    }
    assert!(
        length(sent) <= promised + promised / 4,
        "{sent} bytes of {promised} are held"
    );
}
