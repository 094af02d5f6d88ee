//! Tables for `benchmarks.md`: one for each figure, with a row for each cell and a column for each contender.

use super::floors::To;
use super::{Entry, Measured, Ratios, Report, contenders};
use crate::contender::Kind;
use crate::measure::{Against, Group};

/// What a run says about itself that is no version of a program.
const OTHERS: [&str; 4] = ["options", "date", "kernel", "processors"];

impl Report {
    /// What was measured, the tables, and why somebody failed. A ratio that misses its floor is bold.
    pub(crate) fn markdown(&self) -> String {
        let mut markdown = self.heading();
        let mut groups: Vec<Group> = self.cells.iter().map(Measured::group).collect();
        groups.dedup();
        for group in groups {
            let cells = self
                .cells
                .iter()
                .filter(|measured| measured.group() == group);
            let cells: Vec<_> = cells.collect();
            for column in 0..group.columns().len() {
                markdown += &table(group, &cells, column);
            }
        }
        let failures = self.failures();
        if !failures.is_empty() {
            markdown.push('\n');
        }
        for failure in failures {
            markdown += &format!("- {failure}\n");
        }
        markdown
    }

    /// Versions, the machine, when, how often, and the commands.
    fn heading(&self) -> String {
        let said = |key: &str| self.about.get(key).map_or("unknown", String::as_str);
        let programs = self.about.iter();
        let programs = programs.filter(|(name, _)| !OTHERS.contains(&name.as_str()));
        let programs: Vec<_> = programs
            .map(|(name, version)| format!("{name} {version}"))
            .collect();
        let mut heading = format!(
            "{} UTC; Linux {}; {}; {}. Medians of {}.\n\n```sh\n",
            said("date"),
            said("kernel"),
            said("processors"),
            programs.join(", "),
            self.rounds().join(", ")
        );
        for options in said("options").split("; ") {
            heading += &format!("{}\n", format!("cargo xtask bench {options}").trim_end());
        }
        heading + "```\n"
    }

    /// The fewest samples that anybody's figure is made of, group by group.
    fn rounds(&self) -> Vec<String> {
        let mut rounds: Vec<(Group, usize)> = Vec::new();
        for (measured, entry) in self.entries() {
            if entry.failure.is_some() {
                continue;
            }
            let group = measured.group();
            let number = entry.samples.len();
            match rounds.iter_mut().find(|(known, _)| *known == group) {
                Some((_, fewest)) => *fewest = number.min(*fewest),
                None => rounds.push((group, number)),
            }
        }
        let rounds = rounds.into_iter();
        rounds
            .map(|(group, number)| format!("{number} ({})", group.name()))
            .collect()
    }
}

fn table(group: Group, cells: &[&Measured], at: usize) -> String {
    let column = &group.columns()[at];
    let contenders = contenders(cells.iter().copied());
    let own = contenders.iter().filter(|(_, kind)| *kind == Kind::Own);
    let own: Vec<_> = own.map(|(name, _)| *name).collect();
    let bases: &[(To, &str)] = match column.against {
        Against::LinkAndPeer => &[(To::Link, "of link"), (To::Peer, "of peer")],
        Against::AddedByPeer => &[(To::Link, "of link"), (To::Peer, "added, of peer")],
        Against::Peer => &[(To::Peer, "of peer")],
    };
    let names = contenders.iter().map(|(name, _)| (*name).to_owned());
    let ratios = bases.iter().flat_map(|(_, basis)| {
        let named = own.iter().map(move |name| format!("{name} {basis}"));
        named.collect::<Vec<_>>()
    });
    let heading = [format!("{}, {}", group.name(), column.title)];
    let heading: Vec<_> = heading.into_iter().chain(names).chain(ratios).collect();
    let mut table = format!("\n{}|{}\n", row(&heading), "---|".repeat(heading.len()));
    for measured in cells {
        let find = |name: &str| {
            measured
                .entries
                .iter()
                .find(|entry| entry.contender == name)
        };
        let figures = contenders.iter().map(|(name, _)| match find(name) {
            Some(entry) if entry.failure.is_some() => "failed".to_owned(),
            entry => shown(entry.and_then(|entry| entry.median(at))),
        });
        let ratios = bases.iter().flat_map(|(to, _)| {
            let of = own
                .iter()
                .map(|name| find(name).map(|entry| ratio(measured, entry, at, *to)));
            of.map(Option::unwrap_or_default).collect::<Vec<_>>()
        });
        let cells = [measured.cell.to_string()].into_iter();
        table += &row(&cells.chain(figures).chain(ratios).collect::<Vec<_>>());
    }
    table
}

fn row(cells: &[String]) -> String {
    format!("| {} |\n", cells.join(" | "))
}

fn ratio(measured: &Measured, entry: &Entry, column: usize, to: To) -> String {
    let Ratios { link, peer } = measured.ratios(entry, column);
    let ratio = match to {
        To::Link => link,
        To::Peer => peer,
    };
    let ratio = shown(ratio);
    if !ratio.is_empty() && measured.misses(entry, column, to) {
        return format!("**{ratio}**");
    }
    ratio
}

/// With three digits or so.
fn shown(figure: Option<f64>) -> String {
    figure.map_or_else(String::new, |figure| {
        let decimals = match figure {
            100.0.. => 0,
            10.0.. => 1,
            _ => 2,
        };
        format!("{figure:.decimals$}")
    })
}

#[cfg(test)]
mod tests {
    use crate::contender::Way;
    use crate::report::tests::{reported, up};

    #[test]
    fn a_figure_has_a_table_with_a_column_for_each_contender_and_ratio() {
        let mut report = reported(
            up(8),
            &[
                ("link", vec![40.0, 0.0, 0.5, 1.0]),
                ("exec", vec![5.0, 0.25, 1.0, 0.5]),
                ("pasta", vec![2.0, 0.5, 2.0, 0.25]),
            ],
        );
        let tun2proxy = Way::named("tun2proxy").expect("a contender");
        report.fail(tun2proxy, up(8), "it hung".to_owned());
        for (key, value) in [
            ("options", "--rounds 1"),
            ("date", "today"),
            ("pasta", "0.0"),
        ] {
            report.about.insert(key.to_owned(), value.to_owned());
        }
        let markdown = report.markdown();
        let start = "today UTC; Linux unknown; unknown; pasta 0.0. Medians of 1 (throughput).\n\n\
            ```sh\ncargo xtask bench --rounds 1\n```\n\n\
            | throughput, Gbit/s | link | exec | pasta | tun2proxy | exec of link | exec of peer |\n\
            |---|---|---|---|---|---|---|\n\
            | 8 up | 40.0 | 5.00 | 2.00 | failed | **0.12** | 2.50 |\n";
        assert!(markdown.starts_with(start), "{markdown}");
        let cpu = "| throughput, gateway CPU s/GB | link | exec | pasta | tun2proxy | exec of peer |\n\
            |---|---|---|---|---|---|\n\
            | 8 up | 0.00 | 0.25 | 0.50 | failed | **0.50** |\n";
        assert!(markdown.contains(cpu), "{markdown}");
        assert!(markdown.ends_with("\n- tun2proxy failed (throughput 8 up): it hung\n"));
    }
}
