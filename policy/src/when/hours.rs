//! A part of the day: `22:00-06:00`.

use std::fmt;

use crate::document::Refusal;

/// Seconds of a day on the wall.
const DAY: u32 = 86_400;

/// A part of the day, from its first second up to, but without, its last; it may reach over midnight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Hours {
    /// Seconds since midnight, below a whole day.
    from: u32,
    /// Seconds since midnight, up to a whole day; never as `from`.
    to: u32,
}

impl Hours {
    /// Reads `22:00-06:00`, with seconds where wanted: `22:00:30-06:00`. The end may be `24:00`.
    ///
    /// # Errors
    /// Anything else, and a part that begins when it ends.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let parts = text.split_once('-');
        let read = parts.and_then(|(from, to)| Some((seconds(from)?, seconds(to)?)));
        match read {
            Some((from, to)) if from < DAY && from != to => Ok(Self { from, to }),
            Some((from, to)) if from == to => Err(Refusal::new(
                format!("\"{text}\" ends when it begins"),
                "leave `time` out for the whole day",
            )),
            Some(_) | None => Err(Refusal::new(
                format!("\"{text}\" is no part of a day"),
                "write 22:00-06:00, or with seconds 22:00:30-06:00:00",
            )),
        }
    }

    /// Of a second that lies within: how many days ago this part began, 0 or 1.
    pub(super) fn began(self, second: u32) -> Option<u8> {
        if self.from < self.to {
            return (self.from <= second && second < self.to).then_some(0);
        }
        if second >= self.from {
            return Some(0);
        }
        (second < self.to).then_some(1)
    }

    /// The seconds at which it begins and ends, and midnight, where another day begins.
    pub(super) fn bounds(self) -> [u32; 2] {
        [self.from, self.to % DAY]
    }
}

/// `HH:MM` or `HH:MM:SS`, up to 24:00.
fn seconds(text: &str) -> Option<u32> {
    let mut total = 0;
    let mut parts = text.split(':');
    for (unit, most) in [(3600, 24), (60, 59), (1, 59)] {
        let Some(part) = parts.next() else {
            // The seconds may be left out.
            return (unit == 1 && total <= DAY).then_some(total);
        };
        let digits = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
        let number: u32 = part
            .parse()
            .ok()
            .filter(|number| digits && *number <= most)?;
        total += number * unit;
    }
    (parts.next().is_none() && total <= DAY).then_some(total)
}

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", Shown(self.from), Shown(self.to))
    }
}

/// A time of day, its seconds only where there are some.
pub(super) struct Shown(pub(super) u32);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 3600, self.0 / 60 % 60)?;
        match self.0 % 60 {
            0 => Ok(()),
            second => write!(f, ":{second:02}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_day_are_read_and_shown() {
        for (text, shown) in [
            ("22:00-06:00", "22:00-06:00"),
            ("00:00-24:00", "00:00-24:00"),
            ("09:30:00-17:00:15", "09:30-17:00:15"),
        ] {
            assert_eq!(Hours::parse(text).unwrap().to_string(), shown);
        }
        for wrong in [
            "",
            "22:00",
            "22:00-",
            "22-06",
            "9:00-10:00",
            "24:00-06:00",
            "22:00-24:01",
            "22:60-23:00",
            "10:00-10:00",
            "22:00-06:00-07:00",
            "22:00:00:00-06:00",
            "-1:00-06:00",
            "00:00-24:00:01",
        ] {
            assert!(Hours::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_part_that_reaches_over_midnight_began_the_day_before() {
        let night = Hours::parse("22:00-06:00").unwrap();
        let began = |clock: &str| night.began(seconds(clock).unwrap());
        assert_eq!(began("21:59:59"), None);
        assert_eq!(began("22:00"), Some(0));
        assert_eq!(began("00:00"), Some(1));
        assert_eq!(began("05:59:59"), Some(1));
        assert_eq!(began("06:00"), None);
        let whole = Hours::parse("00:00-24:00").unwrap();
        assert_eq!((whole.began(0), whole.began(DAY - 1)), (Some(0), Some(0)));
    }
}
