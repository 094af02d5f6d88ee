//! What can be measured, and which figures each measurement gives.
//!
//! A [`Cell`] is one row of the report for each contender; its [`Group`] says what the columns are.

mod connections;
mod datagrams;
mod latency;
mod memory;
mod moments;
mod throughput;
mod wake_ups;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::contender::Contender;
use crate::load::{Closer, Handed, Protocol};
use crate::names::named;
use crate::options::Options;

/// Measurements with the same columns, in the order of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Group {
    Throughput,
    Datagrams,
    Connections,
    Latency,
    Memory,
    WakeUps,
}

/// One figure of a measurement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    /// Name and unit, as the table shows them.
    pub(crate) title: &'static str,
    /// The same in JSON.
    pub(crate) key: &'static str,
    pub(crate) better: Better,
    /// What it is compared with.
    pub(crate) against: Against,
}

/// Which of two figures is the better one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Better {
    More,
    Less,
}

/// What a figure is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Against {
    /// The bare link and the best peer.
    LinkAndPeer,
    /// What was added to the bare link's, against what the best peer added.
    AddedByPeer,
    /// The best peer: the bare link has no such figure.
    Peer,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Cell {
    Throughput {
        streams: u32,
        direction: Direction,
    },
    Datagrams {
        handed: Handed,
        direction: Direction,
    },
    Connections {
        parallel: u32,
        closer: Closer,
    },
    Latency {
        protocol: Protocol,
        beside: Beside,
    },
    Memory {
        flows: u32,
        moved: u32,
    },
    WakeUps,
}

/// Whither the data goes, seen from the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Direction {
    Up,
    Down,
    /// Each stream is loaded both ways at once.
    Both,
}

/// What else goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Beside {
    Nothing,
    /// One stream down, as fast as it can.
    Stream,
}

impl Direction {
    const ALL: [Self; 3] = [Self::Up, Self::Down, Self::Both];
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Both => "both",
        })
    }
}

impl FromStr for Direction {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        named(&Self::ALL, name).with_context(|| format!("there is no direction {name}"))
    }
}

impl Group {
    /// What is idle comes first: load leaves its traces.
    pub(crate) const ALL: [Self; 6] = [
        Self::WakeUps,
        Self::Memory,
        Self::Throughput,
        Self::Datagrams,
        Self::Connections,
        Self::Latency,
    ];

    /// As options name it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Throughput => "throughput",
            Self::Datagrams => "datagrams",
            Self::Connections => "connections",
            Self::Latency => "latency",
            Self::Memory => "memory",
            Self::WakeUps => "wake-ups",
        }
    }

    pub(crate) fn named(name: &str) -> Result<Self> {
        match Self::ALL.into_iter().find(|group| group.name() == name) {
            Some(group) => Ok(group),
            None => bail!(
                "there is no measurement {name}; there are {}",
                Self::ALL.map(Self::name).join(", ")
            ),
        }
    }

    /// In the order of a sample's figures.
    pub(crate) fn columns(self) -> &'static [Column] {
        match self {
            Self::Throughput => throughput::COLUMNS,
            Self::Datagrams => datagrams::COLUMNS,
            Self::Connections => connections::COLUMNS,
            Self::Latency => latency::COLUMNS,
            Self::Memory => memory::COLUMNS,
            Self::WakeUps => wake_ups::COLUMNS,
        }
    }

    /// Whether one sample is enough: it says the same each time.
    pub(crate) fn is_steady(self) -> bool {
        match self {
            Self::Throughput | Self::Datagrams | Self::Connections | Self::Latency => false,
            Self::Memory | Self::WakeUps => true,
        }
    }

    /// Whether the bare link can be measured.
    pub(crate) fn includes_link(self) -> bool {
        !self.is_steady()
    }

    pub(crate) fn cells(self, options: &Options) -> Vec<Cell> {
        match self {
            Self::Throughput => {
                let all = options.streams.iter().flat_map(|&streams| {
                    Direction::ALL.map(|direction| Cell::Throughput { streams, direction })
                });
                all.collect()
            }
            Self::Datagrams => datagrams::cells(),
            Self::Connections => connections::cells(),
            Self::Latency => latency::cells(),
            Self::Memory => memory::cells(options.extent),
            Self::WakeUps => vec![Cell::WakeUps],
        }
    }
}

impl Cell {
    /// The one that is displayed so. Only the numbers are read; the rest is compared with what each cell displays.
    pub(crate) fn named(group: Group, label: &str) -> Result<Self> {
        let numbers = label.split(|letter: char| !letter.is_ascii_digit());
        let numbers: Vec<u32> = numbers.filter_map(|number| number.parse().ok()).collect();
        let cells = match (group, numbers.as_slice()) {
            (Group::Throughput, &[streams]) => Direction::ALL
                .map(|direction| Self::Throughput { streams, direction })
                .to_vec(),
            (Group::Connections, &[parallel]) => Closer::ALL
                .map(|closer| Self::Connections { parallel, closer })
                .to_vec(),
            (Group::Datagrams, _) => datagrams::cells(),
            (Group::Latency, _) => latency::cells(),
            (Group::Memory, &[flows, moved]) => vec![Self::Memory { flows, moved }],
            (Group::WakeUps, _) => vec![Self::WakeUps],
            _ => Vec::new(),
        };
        let named = cells.into_iter().find(|cell| cell.to_string() == label);
        named.with_context(|| format!("there is no cell `{label}` of {}", group.name()))
    }

    pub(crate) fn group(self) -> Group {
        match self {
            Self::Throughput { .. } => Group::Throughput,
            Self::Datagrams { .. } => Group::Datagrams,
            Self::Connections { .. } => Group::Connections,
            Self::Latency { .. } => Group::Latency,
            Self::Memory { .. } => Group::Memory,
            Self::WakeUps => Group::WakeUps,
        }
    }

    /// One figure for each column of the group. Throughput and datagrams take this long, the rest a second at most.
    pub(crate) fn measure(self, contender: &mut Contender, long: Duration) -> Result<Vec<f64>> {
        let short = long.min(Duration::from_secs(1));
        match self {
            Self::Throughput { streams, direction } => {
                throughput::measure(contender, streams, direction, long)
            }
            Self::Datagrams { handed, direction } => {
                datagrams::measure(contender, handed, direction, long)
            }
            Self::Connections { parallel, closer } => {
                connections::measure(contender, parallel, closer, short)
            }
            Self::Latency { protocol, beside } => {
                latency::measure(contender, protocol, beside, short)
            }
            Self::Memory { flows, moved } => memory::measure(contender, flows, moved),
            Self::WakeUps => wake_ups::measure(contender),
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Throughput { streams, direction } => {
                write!(f, "{streams} {direction}")
            }
            Self::Datagrams { handed, direction } => write!(f, "{handed} {direction}"),
            Self::Connections { parallel, closer } => match closer {
                Closer::Server => write!(f, "{parallel}, server closes"),
                Closer::Client => write!(f, "{parallel}, client closes"),
                Closer::ServerOfOnePort => write!(f, "{parallel}, one port"),
            },
            Self::Latency { protocol, beside } => match beside {
                Beside::Nothing => write!(f, "{protocol}"),
                Beside::Stream => write!(f, "{protocol} and a stream"),
            },
            Self::Memory { flows, moved } => write!(f, "{flows} idle, {moved} B"),
            Self::WakeUps => f.write_str("20 s"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Cell, Group};
    use crate::options::Options;

    #[test]
    fn every_cell_is_found_by_what_it_displays() {
        let options = "--full --streams 1,512".split(' ').map(str::to_owned);
        let options = Options::parse(options).expect("good options");
        for cell in Group::ALL
            .into_iter()
            .flat_map(|group| group.cells(&options))
        {
            let named = Cell::named(cell.group(), &cell.to_string());
            assert_eq!(named.expect("its own name"), cell);
        }
        for (group, label) in [
            (Group::Throughput, "8 sideways"),
            (Group::Throughput, "up"),
            (Group::Datagrams, "runs both"),
            (Group::Connections, "8 up"),
            (Group::Memory, "1000 idle"),
        ] {
            assert!(Cell::named(group, label).is_err(), "{label}");
        }
    }
}
