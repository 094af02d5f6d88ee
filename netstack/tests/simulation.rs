//! Whole connections on virtual time: a smoltcp client plays the program, the link between loses, repeats and reorders
//! packets as a seed says, and the caller's side moves bytes as a worker would.

#![expect(
    clippy::unwrap_used,
    reason = "what cannot be unwrapped fails the test"
)]

#[path = "simulation/link.rs"]
mod link;
#[path = "simulation/one_loss.rs"]
mod one_loss;
#[path = "simulation/world.rs"]
mod world;

use std::time::Duration;

use link::Weather;
use tidegate_netstack::CloseReason;
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
