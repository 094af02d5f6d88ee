//! What the samples say: medians, and ratios to the bare link and to the best peer of the same run.

mod floors;
mod json;
mod markdown;
mod plot;
mod text;

use std::collections::BTreeMap;

use crate::contender::{Kind, Way};
use crate::measure::{Against, Better, Cell, Group};

pub(crate) use floors::Verdict;

/// All samples of a run, cell by cell, in the order in which they were first measured.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Report {
    /// What was measured where: versions, the machine, the options.
    pub(crate) about: BTreeMap<String, String>,
    pub(crate) cells: Vec<Measured>,
}

/// A cell, and how each contender did.
#[derive(Debug, PartialEq)]
pub(crate) struct Measured {
    pub(crate) cell: Cell,
    pub(crate) entries: Vec<Entry>,
}

/// How one contender did in one cell.
#[derive(Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) contender: String,
    pub(crate) kind: Kind,
    /// One figure for each column of the group.
    pub(crate) samples: Vec<Vec<f64>>,
    /// Why there is no further sample.
    pub(crate) failure: Option<String>,
}

/// A figure among those of its cell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Ratios {
    /// To the bare link's.
    pub(crate) link: Option<f64>,
    /// To the best peer's.
    pub(crate) peer: Option<f64>,
}

impl Report {
    pub(crate) fn add(&mut self, way: Way, cell: Cell, sample: Vec<f64>) {
        self.entry(way, cell).samples.push(sample);
    }

    pub(crate) fn fail(&mut self, way: Way, cell: Cell, reason: String) {
        self.entry(way, cell).failure = Some(reason);
    }

    /// Whether this contender is not asked for this cell again.
    pub(crate) fn has_failed(&mut self, way: Way, cell: Cell) -> bool {
        self.entry(way, cell).failure.is_some()
    }

    /// Failures of those that may not fail: the bare link and Tidegate.
    pub(crate) fn own_failures(&self) -> usize {
        self.entries()
            .filter(|(_, entry)| entry.kind != Kind::Peer && entry.failure.is_some())
            .count()
    }

    /// Who failed where and why: a line for each contender and reason.
    fn failures(&self) -> Vec<String> {
        let mut failures: Vec<(&str, &str, Vec<String>)> = Vec::new();
        for (measured, entry) in self.entries() {
            let Some(reason) = &entry.failure else {
                continue;
            };
            let (.., cells) = find_or_push(
                &mut failures,
                |(contender, why, _)| *contender == entry.contender && why == reason,
                || (&entry.contender, reason, Vec::new()),
            );
            cells.push(format!("{} {}", measured.group().name(), measured.cell));
        }
        let lines = failures.into_iter().map(|(contender, reason, cells)| {
            format!("{contender} failed ({}): {reason}", cells.join(", "))
        });
        lines.collect()
    }

    fn entries(&self) -> impl Iterator<Item = (&Measured, &Entry)> {
        self.cells.iter().flat_map(|measured| {
            let entries = measured.entries.iter();
            entries.map(move |entry| (measured, entry))
        })
    }

    fn entry(&mut self, way: Way, cell: Cell) -> &mut Entry {
        let measured = find_or_push(
            &mut self.cells,
            |measured| measured.cell == cell,
            || Measured {
                cell,
                entries: Vec::new(),
            },
        );
        find_or_push(
            &mut measured.entries,
            |entry| entry.contender == way.name,
            || Entry {
                contender: way.name.to_owned(),
                kind: way.kind,
                samples: Vec::new(),
                failure: None,
            },
        )
    }
}

/// Who was measured in these cells, in the order of the run.
fn contenders<'a>(cells: impl IntoIterator<Item = &'a Measured>) -> Vec<(&'a str, Kind)> {
    let mut contenders = Vec::new();
    for entry in cells.into_iter().flat_map(|measured| &measured.entries) {
        let contender = (entry.contender.as_str(), entry.kind);
        if !contenders.contains(&contender) {
            contenders.push(contender);
        }
    }
    contenders
}

fn find_or_push<T>(
    items: &mut Vec<T>,
    wanted: impl Fn(&T) -> bool,
    new: impl FnOnce() -> T,
) -> &mut T {
    let at = items.iter().position(wanted).unwrap_or_else(|| {
        items.push(new());
        items.len() - 1
    });
    &mut items[at]
}

impl Measured {
    pub(crate) fn group(&self) -> Group {
        self.cell.group()
    }

    /// A contender's figure beside the others'.
    pub(crate) fn ratios(&self, entry: &Entry, column: usize) -> Ratios {
        let against = self.group().columns()[column].against;
        let value = entry.median(column);
        let link = value.zip(self.link(column));
        let link = link.filter(|_| entry.kind != Kind::Bound && against != Against::Peer);
        let peer = self.best_peer(column).and_then(|peer| peer.median(column));
        let peer = value.zip(peer).filter(|_| entry.kind == Kind::Own);
        Ratios {
            link: link.map(|(value, link)| value / link),
            peer: match against {
                Against::LinkAndPeer | Against::Peer => peer.map(|(value, peer)| value / peer),
                Against::AddedByPeer => link
                    .zip(peer)
                    .map(|((_, link), (value, peer))| added(value, link) / added(peer, link))
                    // Neither adds anything.
                    .map(|ratio| if ratio.is_nan() { 0.0 } else { ratio }),
            },
        }
    }

    pub(crate) fn link(&self, column: usize) -> Option<f64> {
        let link = self.entries.iter().find(|entry| entry.kind == Kind::Bound);
        link?.median(column)
    }

    pub(crate) fn best_peer(&self, column: usize) -> Option<&Entry> {
        let peers = self.entries.iter().filter(|entry| entry.kind == Kind::Peer);
        let medians = peers.filter_map(|peer| Some((peer, peer.median(column)?)));
        let order = |(_, one): &(&Entry, f64), (_, other): &(&Entry, f64)| one.total_cmp(other);
        let best = match self.group().columns()[column].better {
            Better::More => medians.max_by(order),
            Better::Less => medians.min_by(order),
        };
        best.map(|(peer, _)| peer)
    }
}

/// What noise takes away is nothing added.
fn added(value: f64, link: f64) -> f64 {
    (value - link).max(0.0)
}

impl Entry {
    /// Of what was measured; nothing where it failed: a mean of good moments would praise it.
    pub(crate) fn median(&self, column: usize) -> Option<f64> {
        if self.failure.is_some() {
            return None;
        }
        let figures = self.samples.iter().filter_map(|sample| sample.get(column));
        median(figures.copied())
    }
}

/// The middle one, or of an even number the mean of the two in the middle.
fn median(figures: impl Iterator<Item = f64>) -> Option<f64> {
    let mut figures: Vec<_> = figures.collect();
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    let above = figures.get(middle).copied()?;
    if figures.len() % 2 == 1 {
        return Some(above);
    }
    Some(f64::midpoint(figures[middle - 1], above))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::load::Protocol;
    use crate::measure::{Beside, Direction};

    /// A way by its name, and its figures.
    pub(crate) fn reported(cell: Cell, figures: &[(&str, Vec<f64>)]) -> Report {
        let mut report = Report::default();
        for (name, figures) in figures {
            report.add(
                Way::named(name).expect("a contender"),
                cell,
                figures.clone(),
            );
        }
        report
    }

    pub(crate) fn up(streams: u32) -> Cell {
        let direction = Direction::Up;
        Cell::Throughput { streams, direction }
    }

    fn ratios(report: &Report, contender: &str, column: usize) -> (Option<f64>, Option<f64>) {
        let measured = &report.cells[0];
        let found = measured
            .entries
            .iter()
            .find(|entry| entry.contender == contender);
        let Ratios { link, peer } = measured.ratios(found.expect("it was measured"), column);
        (link, peer)
    }

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), Some(2.0));
        assert_eq!(median([4.0, 1.0, 2.0, 3.0].into_iter()), Some(2.5));
        assert_eq!(median([7.0].into_iter()), Some(7.0));
        assert_eq!(median(std::iter::empty()), None);
    }

    #[test]
    fn ratios_are_to_the_link_and_to_the_best_peer_of_each_column() {
        let report = reported(
            up(8),
            &[
                ("link", vec![10.0, 0.0, 0.5, 1.0]),
                ("exec", vec![5.0, 0.25, 1.0, 0.5]),
                ("pasta", vec![2.0, 0.5, 2.0, 0.25]),
                ("tun2proxy", vec![1.0, 0.1, 2.0, 1.0]),
            ],
        );
        assert_eq!(ratios(&report, "exec", 0), (Some(0.5), Some(2.5)));
        // The one that carries most need not be the one that pays least.
        assert_eq!(ratios(&report, "exec", 1), (None, Some(2.5)));
        assert_eq!(ratios(&report, "pasta", 0), (Some(0.2), None));
        assert_eq!(ratios(&report, "link", 0), (None, None));
    }

    #[test]
    fn what_a_gateway_adds_is_compared_with_what_the_peer_adds() {
        let report = reported(
            Cell::Latency {
                protocol: Protocol::Tcp,
                beside: Beside::Nothing,
            },
            &[
                ("link", vec![20.0, 100.0]),
                ("host", vec![25.0, 100.0]),
                ("pasta", vec![30.0, 100.0]),
            ],
        );
        assert_eq!(ratios(&report, "host", 0), (Some(1.25), Some(0.5)));
    }

    #[test]
    fn a_peer_that_seems_to_add_nothing_is_not_beaten_by_noise() {
        let cell = Cell::Latency {
            protocol: Protocol::Udp,
            beside: Beside::Stream,
        };
        let figures = |host| {
            [
                ("link", vec![20.0; 2]),
                ("host", host),
                ("pasta", vec![19.0; 2]),
            ]
        };
        let slower = reported(cell, &figures(vec![25.0; 2]));
        assert_eq!(ratios(&slower, "host", 0).1, Some(f64::INFINITY));
        let quick = reported(cell, &figures(vec![20.0; 2]));
        assert_eq!(ratios(&quick, "host", 0).1, Some(0.0));
    }

    #[test]
    fn a_peer_that_failed_once_is_no_peer_to_compare_with() {
        let mut report = reported(
            up(1),
            &[
                ("exec", vec![5.0; 4]),
                ("pasta", vec![9.0; 4]),
                ("tun2proxy", vec![1.0; 4]),
            ],
        );
        let pasta = Way::named("pasta").expect("a contender");
        report.fail(pasta, up(1), "it hung".to_owned());
        assert_eq!(ratios(&report, "exec", 0), (None, Some(5.0)));
        assert!(report.has_failed(pasta, up(1)) && !report.has_failed(pasta, up(8)));
        assert_eq!(report.own_failures(), 0);
    }
}
