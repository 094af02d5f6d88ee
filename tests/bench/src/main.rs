//! Compares the bare link, Tidegate and installed peers in one interleaved run. See `gateway/docs/benchmarks.md`.
//!
//! [`contender`] says who takes part and how each starts, [`session`] is a shell behind a contender's gateway,
//! [`process`] reads what the gateway's processes cost, [`throughput`] is one measurement, [`report`] what is made of all.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool talks to its terminal"
)]

mod contender;
mod options;
mod process;
mod report;
mod session;
mod throughput;

use std::fs;

use anyhow::{Context, Result};

use contender::Contender;
use options::Options;
use report::Report;
use throughput::{Cell, Direction};

fn main() -> Result<()> {
    let options = Options::parse(std::env::args().skip(1))?;
    let mut contenders = contender::chosen(&options.contenders)?;
    let mut report = Report::default();
    for round in 1..=options.rounds {
        for &streams in &options.streams {
            for direction in [Direction::Up, Direction::Down] {
                let cell = Cell { direction, streams };
                for contender in &mut contenders {
                    measure(contender, cell, &options, &mut report)?;
                }
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

fn measure(
    contender: &mut Contender,
    cell: Cell,
    options: &Options,
    report: &mut Report,
) -> Result<()> {
    let sample = throughput::measure(contender, cell, options.seconds)
        .with_context(|| format!("{} with {cell}", contender.name()))?;
    report.add(contender.name(), cell, sample);
    Ok(())
}
