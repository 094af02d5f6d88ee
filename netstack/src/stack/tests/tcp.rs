//! TCP: dial first, close, reset, come again.

use super::*;

#[test]
fn nothing_is_said_before_the_verdict() {
    let mut bench = Bench::new();
    let flow = bench.syn(&syn(LOCAL, REMOTE, ISN));
    assert!(bench.out().is_empty());
    assert_eq!(bench.stack.gauges().half_open, 1);
    assert!(bench.stack.tcp(flow).is_none());
    let key = FlowKey {
        protocol: Protocol::Tcp,
        local: LocalAddr(LOCAL),
        remote: RemoteAddr(REMOTE),
    };
    assert_eq!(bench.stack.key(flow), Some(key));
    assert_eq!(bench.stack.find(&key), Some(flow));
}

#[test]
fn repeated_syns_of_a_waiting_flow_are_absorbed() {
    let mut bench = Bench::new();
    bench.syn(&syn(LOCAL, REMOTE, ISN));
    for _ in 0..5 {
        bench.wait(Duration::from_secs(20));
        assert!(matches!(
            bench.put(&syn(LOCAL, REMOTE, ISN)),
            Input::Handled
        ));
    }
    assert!(bench.out().is_empty());
    assert_eq!(bench.stack.gauges().flows, 1);
}

#[test]
fn accepting_answers_the_syn_that_came_last() {
    let mut bench = Bench::new();
    let flow = bench.syn(&syn(LOCAL, REMOTE, ISN));
    bench.put(&syn(LOCAL, REMOTE, 9_000));
    assert!(bench.stack.tcp_accept(bench.now, flow));
    let answer = read(&bench.out()[0]);
    assert_eq!((answer.from, answer.to), (REMOTE, LOCAL));
    assert!(answer.syn && answer.ack);
    assert_eq!(answer.acknowledgement, 9_001);
    assert!(!bench.stack.tcp_accept(bench.now, flow), "accepted twice");
}

#[test]
fn a_waiting_syn_that_is_not_repeated_times_out() {
    let mut bench = Bench::new();
    let flow = bench.syn(&syn(LOCAL, REMOTE, ISN));
    let (at, _) = bench.stack.poll_timeout().unwrap();
    bench.wait(at - bench.now);
    assert_eq!(bench.events(), [Event::Closed(flow, CloseReason::TimedOut)]);
    assert_eq!(bench.stack.gauges(), StackGauges::default());
}

#[test]
fn a_waiting_syn_is_taken_back_only_by_who_knows_it() {
    let mut bench = Bench::new();
    let flow = bench.syn(&syn(LOCAL, REMOTE, ISN));
    assert!(matches!(bench.put(&rst(77)), Input::Handled));
    assert!(bench.events().is_empty());
    assert!(matches!(bench.put(&rst(ISN + 1)), Input::Handled));
    assert_eq!(
        bench.events(),
        [Event::Closed(flow, CloseReason::ResetByProgram)]
    );
    assert!(!bench.stack.tcp_accept(bench.now, flow));
}

#[test]
fn a_refusal_is_a_rst_that_acknowledges_the_syn() {
    for (local, remote) in [(LOCAL, REMOTE), (LOCAL_V6, REMOTE_V6)] {
        let mut bench = Bench::new();
        let flow = bench.syn(&syn(local, remote, ISN));
        bench.stack.refuse(bench.now, flow, Refusal::Reset);
        let answer = read(&bench.out()[0]);
        assert_eq!((answer.from, answer.to), (remote, local));
        assert!(answer.rst && answer.ack);
        assert_eq!((answer.sequence, answer.acknowledgement), (0, ISN + 1));
        assert_eq!(bench.stack.gauges(), StackGauges::default());
    }
}

#[test]
fn a_refusal_by_silence_absorbs_the_syn_for_a_minute() {
    let mut bench = Bench::new();
    let flow = bench.syn(&syn(LOCAL, REMOTE, ISN));
    bench.stack.refuse(bench.now, flow, Refusal::Silence);
    bench.wait(Duration::from_secs(59));
    assert!(matches!(
        bench.put(&syn(LOCAL, REMOTE, ISN)),
        Input::Dropped(DropReason::Silenced)
    ));
    assert!(bench.out().is_empty());
    bench.wait(Duration::from_secs(2));
    bench.syn(&syn(LOCAL, REMOTE, ISN));
}

#[test]
fn data_goes_both_ways_and_a_batch_is_acknowledged_once() {
    let mut bench = Bench::new();
    let (flow, next) = bench.established();
    for n in 0..10 {
        assert!(matches!(
            bench.put(&ack(ISN + 1 + n * 3, next, b"abc")),
            Input::Tcp(_)
        ));
    }
    let mut tcp = bench.stack.tcp(flow).unwrap();
    assert_eq!(tcp.readable(), b"abc".repeat(10));
    tcp.consume(30);
    tcp.writable()[..5].copy_from_slice(b"hello");
    tcp.commit(5);
    let out = bench.out();
    assert_eq!(out.len(), 1);
    let answer = read(&out[0]);
    assert_eq!((answer.sequence, answer.acknowledgement), (next, ISN + 31));
    assert_eq!(answer.payload, b"hello");
}

#[test]
fn the_program_closing_first_leaves_nothing_behind() {
    let mut bench = Bench::new();
    let (flow, next) = bench.established();
    bench.put(&fin(ISN + 1, next));
    assert!(bench.stack.tcp(flow).unwrap().read_finished());
    bench.stack.tcp(flow).unwrap().finish();
    assert!(read(&bench.out()[0]).fin);
    bench.put(&ack(ISN + 2, next + 1, b""));
    bench.out();
    assert_eq!(bench.events(), [Event::Closed(flow, CloseReason::Finished)]);
    assert_eq!(bench.stack.gauges(), StackGauges::default());
}

/// A connection that our side closed first, now in TIME-WAIT.
fn closed_by_us() -> (Bench, u32) {
    let mut bench = Bench::new();
    let (flow, next) = bench.established();
    bench.stack.tcp(flow).unwrap().finish();
    assert!(read(&bench.out()[0]).fin);
    bench.put(&fin(ISN + 1, next + 1));
    let last = read(&bench.out()[0]);
    assert_eq!((last.sequence, last.acknowledgement), (next + 1, ISN + 2));
    assert_eq!(bench.events(), [Event::Closed(flow, CloseReason::Finished)]);
    let gauges = bench.stack.gauges();
    assert_eq!(
        (gauges.flows, gauges.buffer_bytes, gauges.time_wait),
        (0, 0, 1),
        "only a record stays"
    );
    (bench, next)
}

#[test]
fn time_wait_acknowledges_a_repeated_fin() {
    let (mut bench, next) = closed_by_us();
    bench.wait(Duration::from_secs(3));
    assert!(matches!(bench.put(&fin(ISN + 1, next + 1)), Input::Handled));
    let again = read(&bench.out()[0]);
    assert_eq!((again.sequence, again.acknowledgement), (next + 1, ISN + 2));
    assert!(again.ack && !again.rst);
}

#[test]
fn time_wait_gives_way_to_a_syn_with_a_higher_sequence_number() {
    let (mut bench, _) = closed_by_us();
    bench.syn(&syn(LOCAL, REMOTE, ISN + 100));
    assert_eq!(bench.stack.gauges().time_wait, 0);
}

#[test]
fn time_wait_stands_against_an_old_syn() {
    let (mut bench, next) = closed_by_us();
    assert!(matches!(
        bench.put(&syn(LOCAL, REMOTE, ISN - 100)),
        Input::Handled
    ));
    assert_eq!(read(&bench.out()[0]).sequence, next + 1);
}

#[test]
fn time_wait_ends_with_a_single_waking() {
    let (mut bench, _) = closed_by_us();
    let (at, reason) = bench.stack.poll_timeout().unwrap();
    assert_eq!(reason, TimeoutReason::TimeWait);
    bench.wait(at - bench.now);
    assert_eq!(bench.stack.gauges().time_wait, 0);
    assert_eq!(bench.stack.poll_timeout(), None);
}

#[test]
fn a_reset_has_the_sequence_number_that_the_program_expects() {
    let mut bench = Bench::new();
    let (flow, next) = bench.established();
    bench.stack.tcp(flow).unwrap().abort();
    assert!(bench.stack.tcp(flow).is_none());
    let reset = read(&bench.out()[0]);
    assert!(reset.rst);
    assert_eq!((reset.sequence, reset.acknowledgement), (next, ISN + 1));
    assert!(bench.events().is_empty(), "the caller asked for it");
    let gauges = bench.stack.gauges();
    assert_eq!((gauges.flows, gauges.buffer_bytes), (0, 0));
}

#[test]
fn what_was_under_way_to_a_reset_flow_is_answered_by_a_reset() {
    let mut bench = Bench::new();
    let (flow, next) = bench.established();
    bench.stack.tcp(flow).unwrap().abort();
    // Comes in even before the RST went out.
    assert!(matches!(
        bench.put(&ack(ISN + 1, next, b"late")),
        Input::Handled
    ));
    let out = bench.out();
    assert_eq!(out.len(), 2, "one that was asked for, one that answers");
    assert!(out.iter().all(|packet| read(packet).rst));
    assert_eq!(read(out.last().unwrap()).sequence, next);
    bench.syn(&syn(LOCAL, REMOTE, ISN + 1_000));
}

#[test]
fn a_reset_by_the_program_ends_the_flow() {
    let mut bench = Bench::new();
    let (flow, _) = bench.established();
    bench.put(&rst(ISN + 1));
    assert_eq!(
        bench.events(),
        [Event::Closed(flow, CloseReason::ResetByProgram)]
    );
    assert!(bench.out().is_empty());
    assert_eq!(bench.stack.gauges(), StackGauges::default());
}

#[test]
fn a_reset_outside_the_window_does_nothing() {
    let mut bench = Bench::new();
    let (flow, _) = bench.established();
    bench.put(&rst(ISN - 4_000));
    assert!(bench.events().is_empty());
    assert!(bench.stack.tcp(flow).is_some());
}

#[test]
fn a_syn_on_a_live_connection_is_challenged_once_a_second() {
    let mut bench = Bench::new();
    let (flow, next) = bench.established();
    for _ in 0..3 {
        assert!(matches!(
            bench.put(&syn(LOCAL, REMOTE, 99_000)),
            Input::Handled
        ));
    }
    let out = bench.out();
    assert_eq!(out.len(), 1);
    let challenge = read(&out[0]);
    assert_eq!(
        (challenge.sequence, challenge.acknowledgement),
        (next, ISN + 1)
    );
    assert!(challenge.ack && !challenge.rst && !challenge.syn);
    // A program that really begins anew knows nothing of this connection.
    bench.put(&rst(ISN + 1));
    assert_eq!(
        bench.events(),
        [Event::Closed(flow, CloseReason::ResetByProgram)]
    );
    bench.syn(&syn(LOCAL, REMOTE, 99_000));
}

#[test]
fn finishing_before_the_handshake_ends_still_answers_the_syn() {
    let mut bench = Bench::new();
    let flow = bench.syn(&syn(LOCAL, REMOTE, ISN));
    assert!(bench.stack.tcp_accept(bench.now, flow));
    bench.stack.tcp(flow).unwrap().finish();
    let answer = read(&bench.out()[0]);
    assert!(answer.syn && answer.ack && !answer.fin);
    bench.put(&ack(ISN + 1, answer.sequence + 1, b""));
    assert!(read(&bench.out()[0]).fin);
}

#[test]
fn a_fin_behind_payload_that_exceeds_the_window_does_not_count() {
    let mut bench = Bench::with(StackConfig {
        // Enough for a window of 16 KiB, but not of 64.
        buffer_budget: 64 << 10,
        receive_window: 16 << 10,
        ..StackConfig::default()
    });
    let (flow, next) = bench.established();
    let window = 16 << 10;
    let stream: Vec<u8> = (0..=255).cycle().take(window + 100).collect();
    let (first, last) = stream.split_at(window - 50);
    let mut at = ISN + 1;
    for piece in first.chunks(1_000) {
        bench.put(&ack(at, next, piece));
        at += u32::try_from(piece.len()).unwrap();
    }
    bench.out();
    let mut packet = Vec::new();
    let builder = ip(LOCAL, REMOTE)
        .tcp(LOCAL.port(), REMOTE.port(), at, 64_000)
        .ack(next)
        .fin();
    builder.write(&mut packet, last).unwrap();
    bench.put(&packet);
    let mut tcp = bench.stack.tcp(flow).unwrap();
    assert!(read_all(&mut tcp) == stream[..window]);
    assert!(!tcp.read_finished());
    bench.out();
    bench.put(&packet);
    let mut tcp = bench.stack.tcp(flow).unwrap();
    assert!(read_all(&mut tcp) == stream[window..]);
    assert!(tcp.read_finished());
}

/// Takes everything that can be read.
fn read_all(tcp: &mut TcpFlow<'_>) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        let piece = tcp.readable().to_vec();
        if piece.is_empty() {
            return all;
        }
        tcp.consume(piece.len());
        all.extend(piece);
    }
}

#[test]
fn unread_bytes_outlive_both_fins() {
    let mut bench = Bench::new();
    let (flow, next) = bench.established();
    bench.stack.tcp(flow).unwrap().finish();
    bench.out();
    bench.put(&ack(ISN + 1, next + 1, b"last words"));
    bench.put(&fin(ISN + 11, next + 1));
    bench.out();
    for _ in 0..60 {
        bench.wait(Duration::from_secs(1));
        // Whoever looks makes the flow take its turn.
        bench.stack.tcp(flow).unwrap().consume(0);
        bench.out();
    }
    assert!(bench.events().is_empty());
    let mut tcp = bench.stack.tcp(flow).unwrap();
    assert_eq!(tcp.readable(), b"last words");
    tcp.consume(10);
    bench.out();
    assert_eq!(bench.events(), [Event::Closed(flow, CloseReason::Finished)]);
}

#[test]
fn an_idle_connection_is_reset_after_its_limit_and_ticks_never() {
    let mut bench = Bench::new();
    let (flow, next) = bench.established();
    let (at, _) = bench.stack.poll_timeout().unwrap();
    assert_eq!(
        at,
        bench.now + IdleLimits::default().tcp,
        "nothing to do until then"
    );
    bench.wait(at - bench.now);
    assert_eq!(bench.events(), [Event::Closed(flow, CloseReason::Idle)]);
    let reset = read(&bench.out()[0]);
    assert!(reset.rst);
    assert_eq!(reset.sequence, next);
}

#[test]
fn a_program_that_asks_whether_the_other_end_is_there_is_answered_and_heard() {
    for garbage in ["", "x"] {
        let mut bench = Bench::new();
        let (flow, next) = bench.established();
        bench.wait(Duration::from_secs(60));
        bench.put(&ack(ISN, next, garbage.as_bytes()));
        let silence = Duration::from_secs(60);
        assert_eq!(
            bench.events(),
            [Event::KeepAlive(flow, silence)],
            "{garbage:?}"
        );
        let answer = read(&bench.out()[0]);
        assert!(answer.ack && !answer.rst);
        assert_eq!(
            (answer.sequence, answer.acknowledgement),
            (next, ISN + 1),
            "{garbage:?}"
        );
        // What was received before is no question.
        bench.put(&ack(ISN + 1, next, b"abc"));
        bench.put(&ack(ISN + 1, next, b"abc"));
        bench.wait(Duration::from_secs(1));
        bench.put(&ack(ISN + 1, next, b""));
        assert_eq!(bench.events(), [], "{garbage:?}");
    }
}

#[test]
fn two_hours_of_silence_keep_a_connection_and_keepalives_keep_it_for_days() {
    const TWO_HOURS: Duration = Duration::from_secs(2 * 60 * 60);
    let mut bench = Bench::new();
    let (flow, next) = bench.established();
    for _ in 0..36 {
        bench.wait(TWO_HOURS);
        bench.put(&ack(ISN, next, b""));
        assert_eq!(bench.events(), [Event::KeepAlive(flow, TWO_HOURS)]);
        assert!(read(&bench.out()[0]).ack);
    }
    bench.wait(TWO_HOURS);
    assert!(matches!(
        bench.put(&ack(ISN + 1, next, b"abc")),
        Input::Tcp(_)
    ));
    assert_eq!(bench.events(), []);
    let mut tcp = bench.stack.tcp(flow).unwrap();
    assert_eq!(tcp.readable(), b"abc");
}

#[test]
fn half_open_flows_are_capped() {
    let mut bench = Bench::with(StackConfig {
        max_half_open: 2,
        ..StackConfig::default()
    });
    let from = |port| SocketAddr::new(LOCAL.ip(), port);
    bench.syn(&syn(from(1), REMOTE, ISN));
    let second = bench.syn(&syn(from(2), REMOTE, ISN));
    assert!(matches!(
        bench.put(&syn(from(3), REMOTE, ISN)),
        Input::Dropped(DropReason::TooManyHalfOpen)
    ));
    assert!(bench.stack.tcp_accept(bench.now, second));
    bench.syn(&syn(from(3), REMOTE, ISN));
    assert_eq!(bench.stack.drops(), [(DropReason::TooManyHalfOpen, 1)]);
}

#[test]
fn a_full_table_keeps_tcp_and_gives_up_the_quietest_datagrams() {
    let mut bench = Bench::with(StackConfig {
        max_flows: 2,
        ..StackConfig::default()
    });
    let from = |port| SocketAddr::new(LOCAL.ip(), port);
    let Input::Udp { flow: quiet, .. } = bench.put(&udp(from(1), REMOTE, b"x")) else {
        panic!()
    };
    bench.syn(&syn(from(2), REMOTE, ISN));
    bench.syn(&syn(from(3), REMOTE, ISN));
    assert_eq!(bench.events(), [Event::Closed(quiet, CloseReason::Evicted)]);
    assert!(matches!(
        bench.put(&syn(from(4), REMOTE, ISN)),
        Input::Dropped(DropReason::FlowTableFull)
    ));
    assert!(matches!(
        bench.put(&udp(from(5), REMOTE, b"x")),
        Input::Dropped(DropReason::FlowTableFull)
    ));
}

#[test]
fn a_spent_budget_resets_new_flows_and_keeps_old_ones() {
    let mut bench = Bench::with(StackConfig {
        buffer_budget: 20 << 10,
        ..StackConfig::default()
    });
    let (first, next) = bench.established();
    let from = |port| SocketAddr::new(LOCAL.ip(), port);
    let second = bench.syn(&syn(from(2), REMOTE, ISN));
    assert!(bench.stack.tcp_accept(bench.now, second));
    bench.out();
    let third = bench.syn(&syn(from(3), REMOTE, ISN));
    assert!(!bench.stack.tcp_accept(bench.now, third));
    assert!(read(&bench.out()[0]).rst);
    assert!(bench.stack.key(third).is_none());
    // The first goes on, in both directions.
    bench.put(&ack(ISN + 1, next, &[1; 1_000]));
    let mut tcp = bench.stack.tcp(first).unwrap();
    assert_eq!(tcp.readable(), [1; 1_000]);
    tcp.consume(1_000);
    tcp.writable()[..1_000].fill(2);
    tcp.commit(1_000);
    assert_eq!(read(&bench.out()[0]).payload, [2; 1_000]);
    assert!(bench.stack.gauges().buffer_bytes <= 20 << 10);
    // Whoever goes makes room.
    bench.stack.tcp(first).unwrap().abort();
    bench.stack.tcp(second).unwrap().abort();
    bench.out();
    let fourth = bench.syn(&syn(from(4), REMOTE, ISN));
    assert!(bench.stack.tcp_accept(bench.now, fourth));
}

#[test]
fn an_id_is_not_used_again() {
    let mut bench = Bench::new();
    let mut seen = std::collections::HashSet::new();
    for _ in 0..100 {
        let flow = bench.syn(&syn(LOCAL, REMOTE, ISN));
        assert!(seen.insert(flow));
        bench.stack.forget(flow);
        assert!(bench.stack.key(flow).is_none());
    }
}

#[test]
fn sequence_numbers_differ_from_flow_to_flow_and_seed_to_seed() {
    let mut seen = std::collections::HashSet::new();
    for seed in 0..20 {
        let mut bench = Bench::with(StackConfig {
            seed,
            ..StackConfig::default()
        });
        for _ in 0..5 {
            let flow = bench.syn(&syn(LOCAL, REMOTE, ISN));
            assert!(bench.stack.tcp_accept(bench.now, flow));
            assert!(seen.insert(read(&bench.out()[0]).sequence));
            bench.stack.tcp(flow).unwrap().abort();
            bench.out();
        }
    }
}

#[test]
fn options_and_extension_headers_do_not_hide_a_connection() {
    let mut bench = Bench::new();
    let (flow, next) = bench.established();
    let mut header = etherparse::Ipv4Header::new(
        0,
        64,
        etherparse::IpNumber::TCP,
        [10, 0, 0, 1],
        [203, 0, 113, 9],
    )
    .unwrap();
    header.options = [1, 1, 1, 0].into();
    let mut packet = Vec::new();
    let builder = PacketBuilder::ip(etherparse::IpHeaders::Ipv4(
        header,
        etherparse::Ipv4Extensions::default(),
    ));
    builder
        .tcp(LOCAL.port(), REMOTE.port(), ISN + 1, 64_000)
        .ack(next)
        .write(&mut packet, b"abc")
        .unwrap();
    assert_eq!(packet[0], 0x46);
    assert!(matches!(bench.put(&packet), Input::Tcp(_)));
    assert_eq!(bench.stack.tcp(flow).unwrap().readable(), b"abc");
}

#[test]
fn a_reset_after_both_fins_takes_nothing_away() {
    let mut bench = Bench::new();
    let (flow, next) = bench.established();
    bench.put(&fin(ISN + 1, next));
    bench.stack.tcp(flow).unwrap().finish();
    bench.out();
    // The program's socket is gone before our FIN is acknowledged.
    bench.put(&rst(ISN + 2));
    bench.out();
    assert_eq!(bench.events(), [Event::Closed(flow, CloseReason::Finished)]);
}

#[test]
fn repeated_acks_do_not_keep_a_lost_fin_from_being_sent_again() {
    let mut bench = Bench::new();
    let (flow, next) = bench.established();
    bench.stack.tcp(flow).unwrap().finish();
    assert!(read(&bench.out()[0]).fin);
    for _ in 0..5 {
        bench.put(&ack(ISN + 1, next, b""));
        assert!(bench.out().is_empty());
    }
    let (at, reason) = bench.stack.poll_timeout().unwrap();
    assert_eq!(reason, TimeoutReason::Tcp);
    assert!(at - bench.now < Duration::from_secs(5));
    bench.wait(at - bench.now);
    assert!(read(&bench.out()[0]).fin);
}

#[test]
fn what_upstream_said_before_its_reset_goes_first_and_looks_unfinished() {
    let mut bench = Bench::new();
    let (flow, server) = bench.established();
    let mut tcp = bench.stack.tcp(flow).unwrap();
    tcp.writable()[..3_000].fill(7);
    tcp.commit(3_000);
    tcp.finish();
    tcp.break_off();
    let out: Vec<Seen> = bench.out().iter().map(|packet| read(packet)).collect();
    assert_eq!(
        out.iter().map(|seen| seen.payload.len()).sum::<usize>(),
        3_000
    );
    assert!(out.iter().all(|seen| !seen.fin));
    let last = out.last().unwrap();
    assert!(last.rst);
    assert_eq!(last.sequence, server + 3_000);
    assert_eq!(bench.stack.gauges().flows, 0);
    assert_eq!(bench.stack.gauges().buffer_bytes, 0);
}

#[test]
fn what_the_program_said_before_its_reset_can_be_read_for_a_moment() {
    for reads in [true, false] {
        let mut bench = Bench::new();
        let (flow, server) = bench.established();
        bench.put(&ack(ISN + 1, server, b"QUIT"));
        assert!(matches!(bench.put(&rst(ISN + 5)), Input::Tcp(_)));
        assert!(bench.out().iter().all(|packet| !read(packet).rst));
        assert!(bench.events().is_empty());
        let mut tcp = bench.stack.tcp(flow).unwrap();
        assert!(!tcp.read_finished());
        assert_eq!(tcp.readable(), b"QUIT");
        if reads {
            tcp.consume(4);
            assert!(!tcp.read_finished(), "a reset is no end of file");
            assert!(bench.out().is_empty());
        } else {
            let (at, _) = bench.stack.poll_timeout().unwrap();
            assert!(at - bench.now <= Duration::from_secs(1));
            bench.wait(at - bench.now);
        }
        assert_eq!(
            bench.events(),
            [Event::Closed(flow, CloseReason::ResetByProgram)]
        );
        assert_eq!(bench.stack.gauges(), StackGauges::default());
    }
}

#[test]
fn a_port_used_again_right_after_a_reset_opens_a_new_connection() {
    let mut bench = Bench::new();
    let (flow, server) = bench.established();
    bench.put(&ack(ISN + 1, server, b"QUIT"));
    bench.put(&rst(ISN + 5));
    let next = bench.syn(&syn(LOCAL, REMOTE, ISN + 100_000));
    assert_ne!(next, flow);
    assert_eq!(
        bench.events(),
        [Event::Closed(flow, CloseReason::ResetByProgram)]
    );
}
