//! The benchmark itself: runs that are too short to say anything of speed, which need root, and what it makes of runs.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

fn bench(options: &str) -> Result<Output> {
    let mut bench = Command::new(env!("CARGO_BIN_EXE_tidegate-bench"));
    Ok(bench.args(options.split_whitespace()).output()?)
}

/// A file of this test's own.
fn file(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("tidegate-bench-{}-{name}", std::process::id()))
}

/// Runs the benchmark and gives its rows.
fn rows(options: &str) -> Result<Vec<Value>> {
    let file = file("run.json");
    let output = bench(&format!("{options} --json {}", file.display()))?;
    let text = fs::read_to_string(&file);
    drop(fs::remove_file(&file));
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let json: Value = serde_json::from_str(&text?)?;
    Ok(json["rows"].as_array().context("rows")?.clone())
}

fn first(row: &Value, key: &str) -> Option<f64> {
    row[key][0].as_f64()
}

#[test]
fn a_bare_link_carries_many_streams_each_way_and_shares_evenly() -> Result<()> {
    let rows = rows("--contenders link --only throughput --streams 512 --seconds 0.3 --rounds 1")?;
    let cells: Vec<_> = rows.iter().map(|row| row["cell"].as_str()).collect();
    let wanted = ["512 up", "512 down", "512 both"];
    assert_eq!(cells, wanted.map(Some));
    for row in &rows {
        // A busy machine shares less evenly; half of the streams, or a direction, without its share would be 0.5.
        let jain = first(row, "jain").context("an index")?;
        ensure!((0.55..=1.0).contains(&jain), "{row}");
        ensure!(first(row, "gbit_per_s") > Some(0.1), "{row}");
        ensure!(first(row, "all_cpu_s_per_gb") > Some(0.01), "{row}");
        ensure!(first(row, "gateway_cpu_s_per_gb") == Some(0.0), "{row}");
    }
    Ok(())
}

#[test]
fn a_bare_link_connects_and_answers_in_every_way() -> Result<()> {
    let rows = rows("--contenders link --only connections,latency --seconds 0.1 --rounds 1")?;
    ensure!(rows.len() == 7 + 4, "{rows:?}");
    for row in &rows {
        ensure!(row["failed"].is_null(), "{row}");
        let figures = [("connections_per_s", 1.0), ("p50_us", 1.0)];
        let found = figures
            .iter()
            .any(|(key, least)| first(row, key) > Some(*least));
        ensure!(found, "{row}");
        if row["cell"] == "1, one port" {
            // A SYN that is dropped comes again after a second.
            ensure!(first(row, "slowest_ms") < Some(900.0), "{row}");
        }
    }
    Ok(())
}

#[test]
fn a_bare_link_carries_datagrams_singly_and_in_runs() -> Result<()> {
    let rows = rows("--contenders link --only datagrams --seconds 0.3 --rounds 1")?;
    let cells: Vec<_> = rows.iter().map(|row| row["cell"].as_str()).collect();
    let wanted = ["single up", "single down", "runs up", "runs down"];
    assert_eq!(cells, wanted.map(Some));
    for row in &rows {
        ensure!(first(row, "datagrams_per_s") > Some(1_000.0), "{row}");
        let arrived = first(row, "arrived_per_cent").context("a share")?;
        ensure!((1.0..=100.0).contains(&arrived), "{row}");
    }
    Ok(())
}

/// A run in which Tidegate carried as much.
fn run_of(gbit_per_s: f64) -> Result<PathBuf> {
    let row = |contender: &str, gbit_per_s: f64, cpu: f64| {
        json!({
            "measurement": "throughput",
            "cell": "8 down",
            "contender": contender,
            "gbit_per_s": [gbit_per_s],
            "gateway_cpu_s_per_gb": [cpu],
            "all_cpu_s_per_gb": [1.0],
            "jain": [1.0],
        })
    };
    let rows = [
        row("link", 40.0, 0.0),
        row("host", gbit_per_s, 0.1),
        row("pasta", 10.0, 0.5),
    ];
    let file = file(&format!("{gbit_per_s}.json"));
    fs::write(&file, json!({ "about": {}, "rows": rows }).to_string())?;
    Ok(file)
}

#[test]
fn a_run_that_misses_a_floor_fails_and_names_the_cell() -> Result<()> {
    for (gbit_per_s, status, says) in [
        (20.0, 0, "all 3 floors are met"),
        (
            19.0,
            1,
            "throughput 8 down, host: Gbit/s 1.90 of pasta's, less than 2",
        ),
    ] {
        let file = run_of(gbit_per_s)?;
        let output = bench(&format!("--check --from {}", file.display()))?;
        drop(fs::remove_file(&file));
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(status), "{said}");
        ensure!(said.contains(says), "{said}");
    }
    Ok(())
}

#[test]
fn several_runs_make_tables_and_a_plot() -> Result<()> {
    let (one, other) = (run_of(10.0)?, run_of(14.0)?);
    let plot = file("plot.svg");
    let output = bench(&format!(
        "--from {},{} --markdown --plot {}",
        one.display(),
        other.display(),
        plot.display()
    ));
    let svg = fs::read_to_string(&plot);
    for file in [one, other, plot] {
        drop(fs::remove_file(file));
    }
    let said = String::from_utf8(output?.stdout)?;
    ensure!(said.contains("Medians of 2 (throughput)"), "{said}");
    ensure!(
        said.contains("| 8 down | 40.0 | 12.0 | 10.0 | **0.30** | **1.20** |"),
        "{said}"
    );
    ensure!(svg?.contains(">Throughput down</text>"));
    Ok(())
}
