//! What the user may choose.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::measure::Group;

/// How long and how often to measure.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// How long throughput and datagrams are measured; the rest for a second at most.
    pub(crate) duration: Duration,
    /// How often everything is measured.
    pub(crate) rounds: u32,
    /// Numbers of parallel streams.
    pub(crate) streams: Vec<u32>,
    /// Who takes part; nobody for all.
    pub(crate) contenders: Vec<String>,
    /// What is measured.
    pub(crate) groups: Vec<Group>,
    pub(crate) extent: Extent,
    /// Where all samples are written to.
    pub(crate) json: Option<PathBuf>,
    /// Where the plot is written to.
    pub(crate) plot: Option<PathBuf>,
    /// Where samples are read from, in place of measuring; nowhere to measure.
    pub(crate) from: Vec<PathBuf>,
    pub(crate) tables: Tables,
    pub(crate) judgement: Judgement,
}

/// What is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tables {
    Text,
    /// For `benchmarks.md`.
    Markdown,
}

/// What comes of a ratio that is too low.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// It is shown.
    None,
    /// The run fails.
    Floors,
}

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    Usual,
    /// Also what takes long: memory of 10,000 flows.
    Full,
}

const USAGE: &str = "options: --seconds N, --rounds N, --streams N,N.., --contenders NAME,NAME.., \
     --only MEASUREMENT,MEASUREMENT.., --full, --check, --json FILE, --plot FILE, --markdown, \
     --from FILE,FILE..";

impl Options {
    pub(crate) fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self> {
        let mut options = Self {
            duration: Duration::from_secs(2),
            rounds: 5,
            streams: vec![1, 8],
            contenders: Vec::new(),
            groups: Group::ALL.to_vec(),
            extent: Extent::Usual,
            json: None,
            plot: None,
            from: Vec::new(),
            tables: Tables::Text,
            judgement: Judgement::None,
        };
        while let Some(option) = arguments.next() {
            match option.as_str() {
                "--full" => options.extent = Extent::Full,
                "--check" => options.judgement = Judgement::Floors,
                "--markdown" => options.tables = Tables::Markdown,
                _ => options.take(&option, arguments.next())?,
            }
        }
        Ok(options)
    }

    /// One with a value.
    fn take(&mut self, option: &str, value: Option<String>) -> Result<()> {
        let value = value.with_context(|| format!("{option} needs a value; {USAGE}"))?;
        let several = || value.split(',');
        match option {
            "--seconds" => self.duration = seconds(&value)?,
            "--rounds" => self.rounds = positive(&value)?,
            "--streams" => self.streams = several().map(positive).collect::<Result<_>>()?,
            "--contenders" => self.contenders = several().map(str::to_owned).collect(),
            "--only" => self.groups = several().map(Group::named).collect::<Result<_>>()?,
            "--from" => self.from = several().map(PathBuf::from).collect(),
            "--json" => self.json = Some(value.into()),
            "--plot" => self.plot = Some(value.into()),
            unknown => bail!("there is no option {unknown}; {USAGE}"),
        }
        Ok(())
    }
}

/// Also parts of a second.
fn seconds(text: &str) -> Result<Duration> {
    let seconds = text.parse().ok().map(Duration::try_from_secs_f64);
    match seconds {
        Some(Ok(duration)) if !duration.is_zero() => Ok(duration),
        _ => bail!("`{text}` is no number of seconds; {USAGE}"),
    }
}

fn positive(text: &str) -> Result<u32> {
    match text.parse() {
        Ok(number @ 1..) => Ok(number),
        _ => bail!("`{text}` is no positive number; {USAGE}"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Extent, Group, Judgement, Options, Tables};

    fn parse(words: &str) -> anyhow::Result<Options> {
        Options::parse(words.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn every_option_is_taken() {
        let options = parse(
            "--seconds 0.5 --full --rounds 2 --streams 1,64 --contenders link,exec \
             --only latency,wake-ups --json out --plot plot --from in,more --markdown --check",
        )
        .expect("good options");
        assert_eq!(
            options,
            Options {
                duration: Duration::from_millis(500),
                rounds: 2,
                streams: vec![1, 64],
                contenders: vec!["link".into(), "exec".into()],
                groups: vec![Group::Latency, Group::WakeUps],
                extent: Extent::Full,
                json: Some("out".into()),
                plot: Some("plot".into()),
                from: vec!["in".into(), "more".into()],
                tables: Tables::Markdown,
                judgement: Judgement::Floors,
            }
        );
    }

    #[test]
    fn nonsense_is_refused() {
        for words in [
            "--seconds",
            "--seconds 0",
            "--seconds -1",
            "--seconds inf",
            "--rounds many",
            "--streams 1,",
            "--only speed",
            "--fast 1",
        ] {
            assert!(parse(words).is_err(), "{words}");
        }
    }
}
