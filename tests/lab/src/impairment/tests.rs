use super::*;

const MILLISECOND: Duration = Duration::from_millis(1);

/// An IPv4 frame that says which one it is.
fn packet(number: u8) -> Vec<u8> {
    let mut frame = vec![0; 1000];
    frame[12..14].copy_from_slice(&[0x08, 0x00]);
    frame[999] = number;
    frame
}

/// What comes out until `end`, a millisecond at a time: when, and which.
fn outcome(way: &mut Way, start: Instant, end: u32) -> Vec<(u32, u8)> {
    let mut out = Vec::new();
    for at in 0..=end {
        while let Some(frame) = way.poll_frame(start + at * MILLISECOND) {
            out.push((at, frame[999]));
        }
    }
    out
}

#[test]
fn an_unimpaired_link_passes_everything_at_once_and_in_order() {
    let start = Instant::now();
    let mut way = Way::new(Impairment::default(), Direction::There);
    for number in 0..3 {
        way.handle_frame(start, &packet(number));
    }
    assert_eq!(outcome(&mut way, start, 0), [(0, 0), (0, 1), (0, 2)]);
    assert_eq!(way.poll_timeout(), None);
}

#[test]
fn a_delayed_frame_leaves_when_its_time_has_come_and_not_before() {
    let start = Instant::now();
    let impairment = Impairment {
        delay: 25 * MILLISECOND,
        ..Impairment::default()
    };
    let mut way = Way::new(impairment, Direction::There);
    way.handle_frame(start, &packet(0));
    way.handle_frame(start + 3 * MILLISECOND, &packet(1));
    assert_eq!(way.poll_timeout(), Some(start + 25 * MILLISECOND));
    assert_eq!(outcome(&mut way, start, 100), [(25, 0), (28, 1)]);
}

#[test]
fn a_late_frame_is_overtaken() {
    let start = Instant::now();
    let impairment = Impairment {
        late: Share::percent(50),
        lateness: 10 * MILLISECOND,
        ..Impairment::default()
    };
    let mut way = Way::new(impairment, Direction::There);
    for number in 0..20 {
        way.handle_frame(start, &packet(number));
    }
    let late = |number| impairment.delays(Direction::There, number);
    let (behind, ahead): (Vec<_>, Vec<_>) = (0..20_u8).partition(|number| late((*number).into()));
    assert!(!behind.is_empty() && !ahead.is_empty());
    let expected: Vec<_> = (ahead.into_iter().map(|number| (0, number)))
        .chain(behind.into_iter().map(|number| (10, number)))
        .collect();
    assert_eq!(outcome(&mut way, start, 20), expected);
}

#[test]
fn a_slow_line_sends_one_frame_after_the_other_and_drops_what_its_queue_does_not_hold() {
    let start = Instant::now();
    let impairment = Impairment {
        // A frame of 1,000 bytes takes 1 ms.
        rate: Some(Rate {
            bits_per_second: 8_000_000,
            queue: 2000,
        }),
        ..Impairment::default()
    };
    let mut way = Way::new(impairment, Direction::There);
    for number in 0..5 {
        way.handle_frame(start, &packet(number));
    }
    way.handle_frame(start + 10 * MILLISECOND, &packet(9));
    let expected = [(1, 0), (2, 1), (3, 2), (11, 9)];
    assert_eq!(outcome(&mut way, start, 20), expected);
    assert_eq!(way.counts().dropped, 2);
}

#[test]
fn the_seed_says_which_packets_are_lost() {
    let lost = |seed, direction| {
        let impairment = Impairment {
            seed,
            loss: Share::percent(1),
            ..Impairment::default()
        };
        let lost: Vec<_> = (0..100_000)
            .filter(|number| impairment.loses(direction, *number))
            .collect();
        lost
    };
    let once = lost(1, Direction::There);
    assert_eq!(once, lost(1, Direction::There));
    assert_ne!(once, lost(1, Direction::Back));
    assert_ne!(once, lost(2, Direction::There));
    // 1,000 are expected; the standard deviation is 31.
    assert!((900..1100).contains(&once.len()), "{} are lost", once.len());
}

#[test]
fn what_neighbours_say_is_neither_numbered_nor_lost() {
    let mut way = Way::new(
        Impairment {
            loss: Share::percent(100),
            ..Impairment::default()
        },
        Direction::There,
    );
    let mut broadcast = packet(1);
    broadcast[0] = 0xff;
    let mut arp_reply = packet(2);
    arp_reply[12..14].copy_from_slice(&[0x08, 0x06]);
    let mut advertisement = packet(3);
    advertisement[12..14].copy_from_slice(&[0x86, 0xdd]);
    advertisement[20] = 58;
    advertisement[54] = 136;
    let mut echo = advertisement.clone();
    echo[54] = 128;
    let start = Instant::now();
    for frame in [broadcast, arp_reply, advertisement, echo, packet(4)] {
        way.handle_frame(start, &frame);
    }
    assert_eq!(outcome(&mut way, start, 0), [(0, 1), (0, 2), (0, 3)]);
    let counts = Counts {
        packets: 2,
        lost: 2,
        ..Counts::default()
    };
    assert_eq!(way.counts(), counts);
}
