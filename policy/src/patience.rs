//! How long the user may take to answer.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::document::{Refusal, Section};
use crate::verdict::Verdict;

/// What becomes of a flow about which the user is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Patience {
    /// How long it waits for the answer.
    pub time: Duration,
    /// What holds where none came: [`Verdict::Block`] or [`Verdict::Drop`].
    pub then: Verdict,
}

/// A program's own connection attempt lasts two minutes.
const TIMES: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(120);
/// What nobody has allowed does not pass.
const ENDS: [(&str, Verdict); 2] = [("block", Verdict::Block), ("drop", Verdict::Drop)];

impl Default for Patience {
    fn default() -> Self {
        Self {
            time: Duration::from_secs(30),
            then: Verdict::Block,
        }
    }
}

impl Patience {
    /// From `[policy]`; what is absent or wrong keeps its default, and the wrong is noted.
    pub(crate) fn read(policy: &Section<'_>) -> Self {
        let default = Self::default();
        let time = policy.item("ask_timeout").and_then(|item| {
            item.parse(|text| {
                let time = span(text)?;
                if TIMES.contains(&time) {
                    return Ok(time);
                }
                let hint = "write a time from \"1s\" to \"2m\": programs give up after that";
                Err(Refusal::new("nobody is asked for so long", hint))
            })
        });
        Self {
            time: time.unwrap_or(default.time),
            then: policy
                .choice("ask_timeout_verdict", &ENDS)
                .unwrap_or(default.then),
        }
    }
}

/// Reads a length of time: a whole number and `s`, `m`, `h` or `d`.
///
/// # Errors
/// The text is something else, or zero, or more than a hundred years.
pub fn span(text: &str) -> Result<Duration, Refusal> {
    const LONGEST: u64 = 100 * 366 * 86_400;
    let length = || {
        let unit = text.chars().next_back()?;
        let seconds = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            'd' => 86_400,
            _ => return None,
        };
        let digits = text.strip_suffix(unit)?;
        let is_number = digits.bytes().all(|digit| digit.is_ascii_digit());
        let number: u64 = digits.parse().ok().filter(|_| is_number)?;
        let length = number.checked_mul(seconds)?;
        (1..=LONGEST).contains(&length).then_some(length)
    };
    length().map(Duration::from_secs).ok_or_else(|| {
        Refusal::new(
            format!("\"{text}\" is no length of time"),
            "write a number and its unit: \"30s\", \"10m\", \"8h\", \"7d\"",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_of_time_is_a_number_and_a_unit() {
        let seconds = |text| span(text).map(|length| length.as_secs()).ok();
        assert_eq!(
            ["30s", "2m", "8h", "7d"].map(seconds),
            [Some(30), Some(120), Some(28_800), Some(604_800)]
        );
        let wrong =
            "|s|30|0s|-1s|+1s|1.5h|1 h|1w|1é|99999999999999999999d|40000d|18446744073709551615d";
        for wrong in wrong.split('|') {
            assert_eq!(seconds(wrong), None, "{wrong}");
        }
    }
}
