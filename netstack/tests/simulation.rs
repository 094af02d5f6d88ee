//! Whole connections on virtual time: a smoltcp client plays the program, the link between loses, repeats and reorders
//! packets as a seed says, and the caller's side moves bytes as a worker would.

#![expect(
    clippy::unwrap_used,
    reason = "what cannot be unwrapped fails the test"
)]

#[path = "simulation/client.rs"]
mod client;
#[path = "simulation/fault.rs"]
mod fault;
#[path = "simulation/link.rs"]
mod link;
#[path = "simulation/one_loss.rs"]
mod one_loss;
#[path = "simulation/world.rs"]
mod world;

use std::time::Duration;

use fault::Fault;
use link::{Dice, Weather};
use tidegate_netstack::{CloseReason, CongestionControl};
use world::{Ending, Plan, World};

/// What most scenarios start from.
fn plan(seed: u64) -> Plan {
    Plan {
        seed,
        ..Plan::default()
    }
}

#[test]
fn both_ways_arrive_whole_on_a_clean_link() {
    for seed in 0..8 {
        World::new(plan(seed)).run().assert_everything_arrived();
    }
}

#[test]
fn both_ways_arrive_whole_through_loss_repetition_and_reordering() {
    for seed in 0..48 {
        let weather = Weather {
            loss: 30,
            repetition: 30,
            jitter: Duration::from_millis(3),
            ..Weather::default()
        };
        let outcome = World::new(Plan {
            weather,
            up: 150_000,
            down: 150_000,
            ..plan(seed)
        })
        .run();
        outcome.assert_everything_arrived();
    }
}

#[test]
fn super_packets_arrive_whole_with_offload_in_both_families() {
    for seed in 0..8 {
        let outcome = World::new(Plan {
            offload: true,
            up: 2_000_000,
            down: 2_000_000,
            v6: seed % 2 == 1,
            ..plan(seed)
        })
        .run();
        outcome.assert_everything_arrived();
        assert!(
            outcome.largest_packet > 20_000,
            "no super-packet was seen: {}",
            outcome.largest_packet
        );
    }
}

#[test]
fn a_slow_reader_upstream_loses_nothing() {
    for seed in 0..4 {
        let plan = Plan {
            upstream_per_turn: 700,
            up: 600_000,
            down: 10,
            ..plan(seed)
        };
        World::new(plan).run().assert_everything_arrived();
    }
}

#[test]
fn the_program_may_go_on_sending_after_our_fin() {
    for seed in 0..8 {
        let outcome = World::new(Plan {
            ending: Ending::ServerFirst,
            down: 1_000,
            up: 400_000,
            ..plan(seed)
        })
        .run();
        outcome.assert_everything_arrived();
        assert!(
            outcome.time_wait > 0,
            "closing first leaves a TIME-WAIT record"
        );
    }
}

#[test]
fn the_program_may_go_on_receiving_after_its_fin() {
    for seed in 0..8 {
        let outcome = World::new(Plan {
            ending: Ending::ClientFirst,
            up: 1_000,
            down: 400_000,
            ..plan(seed)
        })
        .run();
        outcome.assert_everything_arrived();
        assert_eq!(outcome.time_wait, 0);
    }
}

#[test]
fn a_reset_by_the_program_is_seen() {
    for seed in 0..8 {
        let outcome = World::new(Plan {
            ending: Ending::ClientAborts,
            ..plan(seed)
        })
        .run();
        assert_eq!(outcome.closed, Some(CloseReason::ResetByProgram));
        assert_eq!(outcome.flows, 0);
    }
}

#[test]
fn a_reset_by_us_is_seen_by_the_program() {
    for seed in 0..8 {
        let outcome = World::new(Plan {
            ending: Ending::ServerAborts,
            ..plan(seed)
        })
        .run();
        assert!(outcome.client_was_reset);
        assert_eq!(outcome.closed, None, "the caller asked for it");
        assert_eq!((outcome.flows, outcome.buffer_bytes), (0, 0));
    }
}

#[test]
fn a_program_that_vanishes_times_out() {
    let outcome = World::new(Plan {
        ending: Ending::ClientVanishes,
        ..plan(1)
    })
    .run();
    assert_eq!(outcome.closed, Some(CloseReason::TimedOut));
    assert_eq!(outcome.flows, 0);
}

/// A link that loses a few packets, so that retransmissions are needed.
fn rain() -> Weather {
    Weather {
        loss: 20,
        ..Weather::default()
    }
}

#[test]
fn every_fiftieth_acknowledgement_may_be_missing() {
    for seed in 0..8 {
        let plan = Plan {
            fault: Fault::FiftiethAcks,
            up: 1_000_000,
            ..plan(seed)
        };
        World::new(plan).run().assert_everything_arrived();
    }
}

#[test]
fn a_stack_that_never_sends_fin_is_found_out() {
    for seed in 0..4 {
        let plan = Plan {
            fault: Fault::Fins,
            ..plan(seed)
        };
        assert!(!World::new(plan).run().is_complete());
    }
}

#[test]
fn a_stack_that_sends_nothing_twice_is_found_out() {
    for seed in 0..4 {
        let plan = Plan {
            fault: Fault::Retransmissions,
            weather: rain(),
            ..plan(seed)
        };
        assert!(!World::new(plan).run().is_complete());
    }
}

#[test]
fn a_client_behind_a_lossy_link_gets_everything_with_congestion_control() {
    for seed in 0..16 {
        let weather = Weather {
            loss: 10,
            delay: Duration::from_millis(25),
            ..Weather::default()
        };
        let plan = Plan {
            weather,
            congestion: CongestionControl::Cubic,
            up: 10_000,
            down: 1_000_000,
            ..plan(seed)
        };
        World::new(plan).run().assert_everything_arrived();
    }
}

/// A run in which everything depends on the seed.
fn any_plan(seed: u64) -> Plan {
    let mut dice = Dice::new(seed);
    let endings = [Ending::Both, Ending::ServerFirst, Ending::ClientFirst];
    let (up, down) = match dice.below(3) {
        0 => (1_000_000, 1_000),
        1 => (1_000, 1_000_000),
        _ => (500_000, 600_000),
    };
    Plan {
        weather: Weather {
            loss: dice.below(40),
            repetition: dice.below(40),
            delay: Duration::from_micros(100 + dice.below(30_000)),
            jitter: Duration::from_micros(dice.below(2) * dice.below(5_000)),
        },
        offload: dice.below(2) == 1,
        v6: dice.below(2) == 1,
        up,
        down,
        upstream_per_turn: [usize::MAX, 40_000, 3_000][usize::try_from(dice.below(3)).unwrap()],
        ending: endings[usize::try_from(dice.below(3)).unwrap()],
        congestion: match dice.below(2) {
            0 => CongestionControl::None,
            _ => CongestionControl::Cubic,
        },
        ..plan(seed)
    }
}

fn assert_seeds_arrive(seeds: std::ops::Range<u64>) {
    for seed in seeds {
        // A run that panics says its plan, and so its seed.
        World::new(any_plan(seed)).run().assert_everything_arrived();
    }
}

#[test]
fn whatever_the_seed_says_everything_arrives() {
    assert_seeds_arrive(0..24);
}

#[test]
#[ignore = "takes minutes, in a release build"]
fn ten_thousand_seeds_arrive() {
    std::thread::scope(|scope| {
        for part in 0..4 {
            scope.spawn(move || assert_seeds_arrive(part * 2_500..(part + 1) * 2_500));
        }
    });
}
