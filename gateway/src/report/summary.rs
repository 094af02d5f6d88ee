//! What a command did on the network, for the end of `tidegate exec --summary`.

use std::collections::BTreeMap;

use tidegate_policy::Verdict;

use super::amount::{bytes, counted};
use super::flows::{app, far_end, verdict};
use super::table::{self, Cell, Column, Fit};
use crate::record::FlowRecord;
use crate::terminal::{Style, printable};

const COLUMNS: [Column; 7] = [
    Column::left("APP", Fit::Cut),
    Column::left("TO", Fit::Cut),
    Column::left("VERDICT", Fit::Whole),
    Column::left("RULE", Fit::Cut),
    Column::right("FLOWS"),
    Column::right("UP"),
    Column::right("DOWN"),
];

/// Flows that are shown as one line.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Group {
    app: String,
    to: String,
    verdict: Option<Verdict>,
    rule: Option<String>,
}

#[derive(Debug, Default)]
struct Sum {
    flows: usize,
    up: u64,
    down: u64,
}

impl Sum {
    fn add(&mut self, record: &FlowRecord) {
        self.flows += 1;
        self.up = self.up.saturating_add(record.bytes_up);
        self.down = self.down.saturating_add(record.bytes_down);
    }
}

/// One line for each program, far end, verdict and rule, and one for all of them; each with its newline.
pub fn summary(records: &[FlowRecord], style: Style) -> String {
    let mut groups: BTreeMap<Group, Sum> = BTreeMap::new();
    let mut all = Sum::default();
    for record in records {
        let group = Group {
            app: app(record),
            to: format!("{} {}", record.protocol, far_end(record)),
            verdict: record.verdict,
            rule: record.rule.clone(),
        };
        groups.entry(group).or_default().add(record);
        all.add(record);
    }
    let rows: Vec<_> = groups
        .into_iter()
        .map(|(group, sum)| row(group, &sum))
        .collect();
    let refused = records.iter().filter(|record| is_refused(record)).count();
    format!(
        "{}{}, {} refused by the policy, {} up, {} down\n",
        if rows.is_empty() {
            String::new()
        } else {
            table::render(&COLUMNS, &rows, style)
        },
        counted(all.flows, "flow"),
        refused,
        bytes(all.up),
        bytes(all.down),
    )
}

fn is_refused(record: &FlowRecord) -> bool {
    matches!(record.verdict, Some(Verdict::Block | Verdict::Drop))
}

fn row(group: Group, sum: &Sum) -> [Cell; 7] {
    let rule = match (&group.rule, group.verdict) {
        (Some(rule), _) => printable(rule).into_owned(),
        (None, Some(_)) => "default".to_owned(),
        (None, None) => "-".to_owned(),
    };
    [
        group.app.into(),
        group.to.into(),
        verdict(group.verdict),
        rule.into(),
        sum.flows.to_string().into(),
        bytes(sum.up).into(),
        bytes(sum.down).into(),
    ]
}
