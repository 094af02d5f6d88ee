//! What goes past the capture.

use crate::control::status::Status;
use crate::leaks::{LeakRecord, Way};
use crate::record::Timestamp;
use crate::report::amount::{duration, grouped};

/// Programs that go past the capture, those with marks of their own last: these are let go on purpose.
pub(super) fn lines(status: &Status, now: Timestamp) -> Vec<String> {
    let marked = |leak: &&LeakRecord| matches!(leak.way, Way::ForeignMark(_));
    let (marks, leaks): (Vec<_>, Vec<_>) = status.leaks.iter().partition(marked);
    let counts = super::by_reason("flows past the capture", &status.counters.uncaptured);
    let unexamined = status.counters.packets_unexamined;
    let unexamined =
        (unexamined > 0).then(|| format!("{} packets were not looked at", grouped(unexamined)));
    let unmeasured = status.unmeasured.iter();
    counts
        .into_iter()
        .chain(leaks.into_iter().map(|leak| line(leak, now)))
        .chain(marks.into_iter().map(|leak| line(leak, now)))
        .chain(unexamined)
        .chain(unmeasured.map(|place| format!("not measured on {place}")))
        .collect()
}

fn line(leak: &LeakRecord, now: Timestamp) -> String {
    let who = match (&leak.app, &leak.unattributed) {
        (Some(app), _) => format!("{} (process {}, user {})", app.name, app.pid, app.uid),
        (None, Some(reason)) => format!("unknown ({reason})"),
        (None, None) => "unknown".to_owned(),
    };
    let flows = match leak.flows {
        1 => "1 flow".to_owned(),
        flows => format!("{} flows", grouped(flows)),
    };
    let ended = match leak.ended {
        0 => String::new(),
        ended => format!(", {} ended", grouped(ended)),
    };
    format!(
        "{who}: {flows} through {}, {}{ended}; the last {} to {}, {} ago",
        leak.device,
        leak.way,
        leak.protocol,
        leak.remote,
        duration(now.since(leak.last)),
    )
}
