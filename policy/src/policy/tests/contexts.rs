//! Rules that count at times and in networks: random ones, and the laws of when decisions change.

use proptest::prelude::*;
use proptest::sample::select;

use super::policy;
use crate::context::{Clock, Context, Mac, Network, ProfileChoice, Uplink};
use crate::facts::Fact;
use crate::moment::{Moment, WallTime};

const HOURS: [&str; 8] = [
    "22:00-06:00",
    "00:00-24:00",
    "08:30-12:00",
    "12:00-12:00:30",
    "23:59:59-00:00",
    "02:00-03:00",
    "02:30-02:45",
    "00:00-00:01",
];
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const INTERFACES: [&str; 3] = ["eth0", "wlan0", "wlan1"];
const MACS: [&str; 2] = ["02:00:00:00:00:01", "02:00:00:00:00:02"];
const SSIDS: [&str; 2] = ["home", "cafe"];
const PROFILES: [&str; 3] = ["home", "travel", "night"];
/// Around the end of November 2026, a Sunday to a Wednesday.
const BEGIN: i64 = 1_795_910_400;
const DAY: i64 = 86_400;

fn list(values: &'static [&'static str]) -> impl Strategy<Value = String> {
    proptest::collection::vec(select(values), 1..=2)
        .prop_map(|values| format!("[\"{}\"]", values.join("\", \"")))
}

fn key(
    name: &'static str,
    often: f64,
    values: &'static [&'static str],
) -> impl Strategy<Value = Option<String>> {
    proptest::option::weighted(often, list(values))
        .prop_map(move |list| list.map(|list| format!("{name} = {list}")))
}

fn table(fields: Vec<Option<String>>) -> Option<String> {
    let fields: Vec<String> = fields.into_iter().flatten().collect();
    (!fields.is_empty()).then(|| format!("{{ {} }}", fields.join(", ")))
}

fn network() -> impl Strategy<Value = Option<String>> {
    let vpn = proptest::option::weighted(0.3, any::<bool>());
    (
        key("interface", 0.4, &["eth0", "wlan*", "wlan1"]),
        key("gateway-mac", 0.3, &MACS),
        key("ssid", 0.3, &SSIDS),
        vpn.prop_map(|vpn| vpn.map(|vpn| format!("vpn = {vpn}"))),
    )
        .prop_map(|(interface, gateway, ssid, vpn)| table(vec![interface, gateway, ssid, vpn]))
}

fn flat() -> impl Strategy<Value = Vec<Option<String>>> {
    (
        key("time", 0.5, &HOURS),
        key("weekday", 0.3, &DAYS),
        proptest::option::weighted(0.4, network()),
    )
        .prop_map(|(time, weekday, network)| {
            let network = network.flatten().map(|table| format!("network = {table}"));
            vec![time, weekday, network]
        })
}

/// What may stand in `when`, with a `not` now and then.
fn conditions() -> impl Strategy<Value = Option<String>> {
    (flat(), proptest::option::weighted(0.2, flat())).prop_map(|(mut fields, not)| {
        let not = not.and_then(table).map(|table| format!("not = {table}"));
        fields.push(not);
        table(fields)
    })
}

/// `when`, `profile` and `expires` of a rule: mostly none.
pub(super) fn when() -> impl Strategy<Value = String> {
    let line = |key: &'static str| {
        move |value: Option<String>| {
            value.map_or(String::new(), |value| format!("{key} = {value}\n"))
        }
    };
    let expires = (-1..3_i64).prop_map(|days| Moment(BEGIN + days * DAY).to_string());
    let some = (
        conditions().prop_map(line("when")),
        proptest::option::weighted(0.3, list(&PROFILES)).prop_map(line("profile")),
        proptest::option::weighted(0.2, expires).prop_map(line("expires")),
    );
    prop_oneof![
        2 => Just(String::new()),
        1 => some.prop_map(|(when, profile, expires)| [when, profile, expires].concat()),
    ]
}

/// All profiles that rules name, with conditions or without.
pub(super) fn profiles() -> impl Strategy<Value = String> {
    let profile = |name: &'static str| {
        conditions().prop_map(move |when| {
            let when = when.map_or(String::new(), |when| format!("when = {when}\n"));
            format!("[[profile]]\nname = \"{name}\"\n{when}")
        })
    };
    Vec::from(PROFILES.map(profile)).prop_map(|profiles| profiles.concat())
}

fn fact<T: Clone + std::fmt::Debug + 'static>(values: Vec<T>) -> impl Strategy<Value = Fact<T>> {
    prop_oneof![
        1 => Just(Fact::Unknown),
        1 => Just(Fact::Absent),
        4 => select(values).prop_map(Fact::Is),
    ]
}

fn surroundings() -> impl Strategy<Value = Network> {
    let uplink = (
        fact(INTERFACES.map(Into::into).to_vec()),
        fact(MACS.map(|text| Mac::parse(text).unwrap()).to_vec()),
        fact(SSIDS.map(Into::into).to_vec()),
    );
    let uplink = uplink.prop_map(|(interface, gateway, ssid)| Uplink {
        interface,
        gateway,
        ssid,
    });
    let vpn = prop_oneof![Just(Fact::Unknown), any::<bool>().prop_map(Fact::Is)];
    (proptest::collection::vec(uplink, 0..3), vpn)
        .prop_map(|(uplinks, vpn)| Network { uplinks, vpn })
}

fn choice() -> impl Strategy<Value = ProfileChoice> {
    prop_oneof![
        2 => Just(ProfileChoice::ByContext),
        1 => select(&PROFILES[..]).prop_map(|name| ProfileChoice::Named(name.into())),
    ]
}

pub(super) fn context() -> impl Strategy<Value = Context> {
    let clock = (0..3 * DAY, -14..15_i32).prop_map(|(after, hours)| Clock {
        now: Moment(BEGIN + after),
        offset: hours * 3600,
        offset_until: None,
    });
    (
        proptest::option::weighted(0.9, clock),
        proptest::option::weighted(0.9, surroundings()),
        choice(),
    )
        .prop_map(|(clock, network, profile)| Context {
            clock,
            network,
            profile,
        })
}

/// Clocks on a wall that are put forward or back once.
#[derive(Clone, Copy, Debug)]
struct Wall {
    before: i32,
    after: i32,
    put_at: Moment,
}

fn wall() -> impl Strategy<Value = Wall> {
    let shift = select(vec![-7200, -3600, -1800, 0, 1800, 3600, 86_400]);
    (-12..13_i32, shift, 0..4 * DAY).prop_map(|(hours, shift, put)| Wall {
        before: hours * 3600,
        after: hours * 3600 + shift,
        put_at: Moment(BEGIN + put / 900 * 900),
    })
}

impl Wall {
    /// As the platform tells it: a change is known a day ahead.
    fn at(self, now: Moment, context: &Context) -> Context {
        let is_before = now < self.put_at;
        let offset = if is_before { self.before } else { self.after };
        let is_soon = is_before && self.put_at.0 - now.0 <= DAY;
        Context {
            clock: Some(Clock {
                now,
                offset,
                offset_until: is_soon.then_some(self.put_at),
            }),
            ..context.clone()
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn nothing_changes_before_the_next_change(
        profiles in profiles(),
        rules in proptest::collection::vec(when(), 1..6),
        context in context(),
        wall in wall(),
    ) {
        let rules = rules.iter().map(|when| format!("[[rule]]\n{when}action = \"block\"\n"));
        let policy = policy(&(profiles + &rules.collect::<String>()));
        let (mut now, end) = (Moment(BEGIN), Moment(BEGIN + 3 * DAY));
        while now < end {
            let here = wall.at(now, &context);
            let next = policy.next_change(&here).unwrap_or(end);
            prop_assert!(next > now, "{:?} after {:?}", next, now);
            for later in (now.0..next.min(end).0).step_by(60) {
                let later = wall.at(Moment(later), &context);
                prop_assert!(!policy.tells_apart(&here, &later), "{:?} and {:?}", here, later);
            }
            let last = wall.at(Moment(next.min(end).0 - 1), &context);
            prop_assert!(!policy.tells_apart(&here, &last), "{:?} and {:?}", here, last);
            now = next;
        }
    }
}

/// Whether the one rule of `text` holds, from `begin` in steps of a minute; `+` it does, `-` it does not.
fn minutes(text: &str, begin: &str, wall: Wall, count: i64) -> String {
    let policy = policy(text);
    let begin = WallTime::parse(begin).unwrap().moment;
    let holds = |minute: i64| {
        let context = wall.at(Moment(begin.0 + 60 * minute), Context::unknown());
        let when = policy.rules()[0].when.as_ref().unwrap();
        when.first_mismatch(&context, policy.definitions())
            .is_none()
    };
    (0..count)
        .map(|minute| if holds(minute) { '+' } else { '-' })
        .collect()
}

#[test]
fn hours_are_those_of_the_wall_when_its_clock_is_put() {
    let text = "[[rule]]\nwhen = { time = \"02:30-03:10\" }\naction = \"block\"\n";
    let put = |at, before, after| Wall {
        before,
        after,
        put_at: WallTime::parse(at).unwrap().moment,
    };
    // Forward, from 02:00 to 03:00: of this part of the day ten minutes are left.
    let spring = put("2026-03-29T01:00:00Z", 3600, 7200);
    let seen = minutes(text, "2026-03-29T00:58:00Z", spring, 15);
    assert_eq!(seen, "--++++++++++---");
    // Back, from 03:00 to 02:00: it comes twice, cut by the clock.
    let autumn = put("2026-10-25T01:00:00Z", 7200, 3600);
    let seen = minutes(text, "2026-10-25T00:25:00Z", autumn, 120);
    let [wait, first, between, second, rest] = [5, 30, 30, 40, 15];
    let expected = [
        "-".repeat(wait),
        "+".repeat(first),
        "-".repeat(between),
        "+".repeat(second),
        "-".repeat(rest),
    ];
    assert_eq!(seen, expected.concat());
}

#[test]
fn a_night_belongs_to_the_day_on_which_it_began() {
    let text =
        "[[rule]]\nwhen = { time = \"22:00-06:00\", weekday = \"fri\" }\naction = \"block\"\n";
    let utc = Wall {
        before: 0,
        after: 0,
        put_at: Moment(0),
    };
    for (at, holds) in [
        ("2026-11-27T05:00:00Z", false), // a Friday
        ("2026-11-27T22:00:00Z", true),
        ("2026-11-28T05:59:00Z", true),
        ("2026-11-28T06:00:00Z", false),
        ("2026-11-28T23:00:00Z", false),
    ] {
        assert_eq!(minutes(text, at, utc, 1) == "+", holds, "{at}");
    }
}

#[test]
fn only_rules_on_times_make_the_gateway_wake() {
    let context = |policy: &super::Policy| {
        let noon = Clock::from(WallTime::parse("2026-11-22T12:00:00Z").unwrap());
        let context = Context {
            clock: Some(noon),
            ..Context::default()
        };
        policy.next_change(&context).map(|next| next.to_string())
    };
    let next = |when: &str| context(&policy(&format!("[[rule]]\n{when}\naction = \"block\"\n")));
    assert_eq!(next("port = \"443\""), None);
    assert_eq!(next("when = { network = { vpn = true } }"), None);
    assert_eq!(next("expires = 2026-11-22T12:00:00Z"), None);
    let at = |text: &str| Some(text.to_owned());
    assert_eq!(
        next("expires = 2027-01-01T00:00:00Z"),
        at("2027-01-01T00:00:00Z")
    );
    assert_eq!(
        next("when = { time = [\"12:00-18:00\", \"09:00-10:00\"] }"),
        at("2026-11-22T18:00:00Z")
    );
    assert_eq!(
        next("when = { weekday = \"mon\" }"),
        at("2026-11-23T00:00:00Z")
    );
}
