use insta::assert_snapshot;

use super::*;

fn text_of(problems: &[Problem]) -> String {
    problems
        .iter()
        .map(|problem| format!("{problem}\n"))
        .collect()
}

fn problems_of(text: &str, read: impl FnOnce(Section<'_>)) -> String {
    let document = Document::parse("a.toml", text).unwrap();
    read(document.root());
    text_of(&document.finish())
}

#[test]
fn every_violation_of_the_syntax_is_said_at_once() {
    let problems = Document::parse(
        "a.toml",
        "[capture\ntun = \"x\nfail = \"open\"\na = = 1\na = 2\n",
    )
    .unwrap_err();
    assert_snapshot!(text_of(&problems), @r#"
a.toml:1:9: error: unclosed table, expected `]`
a.toml:4:5: error: extra `=`, expected nothing
a.toml:4:7: error: unexpected key or value, expected newline, `#`
"#);
}

#[test]
fn a_file_cut_short_has_its_place_at_the_end() {
    let problems = Document::parse("a.toml", "[[rule]]\nname = ").unwrap_err();
    assert_snapshot!(text_of(&problems), @r#"
a.toml:2:8: error: string values must be quoted, expected literal string
"#);
}

#[test]
fn a_value_of_the_wrong_kind_is_noted_and_the_reader_goes_on() {
    let text = "text = 1\nflag = \"yes\"\nsmall = 256\nhuge = 99999999999999999999\nlist = [\"a\", 2, \"b\"]\n\
                when = 2020-01-01\nportion = 0.5\nsection = 1\ntables = 3\nnested = { a = 1 }\n";
    let found = problems_of(text, |root| {
        assert_eq!(root.string("text"), None);
        assert_eq!(root.boolean("flag"), None);
        assert_eq!(root.integer::<u8>("small"), None);
        assert_eq!(root.integer::<u64>("huge"), None);
        assert_eq!(
            root.strings("list"),
            Some(vec!["a".to_owned(), "b".to_owned()])
        );
        assert_eq!(root.string("when"), None);
        assert_eq!(root.integer::<u8>("portion"), None);
        assert!(root.section("section").is_none());
        assert!(root.sections("tables").is_empty());
        assert!(root.sections("nested").is_empty());
    });
    assert_snapshot!(found, @r#"
a.toml:1:8: error: expected a string, found an integer
a.toml:2:8: error: expected true or false, found a string
a.toml:3:9: error: the number is out of range
a.toml:4:8: error: the number is out of range
a.toml:5:14: error: expected a string, found an integer
a.toml:6:8: error: expected a string, found a date
a.toml:7:11: error: expected an integer, found a fraction
a.toml:8:11: error: expected a table, found an integer
a.toml:9:10: error: expected a list, found an integer
a.toml:10:10: error: expected a list of tables, found a table
  hint: write [[nested]], with two brackets: there may be several
"#);
}

#[test]
fn values_are_read_as_they_stand() {
    let text = "text = \"a\"\none = \"b\"\nmany = [\"c\", \"d\"]\nnumber = 0x1f_ff\nminus = -3\nflag = true\n\
                [section]\ninner = { key = 1 }\n[[table]]\nn = 1\n[[table]]\nn = 2\n";
    let found = problems_of(text, |root| {
        assert_eq!(root.string("text").as_deref(), Some("a"));
        assert_eq!(root.strings("one"), Some(vec!["b".to_owned()]));
        assert_eq!(
            root.strings("many"),
            Some(vec!["c".to_owned(), "d".to_owned()])
        );
        assert_eq!(root.integer::<u32>("number"), Some(0x1fff));
        assert_eq!(root.integer::<i8>("minus"), Some(-3));
        assert_eq!(root.boolean("flag"), Some(true));
        assert_eq!(root.string("absent"), None);
        assert_eq!(
            root.section("section")
                .unwrap()
                .section("inner")
                .unwrap()
                .integer::<u8>("key"),
            Some(1)
        );
        let tables = root.sections("table");
        let numbers: Vec<_> = tables
            .iter()
            .filter_map(|table| table.integer::<u8>("n"))
            .collect();
        assert_eq!(numbers, [1, 2]);
        assert_eq!(
            (tables[1].origin().line, tables[1].origin().column),
            (11, 1)
        );
    });
    assert_eq!(found, "");
}

#[test]
fn columns_count_characters() {
    let found = problems_of(
        "\"ключ\" = { \"é\" = \"x\", wrong = 1 }\r\nsecond = 2\r\n",
        |root| {
            root.section("ключ").unwrap().string("é");
        },
    );
    assert_snapshot!(found, @r#"
a.toml:1:23: error: unknown key `wrong`
  hint: known here: é
a.toml:2:1: error: unknown key `second`
  hint: known here: ключ
"#);
}

#[test]
fn an_unread_table_is_reported_once() {
    let text = "[other]\na = 1\nb = 2\n[other.inner]\nc = 3\n[[list]]\nx = 1\n[[list]]\nx = 2\n";
    let found = problems_of(text, |root| {
        root.string("otter");
    });
    assert_snapshot!(found, @r#"
a.toml:1:2: error: unknown key `other`
  hint: did you mean `otter`?
a.toml:6:3: error: unknown key `list`
  hint: known here: otter
"#);
}

#[test]
fn a_choice_names_its_words() {
    let found = problems_of("a = \"opne\"\nb = \"half\"\nc = \"open\"\n", |root| {
        let words = [("open", 1), ("closed", 2)];
        assert_eq!(root.choice("a", &words), None);
        assert_eq!(root.choice("b", &words), None);
        assert_eq!(root.choice("c", &words), Some(1));
    });
    assert_snapshot!(found, @r#"
a.toml:1:5: error: unknown value "opne"
  hint: did you mean "open"?
a.toml:2:5: error: unknown value "half"
  hint: write one of "open", "closed"
"#);
}

#[test]
fn a_refused_key_says_why() {
    let found = problems_of("[policy]\ndefault = \"allow\"\n", |root| {
        root.refuse("policy", "not in this file", "move it");
        root.refuse("absent", "never said", "never said");
    });
    assert_snapshot!(found, @r#"
a.toml:1:2: error: not in this file
  hint: move it
"#);
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in "[\\[\\]a-c={}\"'#., \n\r\u{e9}0-9-]{0,60}") {
        match Document::parse("a.toml", &text) {
            Ok(document) => {
                document.root().sections("a");
                document.finish();
            }
            Err(problems) => proptest::prop_assert!(!problems.is_empty()),
        }
    }
}
