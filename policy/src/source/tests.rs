use insta::assert_snapshot;

use super::*;
use crate::port::Port;
use crate::selection::Selection;

fn read(text: &str) -> (PolicySource, String) {
    let document = Document::parse("tidegate.toml", text).unwrap();
    let mut source = PolicySource::default();
    source.read_main(&document);
    let mut problems = document.finish();
    if !problems.iter().any(Problem::is_error) {
        problems.extend(source.review());
    }
    let found = problems
        .iter()
        .map(|problem| format!("{problem}\n"))
        .collect();
    (source, found)
}

#[test]
fn the_rule_of_the_manual_is_read() {
    let (source, problems) = read(
        r#"
[policy]
default = "block"

[[rule]]
name = "no updates from the editor"
app = "/usr/share/code/*"
to = ["203.0.113.0/24", "2001:db8::/32"]
port = ["tcp/443", "udp/8000-9000"]
direction = "out"
action = "drop"

[[rule]]
app = { path = ["/a", "/b"], name = "x", uid = [0, 1000], user = "alice", unit = "ssh@*.service", container = "0123456789AB", parent = "/bin/sh" }
to = "lan"
direction = "in"
action = "allow"
"#,
    );
    assert_eq!(problems, "");
    assert_eq!(source.default, Verdict::Block);
    let [editor, other] = &source.rules[..] else {
        panic!("two rules: {source:?}")
    };
    assert_eq!(
        editor.info.name.as_deref(),
        Some("no updates from the editor")
    );
    assert_eq!(editor.origin().to_string(), "tidegate.toml:5");
    assert_eq!(editor.info.action, Verdict::Drop);
    assert_eq!(editor.direction, Direction::Out);
    assert_eq!(
        editor.port,
        Some(Selection::of(vec![
            Port::Tcp(443, 443),
            Port::Udp(8000, 9000)
        ]))
    );
    let to: Vec<_> = editor
        .to
        .iter()
        .flat_map(Selection::values)
        .map(ToString::to_string)
        .collect();
    assert_eq!(to, ["203.0.113.0/24", "2001:db8::/32"]);
    let app = other.app.as_ref().unwrap();
    assert_eq!(
        (
            app.path.len(),
            &app.uid[..],
            app.user.len(),
            app.parent.len()
        ),
        (2, &[0, 1000][..], 1, 1)
    );
    assert_eq!(app.container[0].to_string(), "0123456789ab");
    assert_eq!(other.direction, Direction::In);
    assert_eq!(other.info.label(), "tidegate.toml:13");
}

#[test]
fn everything_wrong_with_the_rules_is_said_at_once() {
    let (_, problems) = read(
        r#"
[policy]
default = "alow"
defualt = "block"

[[rule]]
nmae = "x"
app = { paht = "/usr/bin/curl", uid = -1, user = 3, unit = "[", container = "abc", parent = "" }
to = ["10.0.0.1/8", "internte.net/8", "10.0.0.9-10.0.0.1", "10.0.0.1-::1", "fe80::1%eth0", "10.0.0.300", 7]
port = ["tcp/99999", "https", "udp/90-80", "tcp", "icmp/8", "ip/6", "ip/300", "tcp/", "tcp/+5", "/80", 443]
direction = "inbound"
action = "reject"

[[rule]]
app = {}
to = []
port = []

[[rule]]
app = ["/usr/bin/*", "/usr/{a"]
action = 1

[rules]
"#,
    );
    assert_snapshot!(problems, @r#"
tidegate.toml:3:11: error: unknown value "alow"
  hint: did you mean "allow"?
tidegate.toml:4:1: error: unknown key `defualt`
  hint: did you mean `default`?
tidegate.toml:7:1: error: unknown key `nmae`
  hint: did you mean `name`?
tidegate.toml:8:9: error: unknown key `paht`
  hint: did you mean `path`?
tidegate.toml:8:39: error: the number is out of range
tidegate.toml:8:50: error: expected a string, found an integer
tidegate.toml:8:60: error: `[` without `]`
  hint: write [[] for the character itself
tidegate.toml:8:77: error: "abc" is no container id
  hint: write the id, or its first 12 or more hexadecimal digits, as `docker ps` shows it
tidegate.toml:8:93: error: empty text matches nothing
  hint: leave the key out to match everything
tidegate.toml:9:7: error: "10.0.0.1/8" is a network with host bits set
  hint: write "10.0.0.0/8" for the network, or the address alone
tidegate.toml:9:21: error: "internte.net/8" is no destination
  hint: write an address, a network (192.0.2.0/24), a range (192.0.2.1-192.0.2.9), a name (example.com; `printer.` if it has one label), `*`, one of loopback, link-local, lan, multicast, internet, or country:, continent:, as:, list:, set: with a value
tidegate.toml:9:39: error: "10.0.0.9-10.0.0.1" runs backwards
  hint: write "10.0.0.1-10.0.0.9"
tidegate.toml:9:60: error: "10.0.0.1-::1" mixes IPv4 and IPv6
  hint: write one range for each
tidegate.toml:9:76: error: "fe80::1%eth0" names an interface
  hint: leave out the part from `%` on
tidegate.toml:9:92: error: "10.0.0.300" is no destination
  hint: write an address, a network (192.0.2.0/24), a range (192.0.2.1-192.0.2.9), a name (example.com; `printer.` if it has one label), `*`, one of loopback, link-local, lan, multicast, internet, or country:, continent:, as:, list:, set: with a value
tidegate.toml:9:106: error: expected a string, found an integer
tidegate.toml:10:9: error: 99999 is no port
  hint: ports end at 65535
tidegate.toml:10:22: error: "https" is no port
  hint: write "tcp/443", "udp/8000-9000", "443" (TCP or UDP), "tcp/*", "icmp" or "ip/47"
tidegate.toml:10:31: error: the range 90-80 runs backwards
  hint: write 80-90
tidegate.toml:10:44: error: "tcp" is no port
  hint: write "tcp/443", "udp/8000-9000", "443" (TCP or UDP), "tcp/*", "icmp" or "ip/47"
tidegate.toml:10:51: error: ICMP has no ports
  hint: write "icmp"
tidegate.toml:10:61: error: IP protocol 6 is TCP
  hint: write "tcp/*"
tidegate.toml:10:69: error: "300" is no IP protocol number
  hint: write ip/0 to ip/255
tidegate.toml:10:79: error: "tcp/" is no port
  hint: write "tcp/443", "udp/8000-9000", "443" (TCP or UDP), "tcp/*", "icmp" or "ip/47"
tidegate.toml:10:87: error: "tcp/+5" is no port
  hint: write "tcp/443", "udp/8000-9000", "443" (TCP or UDP), "tcp/*", "icmp" or "ip/47"
tidegate.toml:10:97: error: "/80" is no port
  hint: write "tcp/443", "udp/8000-9000", "443" (TCP or UDP), "tcp/*", "icmp" or "ip/47"
tidegate.toml:10:104: error: expected a string, found an integer
tidegate.toml:11:13: error: unknown value "inbound"
  hint: write one of "out", "in"
tidegate.toml:12:10: error: unknown value "reject"
  hint: write one of "allow", "ask", "block", "drop"
tidegate.toml:14:1: error: the rule has no `action`
  hint: add action = "allow", "ask", "block" or "drop"
tidegate.toml:15:7: error: an empty table names no app
  hint: leave `app` out for every app
tidegate.toml:16:6: error: an empty list matches nothing
  hint: leave the key out to match everything
tidegate.toml:17:8: error: an empty list matches nothing
  hint: leave the key out to match everything
tidegate.toml:20:22: error: `{` without `}`
  hint: write [{] for the character itself
tidegate.toml:21:10: error: expected a string, found an integer
tidegate.toml:23:2: error: unknown key `rules`
  hint: did you mean `rule`?
"#);
}

#[test]
fn rules_that_hardly_do_what_was_meant_are_warned_about() {
    let (source, problems) = read(
        r#"
[[rule]]
name = "a"
app = ["firefox", "*", "bin/*", "/usr//bin/x", "/usr/bin/", "/usr/../x", "**/ok", "/ok/**", "**", "{/ok,/fine}/*"]
action = "block"

[[rule]]
name = "a"
app = { name = "bin/x", unit = "a/b" }
action = "block"

[[rule]]
name = "everything"
to = ["lan", "*"]
action = "allow"

[[rule]]
action = "block"

[[rule]]
direction = "in"
action = "block"

[[rule]]
name = "never"
direction = "in"
to = "lan"
action = "allow"
"#,
    );
    assert_eq!(source.rules.len(), 6);
    assert_snapshot!(problems, @r#"
tidegate.toml:4:8: warning: the path is not absolute, so no app matches
  hint: write a path from `/` on, or app = { name = "firefox" } for the file name
tidegate.toml:4:19: warning: `*` does not cross a `/`, so no path matches
  hint: leave `app` out for every app, or write "/**" for every app that is known
tidegate.toml:4:24: warning: the path is not absolute, so no app matches
  hint: write a path from `/` on, or app = { name = "bin/*" } for the file name
tidegate.toml:4:33: warning: the path is not in its plain form, so no app matches
  hint: write the path as /proc/PID/exe shows it; all beneath a folder is "/folder/**"
tidegate.toml:4:48: warning: the path is not in its plain form, so no app matches
  hint: write the path as /proc/PID/exe shows it; all beneath a folder is "/folder/**"
tidegate.toml:4:61: warning: the path is not in its plain form, so no app matches
  hint: write the path as /proc/PID/exe shows it; all beneath a folder is "/folder/**"
tidegate.toml:9:16: warning: a name holds no `/`, so no app matches
  hint: write a path under `path`
tidegate.toml:9:32: warning: a name holds no `/`, so no app matches
  hint: write a path under `path`
tidegate.toml:7:1: warning: the name "a" is used before, at tidegate.toml:2
  hint: flow records show the name: give each rule its own
tidegate.toml:17:1: warning: the rule is never reached: rule "everything" (tidegate.toml:12) before it matches everything
  hint: the first rule that matches decides: move this one up, or remove it
tidegate.toml:24:1: warning: the rule is never reached: rule (tidegate.toml:20) before it matches everything
  hint: the first rule that matches decides: move this one up, or remove it
"#);
}

#[test]
fn a_single_rule_table_is_told_its_brackets() {
    let (_, problems) = read("[rule]\naction = \"block\"\n");
    assert_snapshot!(problems, @r#"
tidegate.toml:1:1: error: expected a list of tables, found a table
  hint: write [[rule]], with two brackets: there may be several
"#);
}

#[test]
fn further_files_append_rules_and_hold_nothing_else() {
    let main = Document::parse(
        "tidegate.toml",
        "[[rule]]\naction = \"allow\"\nto = \"lan\"\n",
    )
    .unwrap();
    let first = Document::parse(
        "rules.d/10.toml",
        "[[rule]]\naction = \"block\"\nport = \"53\"\n",
    )
    .unwrap();
    let text = "[policy]\ndefault = \"drop\"\n[capture]\ntun = \"x\"\n[other]\n[[rule]]\naction = \"drop\"\nport = \"80\"\n";
    let second = Document::parse("rules.d/20.toml", text).unwrap();
    let mut source = PolicySource::default();
    source.read_main(&main);
    source.read_rules(&first);
    source.read_rules(&second);
    let origins: Vec<_> = source
        .rules
        .iter()
        .map(|rule| rule.origin().to_string())
        .collect();
    assert_eq!(
        origins,
        ["tidegate.toml:1", "rules.d/10.toml:1", "rules.d/20.toml:6"]
    );
    assert_eq!(source.default, Verdict::Allow);
    assert!(main.finish().is_empty());
    assert!(first.finish().is_empty());
    let problems: String = second
        .finish()
        .iter()
        .map(|problem| format!("{problem}\n"))
        .collect();
    assert_snapshot!(problems, @r"
rules.d/20.toml:1:2: error: only the main configuration file may hold this table
  hint: move it there; files in rules.d hold [[rule]], [[set]], [[list]], [[profile]] and [[test]] tables
rules.d/20.toml:3:2: error: only the main configuration file may hold this table
  hint: move it there; files in rules.d hold [[rule]], [[set]], [[list]], [[profile]] and [[test]] tables
rules.d/20.toml:5:2: error: unknown key `other`
  hint: known here: list, profile, rule, set, test
");
}

#[test]
fn destinations_are_read_in_every_form() {
    let (source, problems) = read(
        r#"
[[rule]]
to = ["example.com", ".example.com", "*.example.com", "ads*.example.com", "/^ads[0-9]/", "printer."]
port = { not = "tcp/443" }
app = { not = ["/usr/bin/curl"] }
action = "block"

[[rule]]
to = { in = ["country:de", "continent:EU", "as:13335", "list:trackers", "set:both"], not = "lan" }
app = { path = "/usr/**", not = { user = "alice" } }
action = "block"

[[set]]
name = "both"
to = ["set:one", "198.51.100.1"]

[[set]]
name = "one"
to = "192.0.2.1"

[[list]]
name = "a"
source = "/a"
category = "trackers"
"#,
    );
    assert_eq!(problems, "");
    let [names, places] = &source.rules[..] else {
        panic!("two rules: {source:?}")
    };
    assert_eq!(names.port.as_ref().unwrap().to_string(), "not tcp/443");
    assert!(names.app.as_ref().unwrap().except.is_some());
    let to = places.to.as_ref().unwrap();
    assert_eq!(
        to.to_string(),
        "country:DE, continent:EU or 3 more but not lan"
    );
}

#[test]
fn what_is_wrong_with_destinations_is_said_at_once() {
    let (_, problems) = read(
        r#"
[[rule]]
to = ["country:UK", "continent:XX", "as:AS13335", "list:", "set:a b", "/(/", "a..b", "lann", "asn:1", "*"]
action = "block"

[[rule]]
to = { on = "lan" }
port = {}
app = { not = {} }
action = "block"

[[set]]
to = "lan"

[[set]]
name = "x"
"#,
    );
    assert_snapshot!(problems, @r#"
tidegate.toml:3:7: error: there is no country "UK"
  hint: write the two letters of ISO 3166-1: country:DE, country:GB
tidegate.toml:3:21: error: there is no continent "XX"
  hint: write one of AF, AN, AS, EU, NA, OC, SA
tidegate.toml:3:37: error: "AS13335" is no number of an autonomous system
  hint: write as:13335
tidegate.toml:3:51: error: "" cannot name a list or a set
  hint: use up to 64 letters, digits, `-`, `_` and `.`
tidegate.toml:3:60: error: "a b" cannot name a list or a set
  hint: use up to 64 letters, digits, `-`, `_` and `.`
tidegate.toml:3:71: error: the regular expression is not valid: unclosed group
  hint: it is held against names such as ads1.example.com; see rules.md for what may stand in it
tidegate.toml:3:78: error: a name with an empty label
  hint: write a name such as example.com
tidegate.toml:3:86: error: "lann" is no destination
  hint: write an address, a network (192.0.2.0/24), a range (192.0.2.1-192.0.2.9), a name (example.com; `printer.` if it has one label), `*`, one of loopback, link-local, lan, multicast, internet, or country:, continent:, as:, list:, set: with a value
tidegate.toml:3:94: error: "asn:1" is no destination
  hint: write an address, a network (192.0.2.0/24), a range (192.0.2.1-192.0.2.9), a name (example.com; `printer.` if it has one label), `*`, one of loopback, link-local, lan, multicast, internet, or country:, continent:, as:, list:, set: with a value
tidegate.toml:7:8: error: unknown key `on`
  hint: did you mean `in`?
tidegate.toml:8:8: error: an empty table says nothing
  hint: write { not = [...] }, or leave the key out
tidegate.toml:9:15: error: an empty table names no app
  hint: leave `app` out for every app
tidegate.toml:12:1: error: the set has no `name`
  hint: add name = "..."; rules refer to it as set:NAME
tidegate.toml:15:1: error: the set has no `to`
  hint: add to = [...], with what may stand in `to` of a rule
"#);
}

#[test]
fn sets_that_are_not_there_or_hold_themselves_are_errors() {
    let (_, problems) = read(
        r#"
[[rule]]
to = ["set:printer", "set:nowhere"]
action = "block"

[[set]]
name = "printers"
to = ["192.0.2.1", "set:a"]

[[set]]
name = "a"
to = ["set:b", "lan"]

[[set]]
name = "b"
to = ["set:a"]

[[set]]
name = "a"
to = "lan"
"#,
    );
    assert_snapshot!(problems, @r#"
tidegate.toml:18:1: error: the set "a" is there before, at tidegate.toml:10
  hint: give each set its own name
tidegate.toml:3:7: error: there is no set "printer"
  hint: did you mean set:printers?
tidegate.toml:3:22: error: there is no set "nowhere"
  hint: write [[set]] with this name, in any of the files
tidegate.toml:10:1: error: the set "a" holds itself
  hint: sets may hold others, but not in a circle
tidegate.toml:14:1: error: the set "b" holds itself
  hint: sets may hold others, but not in a circle
"#);
}

#[test]
fn patterns_that_each_flow_is_held_against_are_few() {
    let rule = |number: usize| format!("[[rule]]\nto = \"*x{number}\"\naction = \"block\"\n");
    let rules = |count| (0..count).map(rule).collect::<String>();
    assert_eq!(read(&rules(128)).1, "");
    assert_snapshot!(read(&rules(130)).1, @r#"
tidegate.toml:385:1: error: more than 128 regular expressions and wildcards without a fixed end
  hint: give wildcards their last labels (ads*.example.com), or use names: those are looked up, these are tried one by one
"#);
}

#[test]
fn a_condition_on_what_is_not_known_here_is_refused() {
    let text = "[[rule]]\nto = [\"example.com\", \"country:DE\", \"list:x\", \"lan\"]\naction = \"block\"\n";
    let document = Document::parse("tidegate.toml", text).unwrap();
    PolicySource::fed_by(&[]).read_main(&document);
    let problems: String = document
        .finish()
        .iter()
        .map(|problem| format!("{problem}\n"))
        .collect();
    assert_snapshot!(problems, @r#"
tidegate.toml:2:7: error: the names of destinations are not learned yet, so the rule would never match
  hint: name an address or a network
tidegate.toml:2:22: error: where an address is in use is not looked up yet, so the rule would never match
  hint: name an address or a network
tidegate.toml:2:36: error: lists are not loaded yet, so the rule would never match
  hint: name addresses or networks
"#);
}

const TESTED: &str = r#"
[[rule]]
name = "web"
app = { path = "/usr/bin/curl", user = "alice", parent = "/bin/sh" }
to = [".example.com", "country:DE", "as:64500", "list:ok"]
port = "tcp/443"
action = "allow"
[[rule]]
name = "servers"
direction = "in"
port = "22"
action = "drop"
"#;

#[test]
fn tests_that_hold_say_nothing_and_others_why() {
    let passing = r#"
[[test]]
flow = { app = "/usr/bin/curl", uid = 7, user = "alice", parent = ["/bin/sh"], to = "192.0.2.1", port = "tcp/443", name = "www.example.com" }
expect = "allow"
by = "web"
[[test]]
flow = { to = "2001:db8::1", port = "tcp/22", direction = "in", country = "none", continent = "EU", as = 1, list = ["ok"] }
expect = "drop"
[[test]]
flow = { to = "192.0.2.1", port = "icmp" }
expect = "block"
by = "default"
"#;
    let failing = r#"
[[test]]
name = "curl"
flow = { app = "/usr/bin/curl", user = "bob", to = "192.0.2.1", port = "tcp/443", country = "DE" }
expect = "allow"
by = "web"
[[test]]
flow = { to = "192.0.2.1", port = "tcp/22", direction = "in" }
expect = "allow"
[[test]]
flow = { to = "192.0.2.1", port = "icmp" }
expect = "block"
by = "web"
"#;
    const LIST: &str = "[[list]]\nname = \"ok\"\nsource = \"/ok\"\n";
    let run = |tests: &str| {
        let text = format!("[policy]\ndefault = \"block\"{TESTED}{tests}{LIST}");
        let (source, problems) = read(&text);
        assert_eq!(problems, "");
        let tests = source.tests.clone();
        let failures = crate::Policy::compile(source).failures(&tests);
        let failures = failures.iter().map(|problem| format!("{problem}\n"));
        failures.collect::<String>()
    };
    assert_eq!(run(passing), "");
    assert_snapshot!(run(failing), @r#"
tidegate.toml:15:1: error: the test "curl" expects allow by "web", but it is block by default: no rule matches
  hint: rule 1 "web" (tidegate.toml:3): app user bob is not alice
tidegate.toml:20:1: error: the test expects allow, but it is drop by rule 2 "servers" (tidegate.toml:9)
tidegate.toml:23:1: error: the test expects block by "web", but it is block by default: no rule matches
  hint: rule 1 "web" (tidegate.toml:3): the app is not known
"#);
}

#[test]
fn a_test_that_cannot_be_run_is_an_error() {
    let (_, problems) = read(
        r#"
[[test]]
expect = "refuse"
[[test]]
flow = { to = "example.com", port = "443", country = "UK", uid = 1, nmae = "x" }
[[test]]
flow = { port = "tcp/1-2" }
expect = "allow"
"#,
    );
    assert_snapshot!(problems, @r#"
tidegate.toml:2:1: error: the test has no `flow`
  hint: write flow = { to = "192.0.2.1", port = "tcp/443" } and expect = "block"
tidegate.toml:3:10: error: unknown value "refuse"
  hint: write one of "allow", "ask", "block", "drop"
tidegate.toml:4:1: error: the test has no `expect`
  hint: write flow = { to = "192.0.2.1", port = "tcp/443" } and expect = "block"
tidegate.toml:5:8: error: the flow has no `app`
  hint: add app = "/usr/bin/curl"; without one the program is not known
tidegate.toml:5:15: error: "example.com" is no address
  hint: write an address; names go to `name`
tidegate.toml:5:37: error: a flow has one protocol
  hint: write one service: tcp/443, udp/53, icmp, ip/47
tidegate.toml:5:54: error: "UK" is no country
  hint: write the two letters of ISO 3166-1, or "none"
tidegate.toml:5:69: error: unknown key `nmae`
  hint: did you mean `name`?
tidegate.toml:7:8: error: the flow has no `to` or no `port`
  hint: a flow goes to = "192.0.2.1", and its service is port = "tcp/443"
tidegate.toml:7:17: error: a flow has one port, not a range
  hint: write one service: tcp/443, udp/53, icmp, ip/47
"#);
}

#[test]
fn little_stands_under_not() {
    let set: Vec<String> = (0..1000).map(|n| format!("\"x{n}.example\"")).collect();
    let set = format!("[[set]]\nname = \"s\"\nto = [{}]\n", set.join(", "));
    let rule = |not: &str| format!("{set}[[rule]]\nto = {{ not = {not} }}\naction = \"block\"\n");
    assert_eq!(read(&rule("\"set:s\"")).1, "");
    assert_snapshot!(read(&rule("[\"set:s\", \"lan\"]")).1, @r#"
tidegate.toml:4:1: error: more than 1000 destinations under `not`
  hint: put a rule before this one that decides about them; sets count with all they hold
"#);
}
