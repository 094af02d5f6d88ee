//! The time, and what a clock on the wall shows: of the zone that `/etc/localtime` or `TZ` names, read anew each time.

use std::time::{SystemTime, UNIX_EPOCH};

use tidegate_policy::{Clock, Moment};

use crate::sys;

/// How far ahead a change of the wall's clock is looked for.
const AHEAD: i64 = 86_400;

/// The present.
pub fn now() -> Clock {
    clock_at(present(), sys::local_time::offset)
}

/// A moment that may be past, with what the clock on the wall showed then.
pub fn at(moment: Moment) -> Clock {
    clock_at(moment.0, sys::local_time::offset)
}

/// A present before 1970 is 1970.
fn present() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    i64::try_from(since.unwrap_or_default().as_secs()).unwrap_or(i64::MAX - AHEAD)
}

/// `offset` tells how far the wall is ahead of UTC.
fn clock_at(now: i64, offset: impl Fn(i64) -> Option<i32>) -> Clock {
    let ahead = |at| offset(at).unwrap_or(0);
    Clock {
        now: Moment(now),
        offset: ahead(now),
        offset_until: next_change(now, ahead).map(Moment),
    }
}

/// The first moment of the next day at which the offset is another. Of two changes that undo each other within that day
/// nothing is seen: no zone has such.
fn next_change(now: i64, offset: impl Fn(i64) -> i32) -> Option<i64> {
    let present = offset(now);
    let (mut same, mut other) = (now, now + AHEAD);
    if offset(other) == present {
        return None;
    }
    while other - same > 1 {
        let middle = same + (other - same) / 2;
        if offset(middle) == present {
            same = middle;
        } else {
            other = middle;
        }
    }
    Some(other)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;
    use tidegate_policy::WallTime;

    use super::*;

    proptest! {
        #[test]
        fn the_next_change_of_the_wall_is_found_a_day_ahead(
            change in -200_000..200_000_i64,
            before in -50_000..50_000_i32,
            after in -50_000..50_000_i32,
        ) {
            let clock = clock_at(0, |at| Some(if at < change { before } else { after }));
            let is_seen = before != after && (1..=AHEAD).contains(&change);
            prop_assert_eq!(clock.offset_until, is_seen.then_some(Moment(change)));
            prop_assert_eq!(clock.offset, if change > 0 { before } else { after });
        }
    }

    /// The moment at which the inner run looks at the wall.
    const ASKED: &str = "TIDEGATE_TEST_ASKED_AT";

    /// Run by the next test, in a process whose zone is Central Europe's.
    #[test]
    #[ignore = "the next test runs it"]
    fn inner() {
        let Ok(asked) = std::env::var(ASKED) else {
            return;
        };
        let asked = WallTime::parse(&asked).unwrap().moment.0;
        let clock = clock_at(asked, sys::local_time::offset);
        let until = clock.offset_until.map(|until| until.to_string());
        let until = until.unwrap_or_default();
        panic!("offset {} until [{until}]", clock.offset);
    }

    #[test]
    fn the_zone_is_that_of_the_system() {
        for (asked, expected) in [
            ("2026-03-28T00:30:00Z", "offset 3600 until []"),
            (
                "2026-03-28T12:00:00Z",
                "offset 3600 until [2026-03-29T01:00:00Z]",
            ),
            ("2026-03-29T01:00:00Z", "offset 7200 until []"),
            (
                "2026-10-25T00:59:59Z",
                "offset 7200 until [2026-10-25T01:00:00Z]",
            ),
        ] {
            let output = Command::new(std::env::current_exe().unwrap())
                .args([
                    "--exact",
                    "--ignored",
                    "--nocapture",
                    "local_time::tests::inner",
                ])
                .env("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
                .env(ASKED, asked)
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(said.contains(expected), "{asked}: {said}");
        }
    }
}
