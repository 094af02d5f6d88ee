//! A run as JSON, and back: tables, plots and checks can be made of it later.

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use super::{Entry, Measured, Ratios, Report, find_or_push};
use crate::contender::Way;
use crate::measure::Group;

const MEASUREMENT: &str = "measurement";
const CELL: &str = "cell";
const CONTENDER: &str = "contender";
const FAILED: &str = "failed";

impl Report {
    /// Every sample, and the ratios of their medians.
    pub(crate) fn json(&self) -> Value {
        let rows = self.entries().map(|(measured, entry)| row(measured, entry));
        json!({ "about": self.about, "rows": rows.collect::<Vec<_>>() })
    }

    pub(crate) fn from_json(json: &Value) -> Result<Self> {
        let about = json["about"].as_object().context("there is no `about`")?;
        let mut report = Self::default();
        for (key, value) in about {
            let value = value
                .as_str()
                .with_context(|| format!("about.{key} is no text"))?;
            report.about.insert(key.clone(), value.to_owned());
        }
        for (number, row) in json["rows"]
            .as_array()
            .context("there are no `rows`")?
            .iter()
            .enumerate()
        {
            report.take(row).with_context(|| format!("row {number}"))?;
        }
        Ok(report)
    }

    fn take(&mut self, row: &Value) -> Result<()> {
        let text = |key: &str| {
            row[key]
                .as_str()
                .with_context(|| format!("{key} is no text"))
        };
        let (group, cell) = (Group::named(text(MEASUREMENT)?)?, text(CELL)?);
        let columns = group.columns().iter().map(|column| {
            let samples = row[column.key].as_array().into_iter().flatten();
            let samples: Option<Vec<f64>> = samples.map(Value::as_f64).collect();
            samples.with_context(|| format!("{} are no numbers", column.key))
        });
        let columns: Vec<_> = columns.collect::<Result<_>>()?;
        let rounds = columns.iter().map(Vec::len).min().unwrap_or_default();
        let sample = |round: usize| columns.iter().map(|column| column[round]).collect();
        let way = Way::named(text(CONTENDER)?)?;
        let entry = Entry {
            contender: way.name.to_owned(),
            kind: way.kind,
            samples: (0..rounds).map(sample).collect(),
            failure: row[FAILED].as_str().map(str::to_owned),
        };
        let measured = find_or_push(
            &mut self.cells,
            |measured| measured.group == group && measured.cell == cell,
            || Measured {
                group,
                cell: cell.to_owned(),
                entries: Vec::new(),
            },
        );
        measured.entries.push(entry);
        Ok(())
    }
}

fn row(measured: &Measured, entry: &Entry) -> Value {
    let mut row = Map::new();
    row.insert(MEASUREMENT.into(), json!(measured.group.name()));
    row.insert(CELL.into(), json!(measured.cell));
    row.insert(CONTENDER.into(), json!(entry.contender));
    if let Some(reason) = &entry.failure {
        row.insert(FAILED.into(), json!(reason));
    }
    for (at, column) in measured.group.columns().iter().enumerate() {
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
        let read = serde_json::from_str(&text).expect("JSON");
        assert_eq!(Report::from_json(&read).expect("a run"), report);
    }

    #[test]
    fn a_file_that_is_no_run_says_what_is_wrong() {
        let json = json!({ "about": {}, "rows": [{ "measurement": "speed", "cell": "1 up" }] });
        let error = Report::from_json(&json).expect_err("there is no such measurement");
        assert!(
            format!("{error:#}").contains("row 0: there is no measurement speed"),
            "{error:#}"
        );
    }
}
