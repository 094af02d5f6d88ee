//! A table for the terminal.

use super::{Measured, Ratios, Report};
use crate::measure::{Against, Group};

impl Report {
    /// For each group its own columns, a row for each cell and contender; under the table why somebody failed.
    pub(crate) fn table(&self) -> String {
        let mut table = String::new();
        let mut group = None;
        for measured in &self.cells {
            if group.replace(measured.group()) != Some(measured.group()) {
                table += &heading(measured.group());
            }
            table += &rows(measured);
        }
        for failure in self.failures() {
            table += &format!("\n{failure}\n");
        }
        table
    }
}

fn heading(group: Group) -> String {
    let mut heading = format!("\n{:<20} {:<16}", group.name(), "");
    for column in group.columns() {
        let peer = match column.against {
            Against::AddedByPeer => "added/p",
            Against::LinkAndPeer | Against::Peer => "/peer",
        };
        heading += &format!(" {:>18} {:>7} {peer:>7}", column.title, "/link");
    }
    heading.push('\n');
    heading
}

fn rows(measured: &Measured) -> String {
    let mut rows = String::new();
    for entry in &measured.entries {
        rows += &format!("{:<20} {:<16}", measured.cell.to_string(), entry.contender);
        if entry.failure.is_some() {
            rows += " failed\n";
            continue;
        }
        for at in 0..measured.group().columns().len() {
            let Ratios { link, peer } = measured.ratios(entry, at);
            rows += &text(entry.median(at), 18);
            rows += &text(link, 7);
            rows += &text(peer, 7);
        }
        rows.push('\n');
    }
    rows
}

fn text(figure: Option<f64>, width: usize) -> String {
    figure.map_or_else(
        || format!(" {:>width$}", ""),
        |figure| format!(" {figure:>width$.2}"),
    )
}

#[cfg(test)]
mod tests {
    use crate::contender::Way;
    use crate::report::tests::{reported, up};

    #[test]
    fn a_row_has_a_figure_and_its_ratios_for_each_column() {
        let report = reported(
            up(8),
            &[
                ("link", vec![40.0, 0.0, 0.5, 1.0]),
                ("exec", vec![5.0, 0.25, 1.0, 0.5]),
                ("pasta", vec![2.0, 0.5, 2.0, 0.25]),
            ],
        );
        let table = report.table();
        let row = table
            .lines()
            .find(|line| line.starts_with("8 up") && line.contains("exec"));
        let words: Vec<_> = row.expect("the row").split_whitespace().collect();
        let wanted = "8 up exec 5.00 0.12 2.50 0.25 0.50 1.00 2.00 0.50 0.50 0.50 2.00";
        assert_eq!(words.join(" "), wanted);
    }

    #[test]
    fn who_failed_is_in_the_table_with_the_reason_below() {
        let mut report = reported(up(8), &[("exec", vec![5.0, 0.25, 1.0, 0.5])]);
        let pasta = Way::named("pasta").expect("a contender");
        report.fail(pasta, up(8), "it hung".to_owned());
        let table = report.table();
        let lines = table.lines().filter(|line| line.contains("pasta"));
        let lines: Vec<_> = lines
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        assert_eq!(
            lines,
            [
                "8 up pasta failed",
                "pasta failed (throughput 8 up): it hung"
            ]
        );
    }
}
