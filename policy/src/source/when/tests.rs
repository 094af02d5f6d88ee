use insta::assert_snapshot;

use crate::document::Document;
use crate::moment::WallTime;
use crate::policy::Policy;
use crate::source::PolicySource;

fn read(text: &str) -> (PolicySource, String) {
    let document = Document::parse("tidegate.toml", text).unwrap();
    let mut source = PolicySource::default();
    source.read_main(&document);
    let mut problems = document.finish();
    if problems.is_empty() {
        problems.extend(source.review());
    }
    let problems = problems.iter().map(|problem| format!("{problem}\n"));
    (source, problems.collect())
}

#[test]
fn what_is_wrong_with_a_context_is_said_at_once() {
    let (_, problems) = read(
        r#"
[[profile]]
name = "auto"

[[profile]]
when = { weekday = "mon" }

[[rule]]
when = { time = ["22-6", "10:00-10:00"], weekday = "monday", day = 1 }
action = "block"

[[rule]]
when = { network = { gateway-mac = "2:0:0:0:0:1", ssid = "", vpn = "yes" } }
expires = 2026-12-01
action = "block"

[[rule]]
when = {}
expires = "tomorrow"
egress = "wg0"
action = "allow"

[[rule]]
when = { network = {}, not = {} }
egress = "direct"
action = "drop"
"#,
    );
    assert_snapshot!(problems, @r#"
tidegate.toml:3:8: error: "auto" means that profiles are active by their own conditions
  hint: choose another name
tidegate.toml:5:1: error: the profile has no `name`
  hint: add name = "..."; rules refer to it by profile = "..."
tidegate.toml:9:18: error: "22-6" is no part of a day
  hint: write 22:00-06:00, or with seconds 22:00:30-06:00:00
tidegate.toml:9:26: error: "10:00-10:00" ends when it begins
  hint: leave `time` out for the whole day
tidegate.toml:9:52: error: unknown value "monday"
  hint: write one of "mon", "tue", "wed", "thu", "fri", "sat", "sun"
tidegate.toml:9:62: error: unknown key `day`
  hint: known here: network, not, time, weekday
tidegate.toml:13:36: error: "2:0:0:0:0:1" is no hardware address
  hint: write six pairs of digits, as `ip neighbour` shows them: 02:00:5e:10:00:01
tidegate.toml:13:58: error: "" is no name of a wireless network
  hint: write 1 to 32 bytes
tidegate.toml:13:68: error: expected true or false, found a string
tidegate.toml:14:11: error: the time is not whole
  hint: write date, time and offset: 2026-12-01T22:00:00Z, or 2026-12-01T22:00:00+01:00
tidegate.toml:18:8: error: an empty table asks for nothing
  hint: leave the key out for always and everywhere
tidegate.toml:19:11: error: expected a date with a time and an offset, found a string
tidegate.toml:20:10: error: there is no such egress
  hint: this version has one: egress = "direct", which also holds where the key is left out
tidegate.toml:24:20: error: an empty table names no network
  hint: write one of interface, gateway-mac, ssid, vpn, or leave `network` out
tidegate.toml:24:30: error: an empty table asks for nothing
  hint: leave the key out for always and everywhere
tidegate.toml:25:10: error: what is not allowed takes no egress
  hint: leave `egress` out
"#);
}

#[test]
fn profiles_are_there_once_and_where_they_are_named() {
    let (_, problems) = read(
        r#"
[[profile]]
name = "travel"

[[profile]]
name = "travel"

[[rule]]
profile = ["travel", "travl"]
action = "block"

[[test]]
flow = { to = "192.0.2.1", port = "tcp/1", profile = "home" }
expect = "block"
"#,
    );
    assert_snapshot!(problems, @r#"
tidegate.toml:5:1: error: the profile "travel" is there before, at tidegate.toml:2
  hint: give each profile its own name
tidegate.toml:13:54: error: there is no profile "home"
  hint: write [[profile]] with this name, in any of the files
tidegate.toml:9:22: error: there is no profile "travl"
  hint: did you mean "travel"?
"#);
}

#[test]
fn lists_and_profiles_are_bounded() {
    let days = vec!["\"mon\""; 65].join(", ");
    let (_, problems) = read(&format!(
        "[[rule]]\nwhen = {{ weekday = [{days}] }}\naction = \"block\"\n"
    ));
    assert!(
        problems.contains("tidegate.toml:2:20: error: more than 64 values"),
        "{problems}"
    );
    let profiles: String = (0..65)
        .map(|n| format!("[[profile]]\nname = \"p{n}\"\n"))
        .collect();
    let (_, problems) = read(&profiles);
    assert!(
        problems.contains("129:1: error: there are more than 64 profiles"),
        "{problems}"
    );
}

const CONDITIONS: &str = r#"
[policy]
default = "block"
[[profile]]
name = "night"
when = { time = "22:00-06:00" }
[[profile]]
name = "travel"
[[rule]]
name = "old"
expires = 2026-12-01T00:00:00Z
action = "drop"
[[rule]]
name = "travelling"
profile = "travel"
action = "drop"
[[rule]]
name = "mondays"
when = { weekday = "mon" }
action = "drop"
[[rule]]
name = "lunch"
when = { time = ["12:00-13:00", "18:00-18:00:30"] }
action = "drop"
[[rule]]
name = "home"
when = { network = { interface = "wlan*", gateway-mac = "02:00:00:00:00:01", ssid = "home", vpn = false } }
action = "drop"
[[rule]]
name = "elsewhere"
when = { not = { network = { interface = "eth0" } } }
action = "drop"
[[rule]]
name = "at night"
profile = "night"
action = "allow"
"#;

/// What is said of the rules about a flow of which this is known.
fn explained(known: &str) -> String {
    let test = format!(
        "{CONDITIONS}[[test]]\nflow = {{ to = \"192.0.2.1\", port = \"tcp/1\"{known} }}\nexpect = \"block\"\n"
    );
    let (source, problems) = read(&test);
    assert_eq!(problems, "");
    let flow = source.tests[0].flow.clone();
    let policy = Policy::compile(source);
    flow.ask(&policy, |facts| {
        let explanation = policy.explain(facts);
        let ids = explanation.tried.iter().map(|tried| tried.reason);
        let ids: Vec<&str> = ids.map(|id| id.unwrap_or("-")).collect();
        format!("{explanation}\n{}", ids.join(" "))
    })
}

#[test]
fn every_condition_says_what_it_missed() {
    let known = ", at = 2026-12-01T23:30:15Z, network = { interface = \"eth0\", gateway-mac = \"none\", vpn = true }";
    assert_snapshot!(explained(known), @r#"
rule 1 "old" (tidegate.toml:9): expired at 2026-12-01T00:00:00Z
rule 2 "travelling" (tidegate.toml:13): profile travel is not active
rule 3 "mondays" (tidegate.toml:17): the day is not mon
rule 4 "lunch" (tidegate.toml:21): the time 23:30:15 is not in 12:00-13:00 or 18:00-18:00:30
rule 5 "home" (tidegate.toml:25): the network is not interface wlan*, gateway 02:00:00:00:00:01, SSID home, no VPN
rule 6 "elsewhere" (tidegate.toml:29): it is one of the times or networks that `not` excludes
rule 7 "at night" (tidegate.toml:33): matches
allow by rule 7 "at night" (tidegate.toml:33)
expired profile when-weekday when-time when-network when-not -
"#);
}

#[test]
fn what_is_not_known_of_the_context_matches_nothing() {
    assert_snapshot!(explained(""), @r#"
rule 1 "old" (tidegate.toml:9): the time is not known
rule 2 "travelling" (tidegate.toml:13): profile travel is not active
rule 3 "mondays" (tidegate.toml:17): the time is not known
rule 4 "lunch" (tidegate.toml:21): the time is not known
rule 5 "home" (tidegate.toml:25): whether the network is interface wlan*, gateway 02:00:00:00:00:01, SSID home, no VPN is not known
rule 6 "elsewhere" (tidegate.toml:29): what `not` of `when` asks for is not known
rule 7 "at night" (tidegate.toml:33): whether profile night is active is not known
block by default: no rule matches
when-time-unknown profile when-time-unknown when-time-unknown when-network-unknown when-not-unknown profile-unknown
"#);
}

#[test]
fn a_chosen_profile_is_the_only_one() {
    let chosen = explained(", at = 2026-12-02T23:30:00Z, profile = \"travel\"");
    assert!(chosen.contains("drop by rule 2 \"travelling\""), "{chosen}");
    let (source, _) = read(CONDITIONS);
    let policy = Policy::compile(source);
    let context = crate::context::Context {
        profile: crate::context::ProfileChoice::Named("travel".into()),
        ..Default::default()
    };
    let active: Vec<&str> = policy
        .active_profiles(&context)
        .map(|profile| &*profile.name)
        .collect();
    assert_eq!(active, ["travel"]);
}

#[test]
fn an_expired_rule_is_a_warning() {
    let (source, _) = read(CONDITIONS);
    let policy = Policy::compile(source);
    let at = |text| WallTime::parse(text).unwrap().moment;
    assert_eq!(policy.expired(at("2026-11-30T23:59:59Z")), []);
    let expired = policy.expired(at("2026-12-01T00:00:00Z"));
    assert_eq!(expired.len(), 1);
    assert_snapshot!(expired[0], @r#"
tidegate.toml:9:1: warning: the rule expired at 2026-12-01T00:00:00Z
  hint: remove it, or give it a later `expires`
"#);
}
