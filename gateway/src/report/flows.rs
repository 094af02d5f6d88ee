//! Flows as a table, and line by line.

use tidegate_policy::{Direction, Verdict};
use tidegate_routing::flow::State;

use super::amount::bytes;
use super::table::{self, Cell, Column, Fit, Tint};
use crate::record::{Carriage, FlowRecord};
use crate::terminal::{Style, printable};

const COLUMNS: [Column; 8] = [
    Column::left("STARTED", Fit::Whole),
    Column::left("APP", Fit::Cut),
    Column::left("FLOW", Fit::Cut),
    Column::left("VERDICT", Fit::Whole),
    Column::left("RULE", Fit::Cut),
    Column::right("UP"),
    Column::right("DOWN"),
    Column::left("STATE", Fit::Cut),
];

/// Widths for lines that are printed before the next ones are known.
const STEADY: [usize; 8] = [9, 20, 48, 7, 20, 7, 7, 24];

/// All records, oldest first, in columns as wide as they need.
pub fn flow_table(records: &[FlowRecord], style: Style) -> String {
    let mut rows: Vec<_> = records.iter().collect();
    rows.sort_by_key(|record| (record.started, record.id));
    let rows: Vec<_> = rows.into_iter().map(cells).collect();
    table::render(&COLUMNS, &rows, style)
}

/// Records one by one, in columns of steady width.
#[derive(Debug)]
pub struct FlowLines {
    widths: [usize; 8],
    style: Style,
}

impl FlowLines {
    /// Lines for a terminal of this style.
    pub fn new(style: Style) -> Self {
        let mut widths = STEADY;
        table::shrink(&COLUMNS, &mut widths, style.width);
        Self { widths, style }
    }

    /// The titles.
    pub fn head(&self) -> String {
        table::head(&COLUMNS, &self.widths)
    }

    /// One record.
    pub fn line(&self, record: &FlowRecord) -> String {
        table::line(&COLUMNS, &self.widths, &cells(record), self.style.colour)
    }
}

fn cells(record: &FlowRecord) -> [Cell; 8] {
    let rule = match (&record.rule, record.verdict) {
        (Some(rule), _) => printable(rule).into_owned(),
        (None, Some(_)) => "default".to_owned(),
        (None, None) => "-".to_owned(),
    };
    [
        clock(record).into(),
        app(record).into(),
        conversation(record).into(),
        verdict(record.verdict),
        rule.into(),
        bytes(record.bytes_up).into(),
        bytes(record.bytes_down).into(),
        state(record).into(),
    ]
}

/// The time of day, in UTC as in the records.
fn clock(record: &FlowRecord) -> String {
    let time = record.started.to_string();
    let clock = time.split_once('T').map_or("", |(_, clock)| clock);
    format!("{}Z", clock.get(..8).unwrap_or(clock))
}

/// The program's name, or why there is none.
pub(super) fn app(record: &FlowRecord) -> String {
    match (&record.app, &record.unattributed) {
        (Some(app), _) => printable(&app.name).into_owned(),
        (None, Some(reason)) => format!("unknown ({})", printable(reason)),
        (None, None) => "-".to_owned(),
    }
}

/// Protocol and ends: `tcp example.org (203.0.113.9:443)`, `tcp 192.0.2.7:50000 → :22`.
fn conversation(record: &FlowRecord) -> String {
    let far = far_end(record);
    match record.direction {
        Direction::Out => format!("{} {far}", record.protocol),
        Direction::In => format!("{} {far} → :{}", record.protocol, record.local.port()),
    }
}

/// The far end by name and address; without the port where there is none.
pub(super) fn far_end(record: &FlowRecord) -> String {
    let address = match record.remote.port() {
        0 => record.remote.ip().to_string(),
        _ => record.remote.to_string(),
    };
    match record.names.first() {
        Some(name) => format!("{} ({address})", printable(&name.name)),
        None => address,
    }
}

pub(super) fn verdict(verdict: Option<Verdict>) -> Cell {
    let tint = match verdict {
        None => return "-".to_owned().into(),
        Some(Verdict::Allow) => Tint::Green,
        Some(Verdict::Block) => Tint::Red,
        Some(Verdict::Ask | Verdict::Drop) => Tint::Yellow,
    };
    Cell {
        text: verdict.map_or_else(String::new, |verdict| verdict.to_string()),
        tint,
    }
}

/// How far it has come, and why it ended.
fn state(record: &FlowRecord) -> String {
    let ended = matches!(
        record.state,
        State::Closed | State::Refused | State::Uncaptured
    );
    let mut text = record.state.to_string();
    if record.carriage == Carriage::Existing {
        text.push_str(", existing");
    }
    if let Some(reason) = record.reason.as_ref().filter(|_| ended) {
        text.push_str(": ");
        text.push_str(&printable(reason));
    }
    text
}
