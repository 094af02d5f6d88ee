use std::ffi::OsString;

use super::arguments::CheckArgs;
use super::*;
use crate::config::{Config, ConfigSource};
use crate::library::Library;
use crate::test_folder::TestFolder;

const RULES: &str = r#"
[policy]
default = "block"

[[rule]]
name = "web for curl"
app = "/usr/bin/curl"
port = "tcp/443"
action = "allow"

[[rule]]
name = "ann may ssh"
app = { path = "/usr/bin/*", uid = 1000 }
port = "tcp/22"
action = "allow"
"#;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split_whitespace())
}

fn explain(line: &str) -> String {
    explain_by(RULES, line)
}

fn explain_by(rules: &str, line: &str) -> String {
    let folder = TestFolder::new();
    let file = folder.write("tidegate.toml", rules);
    let config = ["--config".into(), file.into_os_string()];
    let line = line.split_whitespace().map(OsString::from).chain(config);
    let Some(Command::Explain(args)) = Cli::try_parse_from(line).unwrap().command else {
        panic!()
    };
    folder.anonymous(
        &explain::explain(args, &Library::default())
            .unwrap()
            .to_string(),
    )
}

fn check(text: &str) -> String {
    let folder = TestFolder::new();
    let source = ConfigSource::new(Some(folder.write("tidegate.toml", text)));
    folder.anonymous(&check::report(&source, &Config::load(&source)))
}

#[test]
fn clap_finds_no_fault() {
    Cli::command().debug_assert();
}

#[cfg(capture)]
#[test]
fn the_help_names_every_command() {
    insta::assert_snapshot!(Cli::command().render_help(), @"
        See and control every connection of every program

        Usage: tidegate [OPTIONS] [COMMAND]

        Commands:
          run       Capture the whole host's traffic, in the foreground (needs root)
          confirm   Make a trial (run --try) permanent
          exec      Run one command with its traffic captured; no root, nothing on the host changes
          check     Report every problem of the configuration
          block     Refuse a program's flows from now on: block APP [to WHERE] [port PORT] [for TIME]
          allow     Let a program's flows pass from now on: allow APP [to WHERE] [port PORT] [for TIME]
          undo      Take the newest rules of block and allow away again
          explain   Say what would happen to a flow, and why; no daemon needed
          simulate  Say what other rules would have done with recorded flows; no daemon needed
          fmt       Put rule files into their one layout
          import    Take over the rules of another program; they are in force once confirmed
          export    Write the rules of a file for another program, where it can mean the same
          flows     Show live and recent flows
          status    Show capture, workers, counters, coverage and health
          ask       Answer the questions of rules that ask, at a terminal; or list them
          answer    Answer one question
          audit     Show or verify the record of changes
          profile   Show the profiles, or choose one
          lists     Show lists, fetch them now, or show those that others publish
          recover   Undo whatever a dead instance left behind on the host (needs root)

        Options:
              --control <PATH>  Control socket [default: /run/tidegate/control.sock; none for exec]
          -h, --help            Print help
          -V, --version         Print version
        ");
}

#[cfg(capture)]
#[test]
fn every_command_takes_the_control_socket() {
    let commands = "exec -- true;confirm;check;flows;status;recover;run;profile list;profile use x;\
                    explain --to 192.0.2.1 --port icmp";
    for command in commands.split(';') {
        let before = parse(&format!("tidegate --control /x {command}")).unwrap();
        assert_eq!(before.control, Some("/x".into()), "{command}");
    }
    let after = parse("tidegate status --control /x").unwrap();
    assert_eq!(after.control, Some("/x".into()));
}

#[cfg(capture)]
#[test]
fn a_command_line_that_is_wrong_says_why() {
    let errors = [
        "tidegate rum",
        "tidegate run --try 60",
        "tidegate explain --app curl --to 192.0.2.1 --port tcp/443",
        "tidegate explain --to example.org --port tcp/443",
        "tidegate explain --to 192.0.2.1 --port 443",
        "tidegate flows --verdict deny",
    ]
    .map(|line| parse(line).unwrap_err().to_string());
    insta::assert_snapshot!(errors.join("----\n"), @"
        error: unrecognized subcommand 'rum'

        Usage: tidegate [OPTIONS] [COMMAND]

        For more information, try '--help'.
        ----
        error: invalid value '60' for '--try <TIME>': the unit is missing: write 60s or 60m

        For more information, try '--help'.
        ----
        error: invalid value 'curl' for '--app <PATH>': not the full path of an executable, such as /usr/bin/curl

        For more information, try '--help'.
        ----
        error: invalid value 'example.org' for '--to <ADDRESS>': not an IP address; names are not resolved here

        For more information, try '--help'.
        ----
        error: invalid value '443' for '--port <PORT>': a flow has one protocol: write one service: tcp/443, udp/53, icmp, ip/47

        For more information, try '--help'.
        ----
        error: invalid value 'deny' for '--verdict <V>'
          [possible values: allow, ask, block, drop]

        For more information, try '--help'.
        ");
}

#[test]
fn explain_takes_the_address_that_a_flow_comes_from() {
    let rules = "[[rule]]\nfrom = \"172.17.0.0/16\"\naction = \"block\"\n";
    let explain = |from: &str| {
        let line = format!("tidegate explain {from} --to 203.0.113.9 --port tcp/443");
        explain_by(rules, &line)
    };
    assert!(explain("--from 172.17.0.2").ends_with("block by rule 1 (DIR/tidegate.toml:1)"));
    assert!(explain("--from 172.18.0.2").ends_with("allow by default: no rule matches"));
    assert!(explain("").contains("the source is not known"));
}

#[test]
fn explain_prints_the_trace_and_the_verdict() {
    insta::assert_snapshot!(
        explain("tidegate explain --app /usr/bin/curl --uid 1000 --to 203.0.113.9 --port tcp/22"), @r#"
        rule 1 "web for curl" (DIR/tidegate.toml:5): port tcp/22 is not tcp/443
        rule 2 "ann may ssh" (DIR/tidegate.toml:11): matches
        allow by rule 2 "ann may ssh" (DIR/tidegate.toml:11)
        "#);
    insta::assert_snapshot!(
        explain("tidegate explain --app /usr/bin/curl --uid 1 --to 2001:db8::1 --port tcp/22"), @r#"
        rule 1 "web for curl" (DIR/tidegate.toml:5): port tcp/22 is not tcp/443
        rule 2 "ann may ssh" (DIR/tidegate.toml:11): app uid 1 is not 1000
        block by default: no rule matches
        "#);
    insta::assert_snapshot!(explain("tidegate explain --to 203.0.113.9 --port tcp/443"), @r#"
        rule 1 "web for curl" (DIR/tidegate.toml:5): the app is not known
        rule 2 "ann may ssh" (DIR/tidegate.toml:11): the app is not known
        block by default: no rule matches
        "#);
    insta::assert_snapshot!(
        explain("tidegate explain --direction in --to 203.0.113.9 --port tcp/443"), @r#"
        rule 1 "web for curl" (DIR/tidegate.toml:5): direction in is not out
        rule 2 "ann may ssh" (DIR/tidegate.toml:11): direction in is not out
        allow by default: no rule matches
        "#);
}

#[test]
fn check_sums_up() {
    insta::assert_snapshot!(check(RULES), @"no problems: 2 rules in 1 file, default block");
    insta::assert_snapshot!(check("[policy]\ndefault = \"alow\"\n[polcy]\n"), @r#"
        DIR/tidegate.toml:2:11: error: unknown value "alow"
          hint: did you mean "allow"?
        DIR/tidegate.toml:3:2: error: unknown key `polcy`
          hint: did you mean `policy`?
        2 errors: the configuration cannot be used
        "#);
    insta::assert_snapshot!(check("[[rule]]\naction = \"block\"\n[[rule]]\naction = \"drop\"\n"), @"
        DIR/tidegate.toml:3:1: warning: the rule is never reached: rule (DIR/tidegate.toml:1) before it matches everything
          hint: the first rule that matches decides: move this one up, or remove it
        1 warning: 2 rules in 1 file, default allow
        ");
    assert_eq!(check(""), "no problems: no rules in 1 file, default allow");
}

#[test]
fn check_of_a_file_that_is_not_there_fails() {
    let folder = TestFolder::new();
    let config = Some(folder.path().join("none.toml"));
    let status = check::main(CheckArgs {
        config,
        resolve: false,
    })
    .unwrap();
    assert_eq!(format!("{status:?}"), format!("{:?}", ExitCode::FAILURE));
}

#[test]
fn errors_name_each_cause_once() {
    let cause = io::Error::other("the disk is full");
    let error = anyhow::Error::from(cause).context("cannot write the journal");
    assert_eq!(
        error_text(&error),
        "cannot write the journal: the disk is full"
    );
    let inner = crate::control::client::Client::connect("/nowhere/at.all".as_ref()).unwrap_err();
    let text = error_text(&inner.into());
    assert_eq!(text.matches("os error").count(), 1, "{text}");
}

const KNOWN: &str = r#"
[[list]]
name = "trackers"
source = "/nonexistent/trackers.txt"
[[rule]]
name = "ads"
to = [".ads.example", "list:trackers"]
action = "block"
[[rule]]
name = "away"
to = { not = "country:DE" }
action = "drop"
"#;

fn explain_known(flags: &str) -> String {
    let folder = TestFolder::new();
    let file = folder.write("tidegate.toml", KNOWN);
    let line = format!("tidegate explain --to 192.0.2.1 --port tcp/443 {flags} --config");
    let line = line.split_whitespace().map(OsString::from);
    let line = line.chain([file.into_os_string()]);
    let Some(Command::Explain(args)) = Cli::try_parse_from(line).unwrap().command else {
        panic!()
    };
    let library = Library::new(Some(folder.path().join("state")));
    let explained = explain::explain(args, &library).unwrap().to_string();
    explained
        .lines()
        .last()
        .unwrap()
        .split(" (")
        .next()
        .unwrap()
        .to_owned()
}

#[test]
fn explain_takes_what_is_known_of_the_other_end() {
    for (flags, verdict) in [
        ("", "allow by default: no rule matches"),
        (
            "--name x.example --name A.ADS.example",
            "block by rule 1 \"ads\"",
        ),
        ("--list trackers", "block by rule 1 \"ads\""),
        ("--list other --country US", "drop by rule 2 \"away\""),
        ("--country none", "drop by rule 2 \"away\""),
        ("--country de", "allow by default: no rule matches"),
        (
            "--name-later",
            "allow by default: no rule matches, unless a name of the destination comes that rule 1 \"ads\"",
        ),
    ] {
        assert_eq!(explain_known(flags), verdict, "{flags}");
    }
    for wrong in ["--country UK", "--as AS1", "--continent DE", "--name a..b"] {
        let line = format!("tidegate explain --to 192.0.2.1 --port icmp {wrong}");
        assert!(parse(&line).is_err(), "{wrong}");
    }
}

#[test]
fn check_refuses_what_is_not_known_of_live_flows() {
    insta::assert_snapshot!(check(KNOWN), @r"
DIR/tidegate.toml:7:7: error: the names of destinations are not learned yet, so the rule would never match
  hint: name an address or a network
1 error: the configuration cannot be used
");
}

#[test]
fn check_runs_the_tests_and_fails_where_one_does() {
    let tested = |expect: &str| {
        let flow = "{ app = \"/usr/bin/curl\", to = \"192.0.2.1\", port = \"tcp/443\" }";
        check(&format!(
            "{RULES}\n[[test]]\nname = \"t\"\nflow = {flow}\nexpect = \"{expect}\"\n"
        ))
    };
    assert_eq!(
        tested("allow"),
        "no problems: 2 rules in 1 file, default block"
    );
    insta::assert_snapshot!(tested("drop"), @r#"
    DIR/tidegate.toml:17:1: error: the test "t" expects drop, but it is allow by rule 1 "web for curl" (DIR/tidegate.toml:5)
    1 error: 2 rules in 1 file, default block
    "#);
}

#[test]
fn explain_says_what_was_answered_before_where_the_rules_ask() {
    let folder = TestFolder::new();
    let file = folder.write("tidegate.toml", "[policy]\ndefault = \"ask\"\n");
    let line =
        "tidegate explain --app /usr/bin/curl --uid 7 --to 192.0.2.1 --port tcp/443 --config";
    let said = || {
        let line = line.split_whitespace().map(OsString::from);
        let line = line.chain([file.clone().into_os_string()]);
        let Some(Command::Explain(args)) = Cli::try_parse_from(line).unwrap().command else {
            panic!()
        };
        let explained = explain::explain(args, &Library::default()).unwrap();
        folder.anonymous(&explained.to_string())
    };
    insta::assert_snapshot!(said(), @"
    ask by default: no rule matches
    no rule of the answers matches: the user is asked
    ");
    folder.write(
        "rules.d/50-answers.toml",
        "[[rule]]\nname = \"so\"\napp = { path = \"/usr/bin/curl\", uid = 7 }\naction = \"allow\"\n",
    );
    insta::assert_snapshot!(said(), @r#"
    ask by default: no rule matches
    answered before:
    rule 1 "so" (DIR/rules.d/50-answers.toml:1): matches
    allow by rule 1 "so" (DIR/rules.d/50-answers.toml:1)
    "#);
}
