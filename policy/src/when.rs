//! Conditions on when and where a flow is judged, which are the same for all flows of a host at one time.

mod hours;
mod network;

use std::fmt;
use std::sync::Arc;

use crate::app_condition::one_of;
use crate::context::{Clock, Context};
use crate::definitions::Definitions;
use crate::moment::Moment;
use crate::truth::Truth;

pub use hours::Hours;
pub use network::NetworkCondition;

/// Conditions on when and where a flow is judged.
///
/// All fields that are not empty must hold; within a field one value that matches is enough.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct When {
    /// The rule ends then.
    pub expires: Option<Moment>,
    /// One of these profiles is active.
    pub profile: Vec<Arc<str>>,
    /// What the clock on the wall shows.
    pub time: Vec<Hours>,
    /// The day on the wall; of a time that reaches over midnight the day on which it began.
    pub weekday: Vec<Weekday>,
    /// The network that the host is in.
    pub network: Option<NetworkCondition>,
    /// What must not hold.
    pub except: Option<Box<Self>>,
}

/// A day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Weekday {
    /// Monday.
    Mon,
    /// Tuesday.
    Tue,
    /// Wednesday.
    Wed,
    /// Thursday.
    Thu,
    /// Friday.
    Fri,
    /// Saturday.
    Sat,
    /// Sunday.
    Sun,
}

/// What may be asked of a context.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WhenField {
    /// [`When::expires`]
    Expires,
    /// [`When::profile`]
    Profile,
    /// [`When::time`]
    Time,
    /// [`When::weekday`]
    Weekday,
    /// [`When::network`]
    Network,
    /// [`When::except`]
    Except,
}

impl Weekday {
    /// Every day, by the word that rules call it.
    pub const ALL: [(&'static str, Self); 7] = [
        ("mon", Self::Mon),
        ("tue", Self::Tue),
        ("wed", Self::Wed),
        ("thu", Self::Thu),
        ("fri", Self::Fri),
        ("sat", Self::Sat),
        ("sun", Self::Sun),
    ];

    /// The day that is so many days after a Monday.
    fn after_monday(days: u8) -> Self {
        let [.., (_, last)] = Self::ALL;
        let day = Self::ALL.get(usize::from(days % 7));
        day.map_or(last, |(_, day)| *day)
    }
}

impl fmt::Display for Weekday {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = Self::ALL.iter().find(|(_, day)| day == self);
        f.write_str(named.map_or("", |(word, _)| word))
    }
}

impl When {
    /// Whether nothing is asked for.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub(crate) fn truth(&self, context: &Context, definitions: &Definitions) -> Truth {
        match self.first_mismatch(context, definitions) {
            None => Truth::Holds,
            Some((_, truth)) => truth,
        }
    }

    /// The first field that does not hold, or else the first that is not known, and which of the two.
    pub(crate) fn first_mismatch(
        &self,
        context: &Context,
        definitions: &Definitions,
    ) -> Option<(WhenField, Truth)> {
        let clock = context.clock.as_ref();
        let (time, weekday) = self.of_the_day(clock);
        let fields = [
            (WhenField::Expires, self.not_expired(clock)),
            (WhenField::Profile, self.in_profile(context, definitions)),
            (WhenField::Time, time),
            (WhenField::Weekday, weekday),
            (WhenField::Network, self.in_network(context)),
            (WhenField::Except, self.not_excepted(context, definitions)),
        ];
        let first = |truth| fields.iter().find(|(_, found)| *found == truth).copied();
        first(Truth::Fails).or_else(|| first(Truth::Unknown))
    }

    fn not_expired(&self, clock: Option<&Clock>) -> Truth {
        match (self.expires, clock) {
            (None, _) => Truth::Holds,
            (Some(_), None) => Truth::Unknown,
            (Some(end), Some(clock)) => Truth::of(clock.now < end),
        }
    }

    fn in_profile(&self, context: &Context, definitions: &Definitions) -> Truth {
        if self.profile.is_empty() {
            return Truth::Holds;
        }
        Truth::any(self.profile.iter().map(|name| {
            let profile = definitions.profile(name);
            profile.map_or(Truth::Fails, |profile| profile.truth(context, definitions))
        }))
    }

    /// Of time and day: a part of the day that reaches over midnight belongs to the day on which it began.
    fn of_the_day(&self, clock: Option<&Clock>) -> (Truth, Truth) {
        if self.time.is_empty() && self.weekday.is_empty() {
            return (Truth::Holds, Truth::Holds);
        }
        let asked = |is_asked: bool, truth| if is_asked { truth } else { Truth::Holds };
        let Some(clock) = clock else {
            return (
                asked(!self.time.is_empty(), Truth::Unknown),
                asked(!self.weekday.is_empty(), Truth::Unknown),
            );
        };
        let second = clock.second();
        let is_meant = |days_ago: u8| {
            let day = Weekday::after_monday(clock.weekday() + 7 - days_ago);
            self.weekday.is_empty() || self.weekday.contains(&day)
        };
        if self.time.is_empty() {
            return (Truth::Holds, Truth::of(is_meant(0)));
        }
        let mut began = self.time.iter().filter_map(|hours| hours.began(second));
        let first = began.next();
        let meant = first.into_iter().chain(began).any(is_meant);
        (Truth::of(first.is_some()), Truth::of(meant))
    }

    fn in_network(&self, context: &Context) -> Truth {
        let network = context.network.as_ref();
        let truth = self.network.as_ref().map(|asked| asked.truth(network));
        truth.unwrap_or(Truth::Holds)
    }

    fn not_excepted(&self, context: &Context, definitions: &Definitions) -> Truth {
        let except = self.except.as_ref();
        except.map_or(Truth::Holds, |except| {
            except.truth(context, definitions).negated()
        })
    }

    /// The seconds of a day at which it may begin or cease to hold.
    pub(crate) fn seconds(&self) -> Vec<u32> {
        let own = self.time.iter().flat_map(|hours| hours.bounds());
        let mut seconds: Vec<u32> = own.collect();
        if self.time.is_empty() && !self.weekday.is_empty() {
            seconds.push(0);
        }
        seconds.extend(self.except.iter().flat_map(|except| except.seconds()));
        seconds
    }

    /// The conditions on networks in it.
    pub(crate) fn networks(&self) -> Vec<&NetworkCondition> {
        let except = self.except.iter().flat_map(|except| except.networks());
        self.network.iter().chain(except).collect()
    }

    /// Why `field` is not known to hold, as a sentence.
    pub(crate) fn reason(&self, (field, truth): (WhenField, Truth), context: &Context) -> String {
        if truth == Truth::Unknown {
            return match field {
                WhenField::Expires | WhenField::Time | WhenField::Weekday => {
                    "the time is not known".to_owned()
                }
                WhenField::Profile => {
                    format!(
                        "whether profile {} is active is not known",
                        one_of(&self.profile)
                    )
                }
                WhenField::Network => match &self.network {
                    Some(asked) => format!("whether the network is {asked} is not known"),
                    None => "the network is not known".to_owned(),
                },
                WhenField::Except => "what `not` of `when` asks for is not known".to_owned(),
            };
        }
        let clock = context.clock.as_ref();
        match field {
            WhenField::Expires => match self.expires {
                Some(end) => format!("expired at {end}"),
                None => "expired".to_owned(),
            },
            WhenField::Profile => format!("profile {} is not active", one_of(&self.profile)),
            WhenField::Time => format!(
                "the time {} is not in {}",
                hours::Shown(clock.map_or(0, Clock::second)),
                one_of(&self.time)
            ),
            WhenField::Weekday => format!("the day is not {}", one_of(&self.weekday)),
            WhenField::Network => match &self.network {
                Some(asked) => format!("the network is not {asked}"),
                None => "the network is another".to_owned(),
            },
            WhenField::Except => {
                "it is one of the times or networks that `not` excludes".to_owned()
            }
        }
    }
}
