//! The run as a plot in SVG, readable by day and by night.

mod panel;
mod scale;

use super::{Measured, Report, contenders};
use crate::contender::Kind;
use crate::load::{Closer, Protocol};
use crate::measure::{Beside, Cell, Direction};
use panel::{Line, Marks, Panel, mark};
use scale::Scale;

/// Panels side by side.
const COLUMNS: usize = 3;
/// Above the panels: the names of the contenders.
const LEGEND: usize = 36;
/// Of a name in the legend: its mark, and each of its letters.
const MARK: f64 = 46.0;
const LETTER: f64 = 6.0;

/// One for each contender, in the order of the run. Each stands out from white and from black.
const COLOURS: [&str; 7] = [
    "#7d8590", "#2f81f7", "#e36209", "#2da44e", "#a371f7", "#d04a91", "#9a8700",
];

/// What the system prefers decides, and a ground of its own keeps the text readable wherever the plot is shown.
const STYLE: &str = "\
text{font:11px system-ui,sans-serif;fill:#1f2328}
.title{font-weight:600}.left{text-anchor:end}.below{text-anchor:middle}
.ground{fill:#fff}.grid{stroke:#d1d9e0}
.line{fill:none;stroke-width:1.2}.own .line{stroke-width:2.4}
@media(prefers-color-scheme:dark){text{fill:#f0f6fc}.ground{fill:#0d1117}.grid{stroke:#3d444d}}
";

/// What a panel shows, and of which cells.
struct Subject {
    title: &'static str,
    /// What the numbers on its axes are.
    note: &'static str,
    /// The column's.
    key: &'static str,
    shown: Shown,
    marks: Marks,
    /// What the cell's place is called; nothing where it has none.
    label: fn(Cell) -> Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    /// The ratio to the bare link's figure, on an axis from zero.
    OfLink,
    /// The figure, on an axis where equal ratios are equal distances.
    Figure,
}

const SUBJECTS: [Subject; 9] = [
    throughput("Throughput up", |cell| streams(cell, Direction::Up)),
    throughput("Throughput down", |cell| streams(cell, Direction::Down)),
    throughput("Throughput both ways at once", |cell| {
        streams(cell, Direction::Both)
    }),
    cost("Gateway CPU up", |cell| streams(cell, Direction::Up)),
    cost("Gateway CPU down", |cell| streams(cell, Direction::Down)),
    cost("Gateway CPU both ways at once", |cell| {
        streams(cell, Direction::Both)
    }),
    connections("New connections, server closes", |cell| {
        parallel(cell, Closer::Server)
    }),
    connections("New connections, client closes", |cell| {
        parallel(cell, Closer::Client)
    }),
    Subject {
        title: "Latency",
        note: "median in µs; busy: a stream beside",
        key: "p50_us",
        shown: Shown::Figure,
        marks: Marks::Apart,
        label: question,
    },
];

const fn throughput(title: &'static str, label: fn(Cell) -> Option<String>) -> Subject {
    Subject {
        title,
        note: "of the bare link's, by streams",
        key: "gbit_per_s",
        shown: Shown::OfLink,
        marks: Marks::Joined,
        label,
    }
}

const fn cost(title: &'static str, label: fn(Cell) -> Option<String>) -> Subject {
    Subject {
        title,
        note: "seconds per GB, by streams",
        key: "gateway_cpu_s_per_gb",
        shown: Shown::Figure,
        marks: Marks::Joined,
        label,
    }
}

const fn connections(title: &'static str, label: fn(Cell) -> Option<String>) -> Subject {
    Subject {
        title,
        note: "a second, of the bare link's, by number at once",
        key: "connections_per_s",
        shown: Shown::OfLink,
        marks: Marks::Joined,
        label,
    }
}

fn streams(cell: Cell, wanted: Direction) -> Option<String> {
    let Cell::Throughput { streams, direction } = cell else {
        return None;
    };
    (direction == wanted).then(|| streams.to_string())
}

fn parallel(cell: Cell, wanted: Closer) -> Option<String> {
    let Cell::Connections { parallel, closer } = cell else {
        return None;
    };
    (closer == wanted).then(|| parallel.to_string())
}

fn question(cell: Cell) -> Option<String> {
    let Cell::Latency { protocol, beside } = cell else {
        return None;
    };
    let label = match (protocol, beside) {
        (Protocol::Tcp, Beside::Nothing) => "TCP",
        (Protocol::Udp, Beside::Nothing) => "UDP",
        (Protocol::Tcp, Beside::Stream) => "busy TCP",
        (Protocol::Udp, Beside::Stream) => "busy UDP",
    };
    Some(label.to_owned())
}

impl Report {
    /// Panels of what was not measured are left out.
    pub(crate) fn plot(&self) -> String {
        let contenders = contenders(&self.cells);
        let panels = SUBJECTS.iter();
        let panels: Vec<_> = panels
            .filter_map(|subject| self.panel(subject, &contenders))
            .collect();
        let width = COLUMNS * Panel::WIDTH;
        let height = LEGEND + panels.len().div_ceil(COLUMNS) * Panel::HEIGHT;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\">\n{}\
             <rect class=\"ground\" width=\"{width}\" height=\"{height}\"/>\n{}",
            style(),
            legend(&contenders)
        );
        for (number, panel) in panels.iter().enumerate() {
            let x = number % COLUMNS * Panel::WIDTH;
            let y = LEGEND + number / COLUMNS * Panel::HEIGHT;
            let panel = panel.svg();
            svg += &format!("<g transform=\"translate({x} {y})\">\n{panel}</g>\n");
        }
        svg + "</svg>\n"
    }

    fn panel(&self, subject: &Subject, contenders: &[(&str, Kind)]) -> Option<Panel> {
        let cells = self.cells.iter();
        let cells = cells.filter_map(|measured| Some((measured, (subject.label)(measured.cell)?)));
        let (cells, labels): (Vec<_>, Vec<_>) = cells.unzip();
        let lines = contenders.iter().enumerate().map(|(number, (name, kind))| {
            let points = cells.iter().map(|measured| subject.value(measured, name));
            Line {
                number,
                class: class(number, *kind),
                points: points.collect(),
            }
        });
        let lines = lines.filter(|line| line.points.iter().any(Option::is_some));
        let lines: Vec<_> = lines.collect();
        let values = lines.iter().flat_map(|line| &line.points);
        let values: Vec<f64> = values.copied().flatten().collect();
        (!values.is_empty()).then(|| Panel {
            title: subject.title,
            note: subject.note,
            scale: match subject.shown {
                Shown::OfLink => Scale::linear(&values),
                Shown::Figure => Scale::logarithmic(&values),
            },
            labels,
            marks: subject.marks,
            lines,
        })
    }
}

impl Subject {
    /// What is shown of a contender; nothing where it failed, or where its figure is none of a gateway's.
    fn value(&self, measured: &Measured, contender: &str) -> Option<f64> {
        let columns = measured.group().columns();
        let column = columns.iter().position(|column| column.key == self.key)?;
        let mut entries = measured.entries.iter();
        let entry = entries.find(|entry| entry.contender == contender)?;
        let value = match self.shown {
            Shown::OfLink => measured.ratios(entry, column).link,
            Shown::Figure => entry.median(column),
        };
        value.filter(|value| *value > 0.0)
    }
}

fn class(number: usize, kind: Kind) -> String {
    let number = number % COLOURS.len();
    match kind {
        Kind::Own => format!("c{number} own"),
        Kind::Bound | Kind::Peer => format!("c{number}"),
    }
}

fn style() -> String {
    let colours = COLOURS.iter().enumerate();
    let colours =
        colours.map(|(number, colour)| format!(".c{number}{{fill:{colour};stroke:{colour}}}"));
    format!(
        "<style>\n{STYLE}{}\n</style>\n",
        colours.collect::<String>()
    )
}

/// In the order of the run, from the left.
fn legend(contenders: &[(&str, Kind)]) -> String {
    let mut x = 20.0;
    let mut svg = String::new();
    for (number, (name, kind)) in contenders.iter().enumerate() {
        svg += &format!(
            "<g class=\"{}\"><path class=\"line\" d=\"M{x} 20h20\"/>{}</g><text x=\"{}\" y=\"24\">{name}</text>\n",
            class(number, *kind),
            mark(number, x + 10.0, 20.0),
            x + 26.0
        );
        x += MARK + LETTER * name.len() as f64;
    }
    svg
}

#[cfg(test)]
mod tests {
    use crate::contender::Way;
    use crate::measure::Cell;
    use crate::report::Report;
    use crate::report::tests::{reported, up};

    fn count(svg: &str, part: &str) -> usize {
        svg.matches(part).count()
    }

    #[test]
    fn a_panel_has_a_mark_for_each_figure_and_a_failure_has_none() {
        let mut report = reported(
            up(8),
            &[
                ("link", vec![40.0, 0.0, 0.5, 1.0]),
                ("exec", vec![20.0, 0.25, 1.0, 0.5]),
                ("pasta", vec![10.0, 0.5, 2.0, 0.25]),
            ],
        );
        let all = report.plot();
        let pasta = Way::named("pasta").expect("a contender");
        report.fail(pasta, up(8), "it hung".to_owned());
        let failed = report.plot();
        // Throughput and its cost; the link, to which all is compared, has neither.
        assert_eq!(count(&all, "class=\"title\""), 2);
        // A name in the legend, and a line in each panel.
        assert_eq!(count(&all, "<g class=\"c0\">"), 1);
        assert_eq!(count(&all, "<g class=\"c1 own\">"), 3);
        assert_eq!(count(&all, "<g class=\"c2\">"), 3);
        assert_eq!(count(&failed, "<g class=\"c2\">"), 1);
        assert!(all.contains(">0.5</text>"), "{all}");
    }

    #[test]
    fn what_has_no_panel_gives_no_panel() {
        let report = reported(Cell::WakeUps, &[("exec", vec![1.0])]);
        assert_eq!(count(&report.plot(), "class=\"title\""), 0);
        assert_eq!(count(&Report::default().plot(), "<svg"), 1);
    }
}
