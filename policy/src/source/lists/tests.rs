use insta::assert_snapshot;

use super::*;
use crate::verdict::Verdict;
use crate::{AppCondition, Document, Pattern, PolicySource};

fn read(text: &str, feeds: &[Feed]) -> (Vec<ListDefinition>, String) {
    let document = Document::parse("tidegate.toml", text).unwrap();
    let mut source = PolicySource::fed_by(feeds);
    source.read_main(&document);
    let mut problems = document.finish();
    problems.extend(source.review());
    let problems = problems.iter().map(|problem| format!("{problem}\n"));
    (source.lists.clone(), problems.collect())
}

#[test]
fn a_list_has_what_is_written_and_defaults_for_the_rest() {
    let (lists, problems) = read(
        r#"
[[list]]
name = "plain"
source = "/etc/hosts.deny"

[[list]]
name = "full"
source = "https://lists.example/ads.gz"
format = "domains"
match = "subdomains"
category = ["trackers", "ads"]
action = "drop"
app = "/usr/bin/browser"
sha256 = "00112233445566778899AABBCCDDEEFF00112233445566778899aabbccddeeff"
update = "6h"
max_mib = 8
max_seconds = 10

[[list]]
name = "once"
source = "https://lists.example/ads"
format = "auto"
update = "never"
"#,
        &Feed::ALL,
    );
    assert_eq!(problems, "");
    let [plain, full, once] = &lists[..] else {
        panic!("three lists: {lists:?}")
    };
    assert_eq!(plain.source, ListSource::File("/etc/hosts.deny".into()));
    assert_eq!(
        (plain.format, plain.bare, plain.action),
        (None, Reach::Exact, None)
    );
    assert_eq!((plain.update, plain.pin), (None, None));
    assert_eq!(
        (plain.most_bytes, plain.most_time),
        (64 << 20, Duration::from_secs(60))
    );
    assert_eq!(
        full.source,
        ListSource::Url("https://lists.example/ads.gz".into())
    );
    assert_eq!(
        (full.format, full.bare),
        (Some(Format::Domains), Reach::Within)
    );
    assert_eq!(full.categories, ["trackers".into(), "ads".into()]);
    assert_eq!(full.action, Some(Verdict::Drop));
    let browser = AppCondition {
        path: vec![Pattern::Exact("/usr/bin/browser".into())],
        ..AppCondition::default()
    };
    assert_eq!(full.app, Some(browser));
    assert_eq!(full.pin.map(|pin| (pin[1], pin[31])), Some((0x11, 0xff)));
    assert_eq!(full.update, Some(Duration::from_secs(6 * 3600)));
    assert_eq!(
        (full.most_bytes, full.most_time),
        (8 << 20, Duration::from_secs(10))
    );
    assert_eq!((once.format, once.update), (None, None));
}

#[test]
fn the_catalogue_brings_what_is_left_out() {
    let (lists, problems) = read(
        "[[list]]\nuse = \"hagezi-doh\"\naction = \"block\"\n[[list]]\nname = \"mine\"\nuse = \"feodo\"\ncategory = \"c2\"\n",
        &Feed::ALL,
    );
    assert_eq!(problems, "");
    let [doh, mine] = &lists[..] else {
        panic!("two lists: {lists:?}")
    };
    assert_eq!(&*doh.name, "hagezi-doh");
    assert!(matches!(&doh.source, ListSource::Url(url) if url.ends_with("/doh-onlydomains.txt")));
    assert_eq!(
        (doh.format, doh.bare),
        (Some(Format::Domains), Reach::Within)
    );
    assert_eq!(doh.categories, ["doh".into()]);
    assert_eq!(doh.update, Some(Duration::from_secs(DAY)));
    assert_eq!(
        (&*mine.name, mine.format),
        ("mine", Some(Format::Addresses))
    );
    assert_eq!(mine.categories, ["c2".into()]);
}

#[test]
fn everything_that_is_wrong_is_said_where_it_stands() {
    let (_, problems) = read(
        r#"
[[list]]
source = "lists/ads.txt"
format = "host"
match = "all"
action = "deny"
sha256 = "abc"
update = "5s"
max_mib = 4096
max_seconds = 0
speed = 1

[[list]]
name = "a"
use = "hagezi-do"

[[list]]
name = "a b"
use = "feodo"
source = "http://lists.example/"

[[list]]
name = "nothing"
"#,
        &Feed::ALL,
    );
    assert_snapshot!(problems, @r#"
tidegate.toml:2:1: error: the list has no `name`
  hint: add name = "..."; rules refer to it as list:NAME
tidegate.toml:3:10: error: "lists/ads.txt" is neither the full path of a file nor an https address
  hint: write source = "/path/of/a/file" or source = "https://..."; what is not encrypted is not fetched
tidegate.toml:4:10: error: unknown value "host"
  hint: did you mean "hosts"?
tidegate.toml:5:9: error: unknown value "all"
  hint: write one of "exact", "subdomains"
tidegate.toml:6:10: error: unknown value "deny"
  hint: write one of "allow", "block", "drop"
tidegate.toml:7:10: error: "abc" is no SHA-256
  hint: write the 64 hexadecimal digits that `sha256sum` prints
tidegate.toml:8:10: error: "5s" is no time between a minute and a year
  hint: write "30m", "12h", "7d" or "never"
tidegate.toml:9:11: error: the number is out of range
  hint: write a number from 1 to 1024
tidegate.toml:10:15: error: the number is out of range
  hint: write a number from 1 to 3600
tidegate.toml:11:1: error: unknown key `speed`
  hint: known here: action, app, category, format, match, max_mib, max_seconds, name, sha256, source, update, use
tidegate.toml:15:7: error: the catalogue has no list "hagezi-do"
  hint: did you mean "hagezi-doh"?
tidegate.toml:18:8: error: "a b" cannot name a list or a set
  hint: use up to 64 letters, digits, `-`, `_` and `.`
tidegate.toml:20:10: error: "http://lists.example/" is neither the full path of a file nor an https address
  hint: write source = "/path/of/a/file" or source = "https://..."; what is not encrypted is not fetched
tidegate.toml:20:10: error: the list has both `use` and `source`
  hint: `use` brings the source along: leave one of them out
tidegate.toml:22:1: error: the list has no `source`
  hint: add source = "/path/of/a/file" or "https://...", or use = "..." (see `tidegate lists catalogue`)
"#);
}

#[test]
fn what_rules_name_must_be_there_and_lists_have_names_of_their_own() {
    let (_, problems) = read(
        r#"
[[list]]
name = "trackers"
source = "/a"
category = "bad"

[[list]]
name = "trackers"
source = "/b"

[[rule]]
to = ["list:bad", "list:trackers", "list:tracker"]
action = "block"

[[rule]]
to = ["list:bad", "list:elsewhere"]
action = "block"
"#,
        &Feed::ALL,
    );
    assert_snapshot!(problems, @r#"
tidegate.toml:7:1: error: the list "trackers" is there before, at tidegate.toml:2
  hint: give each list its own name
tidegate.toml:12:36: error: there is no list "tracker"
  hint: did you mean list:trackers?
tidegate.toml:16:19: error: there is no list "elsewhere"
  hint: write [[list]] with this name or category, in any of the files
"#);
}

#[test]
fn names_that_do_nothing_yet_are_warned_about() {
    let text = "[[list]]\nname = \"a\"\nsource = \"/a\"\n[[list]]\nname = \"b\"\nsource = \"/b\"\nformat = \"addresses\"\n";
    let (lists, problems) = read(text, &[Feed::Lists]);
    assert_eq!(lists.len(), 2);
    assert_snapshot!(problems, @r#"
tidegate.toml:1:1: warning: the names on the list "a" do nothing for live flows: this version does not learn the names of flows
  hint: addresses on it count; names count in `tidegate explain` only
"#);
}

#[test]
fn there_may_be_as_many_lists_as_one_file_holds() {
    let lists = |count: usize| -> String {
        let list = |number| format!("[[list]]\nname = \"l{number}\"\nsource = \"/l\"\n");
        (0..count).map(list).collect()
    };
    assert_eq!(read(&lists(MOST_LISTS), &Feed::ALL).1, "");
    let (_, problems) = read(&lists(MOST_LISTS + 1), &Feed::ALL);
    assert!(
        problems.contains(":193:1: error: there are more than 64 lists"),
        "{problems}"
    );
    let categories: Vec<String> = (0..=MOST_LISTS)
        .map(|number| format!("\"list:c{number}\""))
        .collect();
    let named: Vec<String> = (0..=MOST_LISTS)
        .map(|number| format!("\"c{number}\""))
        .collect();
    let list = |chunk: &[String]| {
        format!(
            "[[list]]\nname = \"x{}\"\nsource = \"/l\"\ncategory = [{}]\n",
            &chunk[0][2..3],
            chunk.join(", ")
        )
    };
    let of_categories: String = named.chunks(10).map(list).collect();
    let padding = lists(MOST_LISTS - 7);
    let rule = format!(
        "[[rule]]\nto = [{}]\naction = \"block\"\n",
        categories.join(", ")
    );
    let (_, problems) = read(&[of_categories, padding, rule].concat(), &Feed::ALL);
    assert!(
        problems.contains("rules name more than 64 lists"),
        "{problems}"
    );
}
