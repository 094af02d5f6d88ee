use std::fs;
use std::os::unix::fs::symlink;

use tidegate_policy::Verdict;
use tidegate_routing::plan::{BoundSockets, Fail};

use super::*;
use crate::test_folder::TestFolder;

/// Every key there is, each with a value other than its default where there is one.
const EVERY_KEY: &str = r#"
[capture]
tun = "tide7"
fail = "closed"
forwarded = ["docker0", "br-lan", "docker0"]
inbound = "listening"
existing = "reset"
bound_sockets = "destroy"
strict_marks = true
ebpf = "off"

[geo]
country = "/srv/country.mmdb"
asn = "/srv/asn.mmdb"

[policy]
default = "block"
unattributed = "drop"

[[list]]
name = "ads"
source = "https://lists.example/ads.txt"

[[rule]]
name = "no updates from the editor"
app = { path = "/usr/share/code/*", name = "code", uid = 1000, user = "root", unit = "a.service", container = "0123456789ab", parent = "/bin/sh" }
to = ["203.0.113.0/24", "2001:db8::/32"]
port = ["tcp/443", "udp/8000-9000"]
direction = "out"
action = "block"
"#;

fn load(folder: &TestFolder) -> Result<Config, ConfigError> {
    Config::load(&ConfigSource::new(Some(
        folder.path().join("tidegate.toml"),
    )))
}

fn problems(folder: &TestFolder) -> String {
    let error = load(folder).unwrap_err();
    folder.anonymous(&error.to_string())
}

#[test]
fn without_files_the_defaults_hold() {
    let folder = TestFolder::new();
    let file = folder.path().join("tidegate.toml");
    let source = ConfigSource {
        file,
        if_missing: IfMissing::Defaults,
    };
    let config = Config::load(&source).unwrap();
    assert_eq!(config.capture, Capture::default());
    assert_eq!(config.policy.default_verdict(), Verdict::Allow);
    assert!(config.policy.is_empty() && config.files.is_empty() && config.warnings.is_empty());
}

#[test]
fn rule_files_count_even_where_the_main_file_is_missing() {
    let folder = TestFolder::new();
    folder.write("rules.d/a.toml", "[[rule]]\naction = \"block\"\n");
    let file = folder.path().join("tidegate.toml");
    let source = ConfigSource {
        file,
        if_missing: IfMissing::Defaults,
    };
    assert_eq!(Config::load(&source).unwrap().policy.len(), 1);
}

#[test]
fn a_file_that_was_named_must_be_there() {
    insta::assert_snapshot!(problems(&TestFolder::new()), @"
        DIR/tidegate.toml:1:1: error: there is no such file
          hint: check the path after --config, or leave --config out for the defaults
        ");
}

#[test]
fn every_key_is_read() {
    let folder = TestFolder::new();
    folder.write("tidegate.toml", EVERY_KEY);
    let config = load(&folder).unwrap();
    assert_eq!(
        config.capture,
        Capture {
            tun: "tide7".to_owned(),
            forwarded: vec!["br-lan".to_owned(), "docker0".to_owned()],
            fail: Fail::Closed,
            inbound: Inbound::Listening,
            existing: Existing::Reset,
            bound_sockets: BoundSockets::Destroy,
            foreign_marks: ForeignMarks::Capture,
            ebpf: Ebpf::Off,
        }
    );
    let geo: Vec<_> = config
        .geo
        .files()
        .map(|file| file.display().to_string())
        .collect();
    assert_eq!(geo, ["/srv/country.mmdb", "/srv/asn.mmdb"]);
    assert_eq!(config.policy.default_verdict(), Verdict::Block);
    assert_eq!(
        (config.policy.len(), config.policy.list_definitions().len()),
        (1, 1)
    );
}

#[test]
fn the_example_has_no_fault() {
    let folder = TestFolder::new();
    folder.write(
        "tidegate.toml",
        include_str!("../../docs/examples/tidegate.toml"),
    );
    let config = load(&folder).unwrap();
    let [missing] = &config.warnings[..] else {
        panic!("one file is not there: {:?}", config.warnings)
    };
    assert!(
        missing.message.contains("attackers.txt is not there"),
        "{missing}"
    );
    assert_eq!(config.capture, Capture::default());
}

#[test]
fn an_unknown_key_is_refused_wherever_it_stands() {
    let tables = [
        "[capture]\n",
        "[geo]\n",
        "[policy]\n",
        "[[list]]\n",
        "[[rule]]\n",
        "app = { ",
        "",
    ];
    for table in tables {
        let folder = TestFolder::new();
        let planted = if table.starts_with("app") {
            "surprise = 1, "
        } else {
            "surprise = 1\n"
        };
        let at = EVERY_KEY.find(table).unwrap() + table.len();
        let mut text = EVERY_KEY.to_owned();
        text.insert_str(at, planted);
        folder.write("tidegate.toml", &text);
        let found = problems(&folder);
        assert!(
            found.contains("unknown key `surprise`"),
            "planted after {table:?}: {found}"
        );
        assert_eq!(
            found.matches("error:").count(),
            1,
            "planted after {table:?}: {found}"
        );
    }
}

#[test]
fn every_problem_of_every_file_is_reported_at_once() {
    let folder = TestFolder::new();
    folder.write(
        "tidegate.toml",
        "[capture]\ntun = \"a/b\"\nfail = \"clsoed\"\nbound_sockets = \"destory\"\n\
         forwarded = [\"docker0\", \"a b\"]\nstrict_mark = true\nexisting = 5\n",
    );
    folder.write(
        "rules.d/10-first.toml",
        "[[rule]]\nto = \"nowhere\"\naction = \"block\"\n",
    );
    folder.write("rules.d/20-second.toml", "[policy]\ndefault = \"drop\"\n");
    folder.write("rules.d/30-third.toml", "[[rule]\n");
    folder.write("rules.d/40-fourth.toml", b"\xff\xfe");
    insta::assert_snapshot!(problems(&folder), @r#"
        DIR/tidegate.toml:2:7: error: "a/b" cannot be the name of an interface
          hint: use 1 to 15 ASCII letters, digits, '-', '_' or '.', e.g. "tide0"
        DIR/tidegate.toml:3:8: error: unknown value "clsoed"
          hint: did you mean "closed"?
        DIR/tidegate.toml:4:17: error: unknown value "destory"
          hint: did you mean "destroy"?
        DIR/tidegate.toml:5:25: error: "a b" cannot be the name of an interface
          hint: use 1 to 15 ASCII letters, digits, '-', '_' or '.', e.g. "tide0"
        DIR/tidegate.toml:6:1: error: unknown key `strict_mark`
          hint: did you mean `strict_marks`?
        DIR/tidegate.toml:7:12: error: expected a string, found an integer
        DIR/rules.d/10-first.toml:2:6: error: "nowhere" is no destination
          hint: write an address, a network (192.0.2.0/24), a range (192.0.2.1-192.0.2.9), a name (example.com; `printer.` if it has one label), `*`, one of loopback, link-local, lan, multicast, internet, or country:, continent:, as:, list:, set: with a value
        DIR/rules.d/20-second.toml:1:2: error: only the main configuration file may hold this table
          hint: move it there; files in rules.d hold [[rule]], [[set]], [[list]], [[profile]] and [[test]] tables
        DIR/rules.d/30-third.toml:1:8: error: unclosed array table, expected `]`
        DIR/rules.d/40-fourth.toml:1:1: error: the file is not UTF-8 text (at byte 0)
          hint: save it as UTF-8
        "#);
}

#[test]
fn rule_files_are_read_in_the_order_of_their_names_and_only_toml() {
    let folder = TestFolder::new();
    folder.write(
        "tidegate.toml",
        "[[rule]]\nname = \"main\"\nto = \"lan\"\naction = \"allow\"\n",
    );
    let rule =
        |name: &str| format!("[[rule]]\nname = \"{name}\"\nto = \"lan\"\naction = \"allow\"\n");
    for name in ["20-b", "10-a", "9-z"] {
        folder.write(&format!("rules.d/{name}.toml"), rule(name));
    }
    folder.write("rules.d/15.toml.bak", "not read");
    folder.write("rules.d/.15.toml", "not read");
    let names: Vec<_> = load(&folder)
        .unwrap()
        .policy
        .rules()
        .iter()
        .map(|rule| rule.info.name.clone().unwrap())
        .collect();
    assert_eq!(names, ["main", "10-a", "20-b", "9-z"]);
}

#[test]
fn a_warning_does_not_stop_the_configuration() {
    let folder = TestFolder::new();
    folder.write(
        "tidegate.toml",
        "[[rule]]\naction = \"allow\"\n[[rule]]\naction = \"block\"\n",
    );
    let config = load(&folder).unwrap();
    assert_eq!(config.warnings.len(), 1);
}

#[test]
fn a_file_without_end_is_not_read_to_its_end() {
    let folder = TestFolder::new();
    symlink("/dev/zero", folder.path().join("tidegate.toml")).unwrap();
    assert!(problems(&folder).contains("the file is too large"));
}

#[test]
fn a_folder_in_the_place_of_a_file_is_a_problem() {
    let folder = TestFolder::new();
    fs::create_dir(folder.path().join("tidegate.toml")).unwrap();
    assert!(problems(&folder).contains("cannot be read"));
}
