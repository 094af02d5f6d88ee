//! When and where a flow is judged: the same for all flows of a host at one time.

use std::fmt;
use std::sync::Arc;

use crate::document::Refusal;
use crate::facts::Fact;
use crate::moment::{Moment, WallTime};

/// When and where a flow is judged; what is absent is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// The time.
    pub clock: Option<Clock>,
    /// The network that this host is in.
    pub network: Option<Network>,
    /// Who says which profile is active.
    pub profile: ProfileChoice,
}

static UNKNOWN: Context = Context {
    clock: None,
    network: None,
    profile: ProfileChoice::ByContext,
};

impl Context {
    /// Nothing is known.
    pub fn unknown() -> &'static Self {
        &UNKNOWN
    }
}

/// The time, and what a clock on the wall shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// The present.
    pub now: Moment,
    /// Seconds that the clock on the wall is ahead of UTC.
    pub offset: i32,
    /// When it will be put forward or back; `None`: not in the next day.
    pub offset_until: Option<Moment>,
}

const SECONDS_PER_DAY: i64 = 86_400;

impl Clock {
    /// Seconds since midnight on the wall.
    pub(crate) fn second(&self) -> u32 {
        u32::try_from(self.local().rem_euclid(SECONDS_PER_DAY)).unwrap_or(0)
    }

    /// Days since Monday.
    pub(crate) fn weekday(&self) -> u8 {
        // 1970-01-01 was a Thursday.
        let day = self.local().div_euclid(SECONDS_PER_DAY).saturating_add(3);
        u8::try_from(day.rem_euclid(7)).unwrap_or(0)
    }

    fn local(&self) -> i64 {
        self.now.0.saturating_add(self.offset.into())
    }

    /// The next moment at which the clock shows one of these seconds since midnight, ascending, or is put forward or back.
    pub(crate) fn next(&self, seconds: &[u32]) -> Option<Moment> {
        let shown = self.second();
        let later = seconds.iter().find(|second| **second > shown);
        let ahead = match (later, seconds.first()) {
            (Some(later), _) => i64::from(*later) - i64::from(shown),
            (None, Some(first)) => SECONDS_PER_DAY + i64::from(*first) - i64::from(shown),
            (None, None) => return None,
        };
        let shown = Moment(self.now.0.saturating_add(ahead));
        Some(self.offset_until.map_or(shown, |put| put.min(shown)))
    }
}

impl From<WallTime> for Clock {
    fn from(time: WallTime) -> Self {
        Self {
            now: time.moment,
            offset: time.offset,
            offset_until: None,
        }
    }
}

/// The network that a host is in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// The ways out of the host itself: of each family one, or one for both; none: it is not connected.
    pub uplinks: Vec<Uplink>,
    /// Whether another program's tunnel carries what leaves.
    pub vpn: Fact<bool>,
}

/// A way out of a host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Uplink {
    /// The name of its interface.
    pub interface: Fact<Arc<str>>,
    /// The hardware address of the router.
    pub gateway: Fact<Mac>,
    /// The name of the wireless network.
    pub ssid: Fact<Arc<str>>,
}

/// Who says which profile is active.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ProfileChoice {
    /// Each profile's own conditions.
    #[default]
    ByContext,
    /// The user: this one and no other.
    Named(Arc<str>),
}

/// A hardware address of an Ethernet-like link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// Reads `02:00:5e:10:00:01`, in upper or lower case.
    ///
    /// # Errors
    /// Anything but six pairs of hexadecimal digits with colons between them.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let mut address = [0; 6];
        let mut parts = text.split(':');
        let pair = |part: &str| {
            let digits = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
            u8::from_str_radix(part, 16).ok().filter(|_| digits)
        };
        let whole = address.iter_mut().all(|byte| {
            let read = parts.next().and_then(pair);
            *byte = read.unwrap_or(0);
            read.is_some()
        });
        if whole && parts.next().is_none() {
            return Ok(Self(address));
        }
        Err(Refusal::new(
            format!("\"{text}\" is no hardware address"),
            "write six pairs of digits, as `ip neighbour` shows them: 02:00:5e:10:00:01",
        ))
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock(text: &str) -> Clock {
        Clock::from(WallTime::parse(text).unwrap())
    }

    #[test]
    fn the_wall_shows_its_own_day() {
        let late = clock("2026-11-22T23:30:00Z"); // a Sunday
        assert_eq!((late.second(), late.weekday()), (84_600, 6));
        let ahead = Clock {
            offset: 3600,
            ..late
        };
        assert_eq!((ahead.second(), ahead.weekday()), (1_800, 0));
        let behind = clock("1970-01-01T01:00:00+02:00");
        assert_eq!((behind.second(), behind.weekday()), (3_600, 3));
    }

    #[test]
    fn the_next_of_some_times_of_day_is_today_or_tomorrow() {
        let noon = clock("2026-11-22T12:00:00Z");
        let after = |seconds: &[u32]| noon.next(seconds).map(|next| next.0 - noon.now.0);
        assert_eq!(after(&[]), None);
        assert_eq!(after(&[3600, 43_200, 43_201]), Some(1));
        assert_eq!(after(&[3600, 43_200]), Some(46_800));
        let changing = Clock {
            offset_until: Some(Moment(noon.now.0 + 60)),
            ..noon
        };
        assert_eq!(changing.next(&[3600]), changing.offset_until);
    }

    #[test]
    fn a_hardware_address_is_six_pairs() {
        let text = "02:00:5e:10:00:0f";
        assert_eq!(Mac::parse(text).unwrap().to_string(), text);
        assert_eq!(Mac::parse("02:00:5E:10:00:0F"), Mac::parse(text));
        for wrong in [
            "",
            "02:00:5e:10:00",
            "02:00:5e:10:00:0f:00",
            "2:0:5e:10:0:f",
            "+2:00:5e:10:00:0f",
        ] {
            assert!(Mac::parse(wrong).is_err(), "{wrong}");
        }
    }
}
