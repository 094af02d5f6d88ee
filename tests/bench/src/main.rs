//! Compares the bare link, Tidegate and installed peers in one interleaved run. See `gateway/docs/benchmarks.md`.
//!
//! [`contender`] says who takes part and how each starts, [`session`] is a shell behind a contender's gateway,
//! [`process`] reads what the gateway's processes cost, [`mod@measure`] is what is measured, [`load`] the programs that make
//! the load, [`report`] what is made of all samples.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool talks to its terminal"
)]

mod contender;
mod load;
mod measure;
mod options;
mod process;
mod report;
mod session;

use std::fs;

use anyhow::{Context, Result};

use contender::Contender;
use measure::Cell;
use options::Options;
use report::Report;

fn main() -> Result<()> {
    let mut arguments = std::env::args();
    let program = arguments.next().unwrap_or_default();
    if let Some(part) = load::play(&program, &mut arguments) {
        return part;
    }
    let options = Options::parse(arguments)?;
    let mut contenders = contender::chosen(&options.contenders)?;
    let mut report = Report::default();
    for round in 1..=options.rounds {
        for group in &options.groups {
            if group.is_steady() && round > 1 {
                continue;
            }
            for cell in group.cells(&options) {
                measure(&mut contenders, cell, &options, &mut report)?;
            }
        }
        eprintln!("round {round} of {} done", options.rounds);
    }
    print!("{}", report.table());
    if let Some(path) = &options.json {
        fs::write(path, report.json().to_string())
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// One sample of each contender, one after the other.
fn measure(
    contenders: &mut [Contender],
    cell: Cell,
    options: &Options,
    report: &mut Report,
) -> Result<()> {
    for contender in contenders {
        if contender.is_link() && !cell.group().includes_link() {
            continue;
        }
        let sample = cell
            .measure(contender, options.seconds)
            .with_context(|| format!("{}, {}, {cell}", contender.name(), cell.group().name()))?;
        report.add(contender.name(), cell, sample);
    }
    Ok(())
}
