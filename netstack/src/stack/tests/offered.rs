//! Payloads that are lent to the caller from where they lie in the packet.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;

const MUCH: usize = 40_000;

/// Does not repeat itself within any distance that matters here.
static STREAM: LazyLock<Vec<u8>> = LazyLock::new(|| {
    (0..3_000_000)
        .map(|at: usize| (at * 7 + at / 251).to_le_bytes()[0])
        .collect()
});

fn at(offset: usize) -> u32 {
    ISN.wrapping_add(1 + u32::try_from(offset).unwrap())
}

#[test]
fn what_upstream_did_not_take_waits_and_all_is_acknowledged_at_once() {
    let mut bench = Bench::new();
    let (flow, next) = bench.established();
    let stream = &STREAM[..MUCH];
    let packet = ack(at(0), next, stream);
    let Input::TcpPayload { payload, .. } = bench.put(&packet) else {
        panic!("it is not offered")
    };
    assert!(payload == stream);
    let mut tcp = bench.stack.tcp(flow).unwrap();
    tcp.take_in(payload, 30_000);
    assert!(tcp.readable_pieces().collect::<Vec<_>>().concat() == stream[30_000..]);
    assert_eq!(read(&bench.out()[0]).acknowledgement, at(MUCH));
    bench.stack.tcp(flow).unwrap().consume(10_000);
    assert_eq!(bench.stack.gauges().buffer_bytes, 0);
}

#[test]
fn what_is_not_given_back_was_never_received() {
    let mut bench = Bench::new();
    let (flow, next) = bench.established();
    let stream = &STREAM[..MUCH];
    let packet = ack(at(0), next, stream);
    assert!(matches!(bench.put(&packet), Input::TcpPayload { .. }));
    assert!(bench.out().is_empty(), "it is not acknowledged");
    // What is no longer offered is not taken in.
    assert!(matches!(bench.put(&ack(at(0), next, b"")), Input::Tcp(_)));
    bench.stack.tcp(flow).unwrap().take_in(stream, MUCH);
    assert!(bench.stack.tcp(flow).unwrap().readable().is_empty());
    assert!(matches!(bench.put(&packet), Input::TcpPayload { .. }));
}

#[test]
fn little_or_late_or_last_payloads_are_copied() {
    let mut bench = Bench::new();
    let (flow, next) = bench.established();
    let stream = &STREAM[..MUCH];
    let mut put = |offset: usize, bytes: &[u8]| {
        let packet = ack(at(offset), next, bytes);
        matches!(bench.put(&packet), Input::TcpPayload { .. })
    };
    assert!(!put(0, &stream[..1_000]), "little");
    assert!(
        !put(1_000, &stream[1_000..20_000]),
        "something waits before it"
    );
    bench.stack.tcp(flow).unwrap().consume(20_000);
    bench.out();
    let mut put = |offset: usize, bytes: &[u8]| {
        let packet = ack(at(offset), next, bytes);
        matches!(bench.put(&packet), Input::TcpPayload { .. })
    };
    assert!(!put(20_100, &stream[20_100..]), "something is missing");
    assert!(!put(20_000, &stream[20_000..]), "a part of it is there");
    let mut tcp = bench.stack.tcp(flow).unwrap();
    assert!(tcp.readable_pieces().collect::<Vec<_>>().concat() == stream[20_000..]);
    tcp.consume(20_000);
    let mut last = Vec::new();
    let builder = ip(LOCAL, REMOTE)
        .tcp(LOCAL.port(), REMOTE.port(), at(MUCH), 64_000)
        .ack(next)
        .fin();
    builder.write(&mut last, &stream[..20_000]).unwrap();
    assert!(matches!(bench.put(&last), Input::Tcp(_)), "the last");
    bench.stack.tcp(flow).unwrap().consume(20_000);
    assert!(bench.stack.tcp(flow).unwrap().read_finished());
}

#[test]
fn the_window_grows_with_what_goes_straight_upstream() {
    let mut bench = Bench::new();
    let (flow, next) = bench.established();
    let stream = &STREAM[..MUCH];
    let mut windows = Vec::new();
    for n in 0..4 {
        let packet = ack(at(n * MUCH), next, stream);
        let Input::TcpPayload { payload, .. } = bench.put(&packet) else {
            panic!("it is not offered")
        };
        bench.stack.tcp(flow).unwrap().take_in(payload, MUCH);
        let out = bench.out();
        windows.push(u16::from_be_bytes([out[0][34], out[0][35]]));
    }
    assert!(windows[3] > windows[0], "{windows:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    /// Whatever upstream takes at once, and whether or not a payload is given back, the stream arrives.
    #[test]
    fn however_payloads_are_taken_in_the_stream_arrives(
        steps in prop::collection::vec((0usize..60_000, 1usize..60_000, 0usize..80_000, any::<bool>()), 1..40),
    ) {
        let mut bench = Bench::new();
        let (flow, next) = bench.established();
        let stream = &STREAM[..];
        let (mut said, mut arrived) = (0, 0);
        for (back, len, taken, gives_back) in steps {
            let start = said - back.min(said);
            let packet = ack(at(start), next, &stream[start..start + len]);
            match bench.put(&packet) {
                Input::TcpPayload { payload, .. } if gives_back => {
                    let sent = taken.min(payload.len());
                    prop_assert!(payload[..sent] == stream[arrived..arrived + sent]);
                    arrived += sent;
                    bench.stack.tcp(flow).unwrap().take_in(payload, sent);
                }
                _ => {
                    let mut tcp = bench.stack.tcp(flow).unwrap();
                    let n = tcp.readable().len().min(taken);
                    prop_assert!(tcp.readable()[..n] == stream[arrived..arrived + n]);
                    arrived += n;
                    tcp.consume(n);
                }
            }
            for packet in bench.out() {
                said = usize::try_from(read(&packet).acknowledgement.wrapping_sub(at(0))).unwrap();
            }
            let tcp = bench.stack.tcp(flow).unwrap();
            let waits = tcp.readable_pieces().collect::<Vec<_>>().concat();
            prop_assert!(waits == stream[arrived..said]);
        }
    }
}
