//! What the user may choose.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

/// How long and how often to measure.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// Seconds of each measurement.
    pub(crate) seconds: u32,
    /// How often everything is measured.
    pub(crate) rounds: u32,
    /// Numbers of parallel streams.
    pub(crate) streams: Vec<u32>,
    /// Who takes part; nobody for all.
    pub(crate) contenders: Vec<String>,
    /// Where all samples are written to.
    pub(crate) json: Option<PathBuf>,
}

const USAGE: &str =
    "options: --seconds N, --rounds N, --streams N,N.., --contenders NAME,NAME.., --json FILE";

impl Options {
    pub(crate) fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self> {
        let mut options = Self {
            seconds: 3,
            rounds: 5,
            streams: vec![1, 8],
            contenders: Vec::new(),
            json: None,
        };
        while let Some(option) = arguments.next() {
            let value = arguments
                .next()
                .with_context(|| format!("{option} needs a value; {USAGE}"))?;
            match option.as_str() {
                "--seconds" => options.seconds = positive(&value)?,
                "--rounds" => options.rounds = positive(&value)?,
                "--streams" => {
                    options.streams = value.split(',').map(positive).collect::<Result<_>>()?
                }
                "--contenders" => {
                    options.contenders = value.split(',').map(str::to_owned).collect()
                }
                "--json" => options.json = Some(value.into()),
                unknown => bail!("there is no option {unknown}; {USAGE}"),
            }
        }
        Ok(options)
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
    use super::Options;

    fn parse(words: &str) -> anyhow::Result<Options> {
        Options::parse(words.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn every_option_is_taken() {
        let options =
            parse("--seconds 1 --rounds 2 --streams 1,64 --contenders link,exec --json out")
                .expect("good options");
        assert_eq!(
            options,
            Options {
                seconds: 1,
                rounds: 2,
                streams: vec![1, 64],
                contenders: vec!["link".into(), "exec".into()],
                json: Some("out".into())
            }
        );
    }

    #[test]
    fn nonsense_is_refused() {
        for words in [
            "--seconds",
            "--seconds 0",
            "--rounds many",
            "--streams 1,",
            "--fast 1",
        ] {
            assert!(parse(words).is_err(), "{words}");
        }
    }
}
