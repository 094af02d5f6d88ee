//! What one lost segment costs: each packet of a connection is lost once, and the run timed against one without loss.

use std::time::Duration;

use crate::link::Weather;
use crate::world::{Ending, Plan, World};

/// Most that a single loss may cost (DESIGN.md section 4).
const LIMIT: Duration = Duration::from_millis(1_500);

/// One way: a network next door, and one across a continent.
const DELAYS: [Duration; 2] = [Duration::from_micros(200), Duration::from_millis(20)];

/// What the losses of one direction cost.
#[derive(Clone, Copy, Debug, Default)]
struct Toll {
    worst: Duration,
    /// How many cost more than two round trips and 100 ms: a time-out.
    dear: u64,
    packets: u64,
}

fn run(plan: Plan) -> (Duration, (u64, u64)) {
    let outcome = World::new(plan).run();
    outcome.assert_everything_arrived();
    (outcome.took.unwrap(), outcome.packets)
}

fn toll(plan: Plan, packets: u64, clean: Duration, lose: impl Fn(&mut Plan, u64)) -> Toll {
    let mut toll = Toll {
        packets,
        ..Toll::default()
    };
    for number in 0..packets {
        let mut plan = plan;
        lose(&mut plan, number);
        let cost = run(plan).0.saturating_sub(clean);
        toll.worst = toll.worst.max(cost);
        toll.dear += u64::from(cost > Duration::from_millis(100) + 4 * plan.weather.delay);
    }
    toll
}

/// Loses each packet once, of those from the program and of those to it.
fn tolls(plan: Plan) -> [Toll; 2] {
    let (clean, (up, down)) = run(plan);
    [
        toll(plan, up, clean, |plan, number| plan.lost_up = Some(number)),
        toll(plan, down, clean, |plan, number| {
            plan.lost_down = Some(number);
        }),
    ]
}

fn plan(delay: Duration, up: usize, down: usize) -> Plan {
    Plan {
        seed: 7,
        weather: Weather {
            delay,
            ..Weather::default()
        },
        up,
        down,
        ..Plan::default()
    }
}

fn assert_bearable(plan: Plan) -> [Toll; 2] {
    let tolls = tolls(plan);
    for toll in tolls {
        assert!(toll.packets > 2, "{plan:?}: {toll:?}");
        assert!(toll.worst < LIMIT, "{plan:?}: {toll:?}");
    }
    tolls
}

#[test]
fn in_a_short_exchange_any_lost_packet_costs_one_timeout_at_most() {
    for delay in DELAYS {
        assert_bearable(plan(delay, 1_000, 1_000));
    }
}

#[test]
fn in_a_transfer_most_lost_packets_to_the_program_cost_no_timeout() {
    for (ending, offload) in [
        (Ending::Both, false),
        (Ending::ServerFirst, false),
        (Ending::ClientFirst, true),
    ] {
        for delay in DELAYS {
            let [_, down] = assert_bearable(Plan {
                ending,
                offload,
                ..plan(delay, 10, 60_000)
            });
            // The handshake's, and the last few, behind which there is nothing that would show the gap.
            assert!(down.dear * 5 < down.packets, "{ending:?}: {down:?}");
        }
    }
}

#[test]
fn in_an_upload_any_lost_packet_costs_one_timeout_at_most() {
    for delay in DELAYS {
        assert_bearable(plan(delay, 60_000, 10));
    }
}
