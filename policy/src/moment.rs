//! Points in time, and the Gregorian calendar.

use std::fmt;

use toml::value::{Datetime, Offset};

use crate::document::Refusal;

const SECONDS_PER_DAY: i64 = 86_400;

/// A point in time, in seconds since 1970-01-01T00:00:00Z without leap seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub i64);

/// A point in time, and how far the clocks on the wall are ahead of UTC then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WallTime {
    /// The point in time.
    pub moment: Moment,
    /// Seconds ahead of UTC.
    pub offset: i32,
}

impl WallTime {
    /// Reads `2026-12-01T22:00:00+01:00`.
    ///
    /// # Errors
    /// Anything else: a date without a time, a time without its offset.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let whole = text.parse().ok().and_then(Self::from_toml);
        whole.ok_or_else(|| Refusal::new(format!("\"{text}\" is no whole time"), WHOLE_TIME))
    }

    /// None where the date, the time or the offset is missing.
    pub(crate) fn from_toml(time: Datetime) -> Option<Self> {
        let (date, clock) = (time.date?, time.time?);
        let offset = match time.offset? {
            Offset::Z => 0,
            Offset::Custom { minutes } => i32::from(minutes) * 60,
        };
        let days = days_from_civil(date.year.into(), date.month.into(), date.day.into());
        let second = i64::from(clock.hour) * 3600
            + i64::from(clock.minute) * 60
            + i64::from(clock.second.unwrap_or(0));
        let local = i64::try_from(days).ok()? * SECONDS_PER_DAY + second;
        (date.year >= 1970).then_some(Self {
            moment: Moment(local - i64::from(offset)),
            offset,
        })
    }
}

/// What to write where a time is not whole.
pub(crate) const WHOLE_TIME: &str =
    "write date, time and offset: 2026-12-01T22:00:00Z, or 2026-12-01T22:00:00+01:00";

impl fmt::Display for Moment {
    /// RFC 3339, in UTC: `2026-12-01T22:00:00Z`. What was before 1970 is shown as 1970.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = u64::try_from(self.0).unwrap_or(0);
        let day = SECONDS_PER_DAY.unsigned_abs();
        let (year, month, date) = civil_from_days(seconds / day);
        let second = seconds % day;
        write!(
            f,
            "{year:04}-{month:02}-{date:02}T{:02}:{:02}:{:02}Z",
            second / 3600,
            second / 60 % 60,
            second % 60
        )
    }
}

/// Year, month and day of the Gregorian calendar, so many days after 1970-01-01.
///
/// Counts in years that begin on 1 March, so that the leap day comes last, and in eras of 400 years = 146,097 days.
pub fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468; // from 0000-03-01
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

/// The inverse of [`civil_from_days`] for years from 1970.
pub fn days_from_civil(year: u64, month: u64, day: u64) -> u64 {
    let year = year.saturating_sub(u64::from(month <= 2));
    let (era, year_of_era) = (year / 400, year % 400);
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day.saturating_sub(1);
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    (era * 146_097 + day_of_era).saturating_sub(719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_time_is_read_wherever_its_clock_hangs() {
        let read = |text| WallTime::parse(text).map(|time| (time.moment.to_string(), time.offset));
        let is = |text: &str, offset| Ok((text.to_owned(), offset));
        assert_eq!(read("2026-12-01T22:00:00Z"), is("2026-12-01T22:00:00Z", 0));
        assert_eq!(
            read("2026-03-01T00:30:00+05:30"),
            is("2026-02-28T19:00:00Z", 19_800)
        );
        assert_eq!(
            read("2024-02-29T23:00:00-02:00"),
            is("2024-03-01T01:00:00Z", -7_200)
        );
        for text in [
            "2026-12-01",
            "22:00:00",
            "2026-12-01T22:00:00",
            "1969-12-31T00:00:00Z",
            "x",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
