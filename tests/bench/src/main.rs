//! Compares the bare link, Tidegate and installed peers in one interleaved run. See `gateway/docs/benchmarks.md`.
//!
//! [`contender`] says who takes part and how each starts, [`session`] is a shell behind a contender's gateway,
//! [`process`] reads what the gateway's processes cost, [`mod@measure`] is what is measured, [`load`] the programs that make
//! the load, [`report`] what is made of all
//! samples, and [`about`] what they are samples of.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool talks to its terminal"
)]

mod about;
mod contender;
mod load;
mod measure;
mod names;
mod options;
mod process;
mod report;
mod session;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};

use contender::{Contender, Way};
use measure::Cell;
use options::{Judgement, Options, Tables};
use report::{Report, Verdict};

fn main() -> Result<ExitCode> {
    let mut arguments = std::env::args();
    let program = arguments.next().unwrap_or_default();
    if let Some(part) = load::play(&program, &mut arguments) {
        return part.map(|()| ExitCode::SUCCESS);
    }
    let arguments: Vec<_> = arguments.collect();
    let options = Options::parse(arguments.iter().cloned())?;
    let report = if options.from.is_empty() {
        run(&options, &arguments)?
    } else {
        read(&options.from)?
    };
    match options.tables {
        Tables::Text => print!("{}", report.table()),
        Tables::Markdown => print!("{}", report.markdown()),
    }
    if let Some(path) = &options.json {
        write(path, &report.json().to_string())?;
    }
    if let Some(path) = &options.plot {
        write(path, &report.plot())?;
    }
    let failures = report.own_failures();
    ensure!(
        failures == 0,
        "{failures} cells failed where no peer is to blame"
    );
    match options.judgement {
        Judgement::None => Ok(ExitCode::SUCCESS),
        Judgement::Floors => check(&report),
    }
}

/// Fails where a floor is missed, and names each.
fn check(report: &Report) -> Result<ExitCode> {
    let Verdict { judged, missed } = report.verdict();
    ensure!(judged > 0, "nothing was measured that has a floor");
    for line in &missed {
        eprintln!("{line}");
    }
    if missed.is_empty() {
        eprintln!("all {judged} floors are met");
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("{} of {judged} floors are missed", missed.len());
    Ok(ExitCode::FAILURE)
}

/// Several runs count as one with the rounds of all.
fn read(paths: &[PathBuf]) -> Result<Report> {
    let mut report = Report::default();
    for path in paths {
        let text =
            fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let json = serde_json::from_str(&text);
        json.map_err(anyhow::Error::from)
            .and_then(|json| report.add_json(&json))
            .with_context(|| format!("{} is not a run's JSON", path.display()))?;
    }
    Ok(report)
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn run(options: &Options, words: &[String]) -> Result<Report> {
    let ways = Way::chosen(&options.contenders)?;
    let mut report = Report {
        about: about::about(&ways, words),
        ..Report::default()
    };
    let mut contenders: Vec<_> = ways
        .into_iter()
        .map(|way| (way, Contender::start(way)))
        .collect();
    for round in 1..=options.rounds {
        for group in &options.groups {
            if group.is_steady() && round > 1 {
                continue;
            }
            for cell in group.cells(options) {
                for (way, contender) in &mut contenders {
                    if way.kind.is_measured_in(*group) {
                        measure(*way, contender, cell, options, &mut report);
                    }
                }
            }
        }
        eprintln!("round {round} of {} done", options.rounds);
    }
    Ok(report)
}

/// One sample of one contender. Who fails is started anew, and not asked for this cell again.
fn measure(
    way: Way,
    contender: &mut Result<Contender>,
    cell: Cell,
    options: &Options,
    report: &mut Report,
) {
    if report.has_failed(way, cell) {
        return;
    }
    let sample = match contender {
        Ok(running) => cell.measure(running, options.duration),
        Err(error) => return report.fail(way, cell, reason(error)),
    };
    match sample {
        Ok(sample) => report.add(way, cell, sample),
        Err(error) => {
            eprintln!("{}, {}, {cell}: {error:#}", way.name, cell.group().name());
            report.fail(way, cell, reason(&error));
            *contender = Contender::start(way);
        }
    }
}

/// On one line.
fn reason(error: &anyhow::Error) -> String {
    let words = format!("{error:#}");
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}
