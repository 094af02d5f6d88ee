//! What the samples say: medians, and ratios to the bare link and to the peer of the same run.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::measure::{Against, Cell, Column, Group};

/// The contender that is possible at most.
const BOUND: &str = "link";
/// The contender that does a similar job.
const PEER: &str = "pasta";

/// All samples, by what was measured and by contender, in order of arrival.
#[derive(Debug, Default)]
pub(crate) struct Report {
    cells: BTreeMap<Cell, Vec<Entry>>,
}

/// All samples of one contender for one cell.
#[derive(Debug)]
struct Entry {
    contender: &'static str,
    samples: Vec<Vec<f64>>,
}

impl Entry {
    fn median(&self, column: usize) -> f64 {
        median(
            self.samples
                .iter()
                .filter_map(|sample| sample.get(column))
                .copied(),
        )
    }
}

/// A figure among those of its cell.
struct Ratios {
    /// To the bare link's.
    link: Option<f64>,
    /// To the peer's.
    peer: Option<f64>,
}

impl Report {
    pub(crate) fn add(&mut self, contender: &'static str, cell: Cell, sample: Vec<f64>) {
        let entries = self.cells.entry(cell).or_default();
        match entries
            .iter_mut()
            .find(|entry| entry.contender == contender)
        {
            Some(entry) => entry.samples.push(sample),
            None => entries.push(Entry {
                contender,
                samples: vec![sample],
            }),
        }
    }

    /// A table for the terminal: for each group its own columns, a row for each cell and contender.
    pub(crate) fn table(&self) -> String {
        let mut table = String::new();
        let mut group = None;
        for (cell, entries) in &self.cells {
            if group.replace(cell.group()) != Some(cell.group()) {
                table += &heading(cell.group());
            }
            for entry in entries {
                table += &format!("{:<18} {:<10}", cell.to_string(), entry.contender);
                for (at, column) in cell.group().columns().iter().enumerate() {
                    let value = entry.median(at);
                    let Ratios { link, peer } = ratios(entries, entry, at, column.against);
                    table += &format!(" {value:>20.2}{}{}", cell_text(link), cell_text(peer));
                }
                table.push('\n');
            }
        }
        table
    }

    /// Every sample, and the ratios of their medians, for later.
    pub(crate) fn json(&self) -> Value {
        let rows = self.cells.iter().flat_map(|(cell, entries)| {
            entries.iter().map(|entry| {
                let mut row = Map::new();
                row.insert("measurement".into(), json!(cell.group().name()));
                row.insert("cell".into(), json!(cell.to_string()));
                row.insert("contender".into(), json!(entry.contender));
                for (at, Column { key, against, .. }) in cell.group().columns().iter().enumerate() {
                    let samples: Vec<_> = entry.samples.iter().map(|sample| sample[at]).collect();
                    let Ratios { link, peer } = ratios(entries, entry, at, *against);
                    row.insert((*key).into(), json!(samples));
                    row.insert(format!("{key}_of_link"), json!(link));
                    row.insert(format!("{key}_of_peer"), json!(peer));
                }
                Value::Object(row)
            })
        });
        Value::Array(rows.collect())
    }
}

fn heading(group: Group) -> String {
    let mut heading = format!("\n{:<18} {:<10}", group.name(), "");
    for column in group.columns() {
        let peer = match column.against {
            Against::AddedByPeer => "added/p",
            Against::LinkAndPeer | Against::Peer => "/pasta",
        };
        heading += &format!(" {:>20} {:>7} {peer:>7}", column.title, "/link");
    }
    heading.push('\n');
    heading
}

fn cell_text(ratio: Option<f64>) -> String {
    ratio.map_or_else(|| format!(" {:>7}", ""), |ratio| format!(" {ratio:>7.2}"))
}

fn ratios(entries: &[Entry], entry: &Entry, column: usize, against: Against) -> Ratios {
    let of = |contender: &str| {
        let other = entries.iter().find(|other| other.contender == contender)?;
        (other.contender != entry.contender).then(|| other.median(column))
    };
    let value = entry.median(column);
    let (link, peer) = (of(BOUND), of(PEER).filter(|_| entry.contender != BOUND));
    match against {
        Against::LinkAndPeer => Ratios {
            link: link.map(|link| value / link),
            peer: peer.map(|peer| value / peer),
        },
        Against::AddedByPeer => Ratios {
            link: link.map(|link| value / link),
            peer: link
                .zip(peer)
                .map(|(link, peer)| (value - link) / (peer - link)),
        },
        Against::Peer => Ratios {
            link: None,
            peer: peer.map(|peer| value / peer),
        },
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
    use crate::measure::Direction;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0].into_iter()), 2.5);
        assert_eq!(median([7.0].into_iter()), 7.0);
        assert!(median(std::iter::empty()).is_nan());
    }

    fn found<'j>(json: &'j Value, cell: &str, contender: &str, key: &str) -> &'j Value {
        let rows = json.as_array().expect("an array");
        let found = rows
            .iter()
            .find(|row| row["cell"] == cell && row["contender"] == contender);
        &found.expect("the cell")[key]
    }

    #[test]
    fn ratios_are_to_the_link_and_the_peer_of_the_same_cell() {
        let mut report = Report::default();
        for (streams, link) in [(1, 10.0), (8, 40.0)] {
            let direction = Direction::Up;
            let cell = Cell::Throughput { streams, direction };
            report.add(BOUND, cell, vec![link, 0.0, 0.5, 1.0]);
            report.add("exec", cell, vec![5.0, 0.25, 1.0, 0.5]);
            report.add(PEER, cell, vec![2.0, 0.5, 2.0, 0.25]);
        }
        let json = report.json();
        let ratio = |cell, key| found(&json, cell, "exec", key).as_f64();
        assert_eq!(ratio("1 up", "gbit_per_s_of_link"), Some(0.5));
        assert_eq!(ratio("8 up", "gbit_per_s_of_link"), Some(0.125));
        assert_eq!(ratio("8 up", "gbit_per_s_of_peer"), Some(2.5));
        assert_eq!(ratio("8 up", "gateway_cpu_s_per_gb_of_peer"), Some(0.5));
        assert_eq!(ratio("8 up", "gateway_cpu_s_per_gb_of_link"), None);
        let table = report.table();
        let row = table
            .lines()
            .find(|line| line.starts_with("8 up") && line.contains("exec"));
        let words: Vec<_> = row.expect("the row").split_whitespace().collect();
        assert_eq!(
            words[..8],
            ["8", "up", "exec", "5.00", "0.12", "2.50", "0.25", "0.50"]
        );
    }

    #[test]
    fn what_a_gateway_adds_is_compared_with_what_the_peer_adds() {
        let mut report = Report::default();
        for (contender, p50) in [(BOUND, 20.0), ("host", 25.0), (PEER, 30.0)] {
            report.add(contender, Cell::Latency, vec![p50, 100.0]);
        }
        let json = report.json();
        let ratio = found(&json, "64 bytes", "host", "p50_us_of_peer").as_f64();
        assert_eq!(ratio, Some(0.5));
    }
}
