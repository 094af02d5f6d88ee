//! What the samples say: medians, and ratios to the bare link of the same run.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::throughput::{Cell, Sample};

/// The contender that all are compared with.
const BOUND: &str = "link";

/// All samples, by what was measured and by contender, in order of arrival.
#[derive(Debug, Default)]
pub(crate) struct Report {
    samples: BTreeMap<Cell, Vec<(&'static str, Vec<Sample>)>>,
}

impl Report {
    pub(crate) fn add(&mut self, contender: &'static str, cell: Cell, sample: Sample) {
        let contenders = self.samples.entry(cell).or_default();
        match contenders.iter_mut().find(|(name, _)| *name == contender) {
            Some((_, samples)) => samples.push(sample),
            None => contenders.push((contender, vec![sample])),
        }
    }

    /// A table for the terminal, a row for each cell and contender.
    pub(crate) fn table(&self) -> String {
        let mut table = String::from("streams  contender    Gbit/s  of link  gateway CPU s/GB\n");
        for (cell, contenders) in &self.samples {
            let bound = self.median(*cell, BOUND, |sample| sample.gigabits);
            for (name, samples) in contenders {
                let gigabits = median(samples.iter().map(|sample| sample.gigabits));
                let ratio = gigabits / bound;
                let cell = cell.to_string();
                table += &format!("{cell:<8} {name:<10} {gigabits:>8.2} {ratio:>8.2}");
                if *name != BOUND {
                    let cost = median(samples.iter().map(|sample| sample.seconds_per_gigabyte));
                    table += &format!(" {cost:>17.2}");
                }
                table.push('\n');
            }
        }
        table
    }

    /// Every sample, for later.
    pub(crate) fn json(&self) -> Value {
        let cells = self.samples.iter().flat_map(|(cell, contenders)| {
            contenders.iter().map(move |(name, samples)| {
                json!({
                    "cell": cell.to_string(),
                    "contender": name,
                    "gbit_per_s": samples.iter().map(|sample| sample.gigabits).collect::<Vec<_>>(),
                    "gateway_cpu_s_per_gb": samples.iter().map(|sample| sample.seconds_per_gigabyte).collect::<Vec<_>>(),
                    "of_link": median(samples.iter().map(|sample| sample.gigabits))
                        / self.median(*cell, BOUND, |sample| sample.gigabits),
                })
            })
        });
        Value::Array(cells.collect())
    }

    fn median(&self, cell: Cell, contender: &str, figure: impl Fn(&Sample) -> f64) -> f64 {
        let samples = self
            .samples
            .get(&cell)
            .and_then(|all| all.iter().find(|(name, _)| *name == contender));
        median(samples.iter().flat_map(|(_, samples)| samples).map(figure))
    }
}

/// The middle one, or of an even number the mean of the two in the middle; NaN of none.
fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<_> = figures.collect();
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    match (
        figures.len() % 2,
        figures.get(middle.wrapping_sub(1)),
        figures.get(middle),
    ) {
        (1, _, Some(middle)) => *middle,
        (_, Some(below), Some(above)) => f64::midpoint(*below, *above),
        _ => f64::NAN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::throughput::Direction;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0].into_iter()), 2.5);
        assert_eq!(median([7.0].into_iter()), 7.0);
        assert!(median(std::iter::empty()).is_nan());
    }

    #[test]
    fn ratios_are_to_the_link_of_the_same_cell() {
        let mut report = Report::default();
        for (streams, link) in [(1, 10.0), (8, 40.0)] {
            let cell = Cell {
                direction: Direction::Up,
                streams,
            };
            report.add(
                BOUND,
                cell,
                Sample {
                    gigabits: link,
                    seconds_per_gigabyte: 0.0,
                },
            );
            report.add(
                "exec",
                cell,
                Sample {
                    gigabits: 5.0,
                    seconds_per_gigabyte: 0.25,
                },
            );
        }
        let json = report.json();
        let ratio = |cell: &str| {
            let all = json.as_array().expect("an array");
            let found = all
                .iter()
                .find(|entry| entry["cell"] == cell && entry["contender"] == "exec");
            found.expect("the cell")["of_link"]
                .as_f64()
                .expect("a number")
        };
        assert_eq!((ratio("1 up"), ratio("8 up")), (0.5, 0.125));
        assert!(
            report
                .table()
                .contains("8 up     exec           5.00     0.12"),
            "{}",
            report.table()
        );
    }
}
