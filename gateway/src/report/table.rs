//! Text in columns, cut to the width of the terminal.

use std::fmt::Write as _;

use crate::terminal::{Colour, Style};

/// Between two columns.
const GAP: &str = "  ";

/// A column is never cut below this, so that something can be read.
const LEAST: usize = 8;

/// One column.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    pub(super) title: &'static str,
    pub(super) align: Align,
    pub(super) fit: Fit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Right,
}

/// What happens to a column when the line does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// It is kept whole.
    Whole,
    /// It is cut, the widest first.
    Cut,
}

/// One cell: text that is safe to print, and how it is coloured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) text: String,
    pub(super) tint: Tint,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tint {
    None,
    Green,
    Red,
    Yellow,
}

impl Column {
    pub(super) const fn left(title: &'static str, fit: Fit) -> Self {
        Self {
            title,
            align: Align::Left,
            fit,
        }
    }

    pub(super) const fn right(title: &'static str) -> Self {
        Self {
            title,
            align: Align::Right,
            fit: Fit::Whole,
        }
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self {
            text,
            tint: Tint::None,
        }
    }
}

impl Tint {
    fn escape(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Green => "\u{1b}[32m",
            Self::Red => "\u{1b}[31m",
            Self::Yellow => "\u{1b}[33m",
        }
    }
}

/// Head and rows, each line with its newline.
pub(super) fn render<const N: usize>(
    columns: &[Column; N],
    rows: &[[Cell; N]],
    style: Style,
) -> String {
    let mut widths = columns.map(|column| column.title.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.text.chars().count());
        }
    }
    shrink(columns, &mut widths, style.width);
    let mut text = head(columns, &widths);
    text.push('\n');
    for row in rows {
        text.push_str(&line(columns, &widths, row, style.colour));
        text.push('\n');
    }
    text
}

/// The titles.
pub(super) fn head<const N: usize>(columns: &[Column; N], widths: &[usize; N]) -> String {
    let titles = columns.map(|column| Cell::from(column.title.to_owned()));
    line(columns, widths, &titles, Colour::Plain)
}

/// One line without its newline.
pub(super) fn line<const N: usize>(
    columns: &[Column; N],
    widths: &[usize; N],
    row: &[Cell; N],
    colour: Colour,
) -> String {
    let mut text = String::new();
    for ((column, &width), cell) in columns.iter().zip(widths).zip(row) {
        if !text.is_empty() {
            text.push_str(GAP);
        }
        let shown = cut(&cell.text, width);
        let padding = width.saturating_sub(shown.chars().count());
        let (before, after) = match column.align {
            Align::Left => (0, padding),
            Align::Right => (padding, 0),
        };
        let (on, off) = match (colour, cell.tint) {
            (Colour::Plain, _) | (_, Tint::None) => ("", ""),
            (Colour::Ansi, tint) => (tint.escape(), "\u{1b}[0m"),
        };
        // Writing to a string cannot fail.
        let _ = write!(text, "{:before$}{on}{shown}{off}{:after$}", "", "");
    }
    text.truncate(text.trim_end_matches(' ').len());
    text
}

/// Takes columns off the widest that may be cut until the line fits, or none can give more.
pub(super) fn shrink<const N: usize>(
    columns: &[Column; N],
    widths: &mut [usize; N],
    available: Option<usize>,
) {
    let Some(available) = available else { return };
    loop {
        let total = widths.iter().sum::<usize>() + GAP.len() * N.saturating_sub(1);
        if total <= available {
            return;
        }
        let widest = columns
            .iter()
            .zip(widths.iter_mut())
            .filter(|(column, width)| column.fit == Fit::Cut && **width > LEAST)
            .map(|(_, width)| width)
            .max();
        let Some(widest) = widest else { return };
        *widest -= 1;
    }
}

/// The text, or its beginning and an ellipsis.
fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept = text.chars().take(width.saturating_sub(1));
    kept.chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 3] = [
        Column::left("APP", Fit::Cut),
        Column::left("TO", Fit::Cut),
        Column::right("BYTES"),
    ];

    fn rows() -> [[Cell; 3]; 2] {
        [
            ["curl", "203.0.113.9:443", "12"],
            ["a-very-long-program-name", "[2001:db8::1]:443", "3456"],
        ]
        .map(|row| row.map(|text| Cell::from(text.to_owned())))
    }

    #[test]
    fn columns_are_as_wide_as_they_need() {
        insta::assert_snapshot!(render(&COLUMNS, &rows(), Style::PLAIN), @"
        APP                       TO                 BYTES
        curl                      203.0.113.9:443       12
        a-very-long-program-name  [2001:db8::1]:443   3456
        ");
    }

    #[test]
    fn a_narrow_terminal_cuts_the_widest_columns() {
        let style = Style {
            width: Some(36),
            colour: Colour::Plain,
        };
        let text = render(&COLUMNS, &rows(), style);
        assert!(
            text.lines().all(|line| line.chars().count() <= 36),
            "{text}"
        );
        insta::assert_snapshot!(text, @"
        APP             TO             BYTES
        curl            203.0.113.9:…     12
        a-very-long-p…  [2001:db8::1…   3456
        ");
    }

    #[test]
    fn colours_do_not_count_as_width() {
        let style = Style {
            width: None,
            colour: Colour::Ansi,
        };
        let row = [
            Cell {
                text: "x".to_owned(),
                tint: Tint::Red,
            },
            "y".to_owned().into(),
            "1".to_owned().into(),
        ];
        let text = line(&COLUMNS, &[3, 1, 2], &row, style.colour);
        assert_eq!(text, "\u{1b}[31mx\u{1b}[0m    y   1");
    }
}
