//! The gateway's status as text.

use std::collections::BTreeMap;
use std::time::Duration;

use tidegate_routing::plan::Family;

use super::amount::{bytes, counted, duration, grouped};
use crate::control::status::{Health, PolicyStatus, Profiles, Status};
use crate::record::{AtTheEnd, Timestamp};
use crate::shared::{CaptureKind, CaptureStatus, CountersSnapshot, WorkerSnapshot};
use crate::terminal::printable_lines;

mod leaks;
mod library;

pub(crate) use library::list_line;

/// Columns before the text of each line.
const INDENT: usize = 11;

/// The status, each line with its newline.
pub fn status_text(status: &Status) -> String {
    text_at(status, Timestamp::now())
}

fn text_at(status: &Status, now: Timestamp) -> String {
    let mut page = Page::default();
    page.section("health", health(status));
    page.section("running", [running(status, now)]);
    page.section("capture", capture(&status.capture));
    page.section("ahead", overtaken(&status.capture));
    page.section("leaks", leaks::lines(status, now));
    page.section("policy", policy(&status.policy));
    page.section("lists", library::lines(&status.library, now));
    page.section("flows", flows(status));
    page.section("packets", packets(&status.counters));
    page.section(
        "workers",
        status.counters.workers.iter().enumerate().map(worker),
    );
    page.section("not seen", status.not_seen.clone());
    printable_lines(&page.0).into_owned()
}

/// Sections of lines, with the title before the first.
#[derive(Debug, Default)]
struct Page(String);

impl Page {
    fn section(&mut self, title: &str, lines: impl IntoIterator<Item = String>) {
        let mut title = title;
        for text in lines {
            for line in text.lines() {
                self.0.push_str(&format!("{title:INDENT$}{line}\n"));
                title = "";
            }
        }
    }
}

fn overtaken(capture: &CaptureStatus) -> impl Iterator<Item = String> {
    let rules = capture.overtaken.iter();
    rules.map(|rule| {
        format!("another program's rule stood ahead of ours, which are ahead again: {rule}")
    })
}

fn health(status: &Status) -> Vec<String> {
    let word = match status.health {
        Health::Good => "good",
        Health::Degraded => "degraded",
    };
    let problems = status.capture.problems.iter().cloned();
    let reload = status.policy.reload_failure.as_ref().map(|failure| {
        format!(
            "the configuration of {} is not in force:\n{}",
            failure.at, failure.message
        )
    });
    let library = status.library.problems();
    let trial = status.trial_seconds_left.map(|left| {
        let left = duration(Duration::from_secs(left));
        format!("on trial: undone in {left} unless `tidegate confirm` comes")
    });
    [word.to_owned()]
        .into_iter()
        .chain(problems)
        .chain(reload)
        .chain(library)
        .chain(trial)
        .collect()
}

fn running(status: &Status, now: Timestamp) -> String {
    let up = duration(now.since(status.started));
    format!(
        "tidegate {}, process {}, for {up}",
        status.version, status.pid
    )
}

fn capture(capture: &CaptureStatus) -> Vec<String> {
    let what = match capture.kind {
        CaptureKind::Exec => "one command",
        CaptureKind::Host => "the whole host",
    };
    let uplinks = capture.uplinks.iter().map(|uplink| {
        let family = match uplink.family {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        };
        let source = uplink
            .source
            .map(|source| format!(" from {source}"))
            .unwrap_or_default();
        match &uplink.tunnel {
            None => format!("{family} leaves through {}{source}", uplink.device),
            Some(tunnel) => format!(
                "{family} leaves through {tunnel}, another program's tunnel over {}",
                uplink.device
            ),
        }
    });
    let forwarded = capture.forwarded.as_ref().map(|forwarded| {
        let inputs = forwarded.inputs.iter().map(|input| {
            let missing = forwarded.missing.contains(input);
            format!("{input}{}", if missing { " (not there)" } else { "" })
        });
        let inputs: Vec<String> = inputs.collect();
        format!(
            "what comes in by {} to be forwarded, through {}",
            inputs.join(", "),
            forwarded.interface
        )
    });
    [format!("{what}, through {}", capture.interface)]
        .into_iter()
        .chain(forwarded)
        .chain(uplinks)
        .chain(capture.ebpf.uses())
        .collect()
}

fn policy(policy: &PolicyStatus) -> impl Iterator<Item = String> {
    let PolicyStatus {
        generation,
        since,
        rules,
        default,
        file,
        ..
    } = policy;
    let lines = [
        format!(
            "{}, default {default}, from {}",
            counted(*rules, "rule"),
            file.display()
        ),
        format!("generation {generation}, in force since {since}"),
    ];
    lines.into_iter().chain(active_profiles(&policy.profiles))
}

fn active_profiles(profiles: &Profiles) -> Option<String> {
    let active = profiles.all.iter().filter(|profile| profile.active);
    let active: Vec<&str> = active.map(|profile| profile.name.as_str()).collect();
    let names = if active.is_empty() {
        "none".to_owned()
    } else {
        active.join(", ")
    };
    let by = match &profiles.chosen {
        Some(name) => format!(", chosen: {name}"),
        None => String::new(),
    };
    (!profiles.all.is_empty()).then(|| format!("active profiles: {names}{by}"))
}

fn flows(status: &Status) -> Vec<String> {
    let Status {
        flows_live: live,
        counters,
        ..
    } = status;
    let totals = format!(
        "{} live, {} since the start: {} blocked, {} dropped",
        live,
        grouped(counters.flows_opened),
        grouped(counters.flows_blocked),
        grouped(counters.flows_dropped),
    );
    let unattributed = by_reason("without a program", &counters.unattributed);
    let failures = by_reason("not connected", &counters.dial_failures);
    let evicted = (counters.flows_evicted > 0).then(|| {
        let evicted = grouped(counters.flows_evicted);
        format!("gave room to new ones: {evicted} quiet datagram flows")
    });
    let end = (status.capture.kind == CaptureKind::Host).then(|| at_the_end(&status.at_the_end));
    [totals]
        .into_iter()
        .chain(end)
        .chain(unattributed)
        .chain(failures)
        .chain(evicted)
        .collect()
}

/// What a stop or a restart would do to those that live.
fn at_the_end(ends: &AtTheEnd) -> String {
    let AtTheEnd {
        cut,
        moved,
        passed,
        existing,
    } = ends;
    let parts = [
        (*cut > 0).then(|| format!("cut {}", counted(*cut, "connection"))),
        (*moved > 0).then(|| format!("give {} another port", counted(*moved, "datagram flow"))),
    ];
    let harm: Vec<String> = parts.into_iter().flatten().collect();
    let harm = match harm.as_slice() {
        [] => "cut nothing".to_owned(),
        parts => parts.join(" and "),
    };
    match passed + existing {
        0 => format!("a restart would {harm}"),
        stay => format!(
            "a restart would {harm}\n{stay} more would go on, {existing} of them begun before our start"
        ),
    }
}

fn packets(counters: &CountersSnapshot) -> Vec<String> {
    let moved = |packets, count| format!("{} ({})", grouped(packets), bytes(count));
    let totals = format!(
        "{} from programs, {} to programs",
        moved(counters.packets_in, counters.bytes_in),
        moved(counters.packets_out, counters.bytes_out),
    );
    [totals]
        .into_iter()
        .chain(by_reason("thrown away", &counters.packets_dropped))
        .collect()
}

fn worker((number, worker): (usize, &WorkerSnapshot)) -> String {
    format!(
        "{number}: {}, {} half-open, {} in TIME-WAIT, {} of buffers",
        counted(worker.flows.try_into().unwrap_or(usize::MAX), "flow"),
        worker.half_open,
        worker.time_wait,
        bytes(worker.buffer_bytes),
    )
}

/// `what: 3 (timed out 2, refused 1)`; nothing if nothing was counted.
fn by_reason(what: &str, counts: &BTreeMap<String, u64>) -> Option<String> {
    let total: u64 = counts.values().sum();
    let reasons: Vec<_> = counts
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(reason, count)| format!("{reason} {}", grouped(*count)))
        .collect();
    (total > 0).then(|| format!("{what}: {} ({})", grouped(total), reasons.join(", ")))
}

#[cfg(test)]
mod tests;
