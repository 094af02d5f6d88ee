//! One panel: a title, two axes, and a line of marks for each contender.

use super::scale::Scale;

/// Between the panel's edge and its axes.
const LEFT: f64 = 44.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 48.0;
const BOTTOM: f64 = 34.0;

/// How large a mark is: the radius of a circle.
const MARK: f64 = 3.5;

#[derive(Debug)]
pub(super) struct Panel {
    pub(super) title: &'static str,
    pub(super) note: &'static str,
    pub(super) scale: Scale,
    /// What the places on the horizontal axis are called.
    pub(super) labels: Vec<String>,
    pub(super) marks: Marks,
    pub(super) lines: Vec<Line>,
}

/// Whether places follow from each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Marks {
    Joined,
    Apart,
}

/// A contender's.
#[derive(Debug)]
pub(super) struct Line {
    /// Its number, and how it is drawn.
    pub(super) number: usize,
    pub(super) class: String,
    /// One for each place; nothing where it has no figure.
    pub(super) points: Vec<Option<f64>>,
}

impl Panel {
    pub(super) const WIDTH: usize = 290;
    pub(super) const HEIGHT: usize = 226;

    pub(super) fn svg(&self) -> String {
        let mut svg = format!(
            "<text class=\"title\" x=\"{LEFT}\" y=\"18\">{}</text><text x=\"{LEFT}\" y=\"33\">{}</text>\n",
            self.title, self.note
        );
        let end = Self::WIDTH as f64 - RIGHT;
        for (value, name) in self.scale.ticks() {
            let y = self.y(value);
            svg += &format!(
                "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{end}\"/>\
                 <text class=\"left\" x=\"{}\" y=\"{:.1}\">{name}</text>\n",
                LEFT - 6.0,
                y + 4.0
            );
        }
        let below = Self::HEIGHT as f64 - BOTTOM + 18.0;
        for (place, label) in self.labels.iter().enumerate() {
            let x = self.x(place);
            svg += &format!("<text class=\"below\" x=\"{x:.1}\" y=\"{below}\">{label}</text>\n");
        }
        self.lines
            .iter()
            .fold(svg, |svg, line| svg + &self.line(line))
    }

    fn line(&self, line: &Line) -> String {
        let at = |(place, point): (usize, &Option<f64>)| {
            point.map(|value| (self.x(place), self.y(value)))
        };
        let points: Vec<_> = line.points.iter().enumerate().filter_map(at).collect();
        let mut svg = format!("<g class=\"{}\">", line.class);
        if self.marks == Marks::Joined {
            let ways = points.iter().map(|(x, y)| format!("{x:.1} {y:.1}"));
            let ways: Vec<_> = ways.collect();
            svg += &format!("<path class=\"line\" d=\"M{}\"/>", ways.join("L"));
        }
        for (x, y) in points {
            svg += &mark(line.number, x, y);
        }
        svg + "</g>\n"
    }

    /// Places have equal distances, and half of one at each end.
    fn x(&self, place: usize) -> f64 {
        let width = Self::WIDTH as f64 - LEFT - RIGHT;
        LEFT + width * (place as f64 + 0.5) / self.labels.len() as f64
    }

    fn y(&self, value: f64) -> f64 {
        let height = Self::HEIGHT as f64 - TOP - BOTTOM;
        TOP + height * (1.0 - self.scale.height(value))
    }
}

/// A form for each contender, so that colour alone need not tell them apart.
pub(super) fn mark(number: usize, x: f64, y: f64) -> String {
    let (small, large) = (MARK * 0.9, MARK * 1.3);
    let (left, right) = (x - small, x + small);
    let path = match number % 5 {
        0 => return format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{MARK}\"/>"),
        1 => format!(
            "M{left:.1} {:.1}h{d:.1}v{d:.1}h-{d:.1}z",
            y - small,
            d = 2.0 * small
        ),
        2 => format!(
            "M{x:.1} {:.1}l{large:.1} {large:.1}l-{large:.1} {large:.1}l-{large:.1} -{large:.1}z",
            y - large
        ),
        3 => format!(
            "M{left:.1} {:.1}H{right:.1}L{x:.1} {:.1}z",
            y + small,
            y - large
        ),
        _ => format!(
            "M{left:.1} {:.1}H{right:.1}L{x:.1} {:.1}z",
            y - small,
            y + large
        ),
    };
    format!("<path d=\"{path}\"/>")
}
