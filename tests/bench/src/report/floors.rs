//! What ratios must reach. Absolute floors are not here: what a machine does in an hour it does not do in the next.

use super::{Entry, Measured, Ratios, Report};
use crate::contender::Kind;
use crate::load::Closer;
use crate::measure::{Against, Better, Cell, Direction};

/// A ratio that a figure of Tidegate's must reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Floor {
    /// The column's.
    key: &'static str,
    to: To,
    bound: f64,
}

/// Whose figure it is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum To {
    Link,
    Peer,
}

/// Of a whole run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Floors that some figure was held against.
    pub(crate) judged: usize,
    /// A line for each that was missed.
    pub(crate) missed: Vec<String>,
}

/// A floor for more streams than eight is that for eight; for both directions at once, that for the slower one.
fn floors(cell: Cell) -> Vec<Floor> {
    let floor = |key, to, bound| Floor { key, to, bound };
    match cell {
        Cell::Throughput { streams, direction } => {
            let of_link = match (streams, direction) {
                (2.., Direction::Up) => 0.36,
                _ => 0.33,
            };
            vec![
                floor("gbit_per_s", To::Link, of_link),
                floor("gbit_per_s", To::Peer, 2.0),
                floor("gateway_cpu_s_per_gb", To::Peer, 0.4),
            ]
        }
        Cell::Connections { closer, .. } => match closer {
            Closer::Server | Closer::Client => vec![floor("connections_per_s", To::Peer, 1.2)],
            // It pauses before each connection.
            Closer::ServerOfOnePort => Vec::new(),
        },
        Cell::Latency { .. } => vec![
            floor("p50_us", To::Peer, 0.7),
            floor("p99_us", To::Peer, 1.0),
        ],
        Cell::Datagrams { .. } | Cell::Memory { .. } | Cell::WakeUps => Vec::new(),
    }
}

impl Report {
    /// Holds every figure of Tidegate's against its floors. What failed, or has nothing to be compared with, missed them.
    pub(crate) fn verdict(&self) -> Verdict {
        let own = self.entries().filter(|(_, entry)| entry.kind == Kind::Own);
        let all = own.flat_map(|(measured, entry)| {
            let floors = floors(measured.cell).into_iter();
            floors.map(move |floor| (measured, entry, floor))
        });
        let mut verdict = Verdict {
            judged: 0,
            missed: Vec::new(),
        };
        for (measured, entry, floor) in all {
            verdict.judged += 1;
            verdict.missed.extend(measured.missed(entry, floor));
        }
        verdict
    }
}

impl Measured {
    /// Whether this ratio, of one of Tidegate's figures, misses its floor.
    pub(super) fn misses(&self, entry: &Entry, column: usize, to: To) -> bool {
        let key = self.group().columns()[column].key;
        let floors = floors(self.cell).into_iter();
        entry.kind == Kind::Own
            && floors
                .filter(|floor| floor.key == key && floor.to == to)
                .any(|floor| self.missed(entry, floor).is_some())
    }

    /// In which way the entry misses the floor.
    fn missed(&self, entry: &Entry, floor: Floor) -> Option<String> {
        let columns = self.group().columns();
        let at = columns.iter().position(|column| column.key == floor.key)?;
        let column = &columns[at];
        let Ratios { link, peer } = self.ratios(entry, at);
        let peer_name = || self.best_peer(at).map_or("a peer", |peer| &peer.contender);
        let (ratio, other) = match (floor.to, column.against) {
            (To::Link, _) => (link, "the bare link's".to_owned()),
            (To::Peer, Against::AddedByPeer) => (peer, format!("what {} adds", peer_name())),
            (To::Peer, Against::LinkAndPeer | Against::Peer) => {
                (peer, format!("{}'s", peer_name()))
            }
        };
        let bound = floor.bound;
        let how = match (ratio, column.better) {
            _ if entry.failure.is_some() => "failed".to_owned(),
            (None, _) => format!("cannot be compared with {other}: there is none"),
            (Some(ratio), Better::More) if ratio < bound => {
                format!("{ratio:.2} of {other}, less than {bound}")
            }
            (Some(ratio), Better::Less) if ratio > bound => {
                format!("{ratio:.2} of {other}, more than {bound}")
            }
            (Some(_), _) => return None,
        };
        Some(format!(
            "{} {}, {}: {} {how}",
            self.group().name(),
            self.cell,
            entry.contender,
            column.title,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contender::Way;
    use crate::load::Protocol;
    use crate::measure::{Beside, Group};
    use crate::options::Options;
    use crate::report::tests::{reported, up};

    /// Of a gateway with these figures beside a link of 40 Gbit/s and a peer of 8 with half a second for each GB.
    fn missed(own: Vec<f64>) -> Vec<String> {
        let figures = [
            ("link", vec![40.0, 0.0, 0.5, 1.0]),
            ("exec", own),
            ("pasta", vec![8.0, 0.5, 1.0, 1.0]),
        ];
        reported(up(8), &figures).verdict().missed
    }

    #[test]
    fn every_floor_is_missed_just_below_it_and_met_at_it() {
        assert_eq!(missed(vec![16.0, 0.2, 1.0, 1.0]), [""; 0]);
        assert_eq!(
            missed(vec![15.9, 0.21, 1.0, 1.0]),
            [
                "throughput 8 up, exec: Gbit/s 1.99 of pasta's, less than 2",
                "throughput 8 up, exec: gateway CPU s/GB 0.42 of pasta's, more than 0.4"
            ]
        );
        let slow = missed(vec![14.0, 0.1, 1.0, 1.0]);
        assert_eq!(
            slow[0],
            "throughput 8 up, exec: Gbit/s 0.35 of the bare link's, less than 0.36"
        );
    }

    #[test]
    fn what_has_nothing_to_be_compared_with_misses_its_floor() {
        let own = ("host", vec![20.0, 0.2, 1.0, 1.0]);
        let mut report = reported(up(1), &[own, ("pasta", vec![8.0, 0.5, 1.0, 1.0])]);
        let pasta = Way::named("pasta").expect("a contender");
        report.fail(pasta, up(1), "it hung".to_owned());
        let verdict = report.verdict();
        assert_eq!((verdict.judged, verdict.missed.len()), (3, 3));
        assert!(verdict.missed[0].contains("cannot be compared with the bare link"));
        assert!(verdict.missed[1].contains("cannot be compared with a peer"));
        let host = Way::named("host").expect("a contender");
        report.fail(host, up(1), "it crashed".to_owned());
        assert!(
            report
                .verdict()
                .missed
                .iter()
                .all(|line| line.contains("failed"))
        );
    }

    #[test]
    fn latency_is_held_against_what_a_peer_adds() {
        let cell = Cell::Latency {
            protocol: Protocol::Tcp,
            beside: Beside::Nothing,
        };
        let figures = [
            ("link", vec![10.0, 20.0]),
            ("host", vec![18.0, 41.0]),
            ("pasta", vec![20.0, 40.0]),
        ];
        assert_eq!(
            reported(cell, &figures).verdict().missed,
            [
                "latency TCP, host: p50 us 0.80 of what pasta adds, more than 0.7",
                "latency TCP, host: p99 us 1.02 of pasta's, more than 1"
            ]
        );
    }

    #[test]
    fn every_floor_names_a_column() {
        let options = Options::parse(std::iter::empty()).expect("the usual options");
        for group in Group::ALL {
            for cell in group.cells(&options) {
                for floor in floors(cell) {
                    let mut columns = group.columns().iter();
                    assert!(columns.any(|column| column.key == floor.key), "{floor:?}");
                }
            }
        }
    }
}
