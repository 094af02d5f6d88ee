//! A run as JSON, and back: tables, plots and checks can be made of it later.

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use super::{Entry, Measured, Ratios, Report};
use crate::contender::Way;
use crate::measure::{Cell, Group};

const MEASUREMENT: &str = "measurement";
const CELL: &str = "cell";
const CONTENDER: &str = "contender";
const FAILED: &str = "failed";
/// Stands between what several runs say about themselves.
const BETWEEN: &str = "; ";

impl Report {
    /// Every sample, and the ratios of their medians.
    pub(crate) fn json(&self) -> Value {
        let rows = self.entries().map(|(measured, entry)| row(measured, entry));
        json!({ "about": self.about, "rows": rows.collect::<Vec<_>>() })
    }

    /// Adds a run's samples, as if they were more rounds of this one.
    pub(crate) fn add_json(&mut self, json: &Value) -> Result<()> {
        let about = json["about"].as_object().context("there is no `about`")?;
        for (key, value) in about {
            let value = value
                .as_str()
                .with_context(|| format!("about.{key} is no text"))?;
            let known = self.about.entry(key.clone()).or_default();
            if known.split(BETWEEN).all(|other| other != value) {
                let between = if known.is_empty() { "" } else { BETWEEN };
                known.push_str(&format!("{between}{value}"));
            }
        }
        let rows = json["rows"].as_array().context("there are no `rows`")?;
        for (number, row) in rows.iter().enumerate() {
            self.add_row(row).with_context(|| format!("row {number}"))?;
        }
        self.cells.sort_by_key(|measured| measured.group());
        Ok(())
    }

    fn add_row(&mut self, row: &Value) -> Result<()> {
        let text = |key: &str| {
            row[key]
                .as_str()
                .with_context(|| format!("{key} is no text"))
        };
        let group = Group::named(text(MEASUREMENT)?)?;
        let columns = group.columns().iter().map(|column| {
            let samples = row[column.key].as_array().into_iter().flatten();
            let samples: Option<Vec<f64>> = samples.map(Value::as_f64).collect();
            samples.with_context(|| format!("{} are no numbers", column.key))
        });
        let columns: Vec<_> = columns.collect::<Result<_>>()?;
        let rounds = columns.iter().map(Vec::len).min().unwrap_or_default();
        let sample = |round: usize| columns.iter().map(|column| column[round]).collect();
        let entry = self.entry(
            Way::named(text(CONTENDER)?)?,
            Cell::named(group, text(CELL)?)?,
        );
        entry.samples.extend((0..rounds).map(sample));
        if let Some(reason) = row[FAILED].as_str() {
            entry.failure = Some(reason.to_owned());
        }
        Ok(())
    }
}

fn row(measured: &Measured, entry: &Entry) -> Value {
    let mut row = Map::new();
    row.insert(MEASUREMENT.into(), json!(measured.group().name()));
    row.insert(CELL.into(), json!(measured.cell.to_string()));
    row.insert(CONTENDER.into(), json!(entry.contender));
    if let Some(reason) = &entry.failure {
        row.insert(FAILED.into(), json!(reason));
    }
    for (at, column) in measured.group().columns().iter().enumerate() {
        let samples = entry.samples.iter().filter_map(|sample| sample.get(at));
        let Ratios { link, peer } = measured.ratios(entry, at);
        row.insert(column.key.into(), json!(samples.collect::<Vec<_>>()));
        row.insert(format!("{}_of_link", column.key), json!(link));
        row.insert(format!("{}_of_peer", column.key), json!(peer));
    }
    Value::Object(row)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::{reported, up};

    #[test]
    fn a_run_survives_its_file() {
        let mut report = reported(
            up(8),
            &[
                ("link", vec![10.0, 0.0, 0.5, 1.0]),
                ("exec", vec![5.0, 0.25, 1.0, 0.5]),
                ("exec", vec![6.0, 0.25, 1.0, 0.5]),
            ],
        );
        report.about.insert("kernel".into(), "6".into());
        report.fail(
            Way::named("pasta").expect("a contender"),
            up(8),
            "it hung".into(),
        );
        report.fail(
            Way::named("pasta").expect("a contender"),
            up(1),
            "it hung".into(),
        );
        let json = report.json();
        assert_eq!(json["rows"][1]["gbit_per_s_of_link"], 0.55);
        let text = json.to_string();
        let json = serde_json::from_str(&text).expect("JSON");
        let mut read = Report::default();
        read.add_json(&json).expect("a run");
        assert_eq!(read, report);
    }

    #[test]
    fn a_second_run_is_more_rounds_of_the_first() {
        let figures = |gbit: f64| ("exec", vec![gbit, 0.25, 1.0, 0.5]);
        let mut parts = [
            reported(up(8), &[figures(1.0), figures(2.0)]),
            reported(up(8), &[figures(9.0)]),
        ];
        for (part, options) in parts.iter_mut().zip(["--rounds 2", "--rounds 1"]) {
            part.about.insert("kernel".into(), "6".into());
            part.about.insert("options".into(), options.into());
        }
        let mut read = Report::default();
        for part in &parts {
            read.add_json(&part.json()).expect("a run");
        }
        let [measured] = read.cells.as_slice() else {
            panic!("one cell: {:?}", read.cells);
        };
        assert_eq!(measured.entries[0].median(0), Some(2.0));
        assert_eq!(read.about["kernel"], "6");
        assert_eq!(read.about["options"], "--rounds 2; --rounds 1");
    }

    #[test]
    fn a_file_that_is_no_run_says_what_is_wrong() {
        let json = json!({ "about": {}, "rows": [{ "measurement": "speed", "cell": "1 up" }] });
        let error = Report::default().add_json(&json);
        let error = error.expect_err("there is no such measurement");
        assert!(
            format!("{error:#}").contains("row 0: there is no measurement speed"),
            "{error:#}"
        );
    }
}
