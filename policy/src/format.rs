//! The one layout of rule files: `tidegate fmt`.
//!
//! Rules, sets and tests keep their order and comments; their keys have one order, lists that do not fit into a line have
//! a line for each value, and one empty line stands before each table. Formatting twice changes nothing more, and never
//! what a file means.
//!
//! ```
//! use tidegate_policy::format::format;
//!
//! let text = "[[rule]]\naction=\"block\" # all of it\nname  = 'curl'\n\n\napp =[ \"/usr/bin/curl\"]\n";
//! assert_eq!(
//!     format("demo.toml", text).unwrap(),
//!     "[[rule]]\nname = 'curl'\napp = [\"/usr/bin/curl\"]\naction = \"block\" # all of it\n"
//! );
//! ```

use toml_edit::{Array, Decor, DocumentMut, InlineTable, Item, RawString, Table, Value};

use crate::document::{Document, Problem, Severity};

/// Columns that a line has at most where a list can be broken.
const WIDTH: usize = 100;
/// Columns that a list within a table on one line has at most, where that line is too long.
const INNER_WIDTH: usize = 60;

/// The keys that stand first, in this order; what is not named stands behind them.
const FIRST: [&str; 9] = [
    "name",
    "app",
    "flow",
    "to",
    "from",
    "port",
    "direction",
    "expect",
    "by",
];
/// The key that stands last.
const LAST: &str = "action";

/// The tables whose keys have an order.
const ORDERED: [&str; 3] = ["rule", "set", "test"];

/// The text in its layout; `file` is the name that problems carry.
///
/// # Errors
/// Every violation of TOML's syntax.
pub fn format(file: &str, text: &str) -> Result<String, Vec<Problem>> {
    // Its problems are said as those of any other file.
    Document::parse(file, text)?;
    let cannot = |message: &str| {
        vec![Problem {
            file: file.to_owned(),
            line: 1,
            column: 1,
            severity: Severity::Error,
            message: message.to_owned(),
            hint: Some("write the file without what is unusual in TOML".to_owned()),
        }]
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let text = text.replace("\r\n", "\n");
    let mut document: DocumentMut = text
        .parse()
        .map_err(|_| cannot("this layout of TOML is not read here"))?;
    table(document.as_table_mut(), Keys::AsTheyAre);
    let trailing = comments(document.trailing().as_str().unwrap_or_default(), 1);
    document.set_trailing(trailing);
    let written = document.to_string();
    let written = format!("{}\n", written.trim_matches('\n'));
    // Whatever happens, a formatted file means the same.
    let means = |text: &str| text.parse::<toml::Table>().ok();
    match means(&text) == means(&written) {
        true if written.trim().is_empty() => Ok(String::new()),
        true => Ok(written),
        false => Err(cannot("this file cannot be formatted without changing it")),
    }
}

/// Whether a table's keys are sorted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keys {
    AsTheyAre,
    InOrder,
}

fn table(table: &mut Table, keys: Keys) {
    if keys == Keys::InOrder && !table.iter().any(|(_, item)| is_dotted(item)) {
        table.sort_values_by(|one, _, other, _| rank(one.get()).cmp(&rank(other.get())));
    }
    let mut is_first = true;
    for (mut key, item) in table.iter_mut() {
        let name = key.get().to_owned();
        match item {
            Item::Value(own) => {
                let blank = usize::from(keys == Keys::AsTheyAre && !is_first);
                let before = comments(raw(key.leaf_decor().prefix()), blank);
                key.leaf_decor_mut().set_prefix(before);
                key.leaf_decor_mut().set_suffix(" ");
                let comment = comment(raw(own.decor().suffix()));
                value(own, name.len() + 3);
                *own.decor_mut() = Decor::new(" ", comment);
                is_first = false;
            }
            Item::Table(inner) if !inner.is_dotted() => header(inner, Keys::AsTheyAre),
            Item::ArrayOfTables(tables) => {
                let ordered = ORDERED.contains(&name.as_str());
                let keys = if ordered {
                    Keys::InOrder
                } else {
                    Keys::AsTheyAre
                };
                tables.iter_mut().for_each(|inner| header(inner, keys));
            }
            Item::Table(_) | Item::None => {}
        }
    }
}

fn is_dotted(item: &Item) -> bool {
    item.as_table().is_some_and(Table::is_dotted)
}

fn rank(key: &str) -> usize {
    if key == LAST {
        return usize::MAX;
    }
    FIRST
        .iter()
        .position(|first| *first == key)
        .unwrap_or(FIRST.len())
}

/// A table under a header of its own.
fn header(inner: &mut Table, keys: Keys) {
    if !inner.is_implicit() {
        let before = comments(raw(inner.decor().prefix()), 1);
        let before = format!("\n{}", before.trim_start_matches('\n'));
        let comment = comment(raw(inner.decor().suffix()));
        *inner.decor_mut() = Decor::new(before, comment);
    }
    table(inner, keys);
}

/// A value that begins in this column.
fn value(value: &mut Value, column: usize) {
    if has_comments(value) {
        return;
    }
    on_one_line(value);
    if column + value.to_string().trim().len() <= WIDTH {
        return;
    }
    match value {
        Value::Array(array) => broken(array),
        Value::InlineTable(inner) => break_lists(inner),
        Value::String(_)
        | Value::Integer(_)
        | Value::Float(_)
        | Value::Boolean(_)
        | Value::Datetime(_) => {}
    }
}

fn break_lists(inner: &mut InlineTable) {
    for (_, value) in inner.iter_mut() {
        let is_long = value.to_string().len() > INNER_WIDTH;
        match value {
            Value::Array(array) if is_long => broken(array),
            Value::InlineTable(inner) if is_long => break_lists(inner),
            Value::Array(_)
            | Value::InlineTable(_)
            | Value::String(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Boolean(_)
            | Value::Datetime(_) => {}
        }
    }
}

fn on_one_line(value: &mut Value) {
    match value {
        Value::Array(array) => {
            array.iter_mut().for_each(on_one_line);
            array.fmt();
            array.set_trailing("");
            array.set_trailing_comma(false);
        }
        Value::InlineTable(inner) => {
            inner.iter_mut().for_each(|(_, value)| on_one_line(value));
            inner.fmt();
            inner.set_trailing("");
            inner.set_trailing_comma(false);
        }
        Value::String(_)
        | Value::Integer(_)
        | Value::Float(_)
        | Value::Boolean(_)
        | Value::Datetime(_) => {}
    }
}

/// A line for each value.
fn broken(array: &mut Array) {
    for value in array.iter_mut() {
        *value.decor_mut() = Decor::new("\n  ", "");
    }
    array.set_trailing("\n");
    array.set_trailing_comma(true);
}

/// Whether somebody wrote comments between its parts: then it stays as it is.
fn has_comments(value: &Value) -> bool {
    let in_decor =
        |decor: &Decor| raw(decor.prefix()).contains('#') || raw(decor.suffix()).contains('#');
    match value {
        Value::Array(array) => {
            let trailing = array.trailing().as_str().unwrap_or_default();
            trailing.contains('#')
                || array
                    .iter()
                    .any(|value| in_decor(value.decor()) || has_comments(value))
        }
        Value::InlineTable(inner) => {
            let trailing = inner.trailing().as_str().unwrap_or_default();
            let keys = inner.iter().filter_map(|(key, _)| inner.key(key));
            let mut decors = keys.flat_map(|key| [key.leaf_decor(), key.dotted_decor()]);
            let dotted = inner
                .iter()
                .any(|(_, value)| value.as_inline_table().is_some_and(InlineTable::is_dotted));
            dotted
                || trailing.contains('#')
                || decors.any(in_decor)
                || inner
                    .iter()
                    .any(|(_, value)| in_decor(value.decor()) || has_comments(value))
        }
        Value::String(_)
        | Value::Integer(_)
        | Value::Float(_)
        | Value::Boolean(_)
        | Value::Datetime(_) => false,
    }
}

fn raw(text: Option<&RawString>) -> &str {
    text.and_then(RawString::as_str).unwrap_or_default()
}

/// The comments of some lines, each on its own, with at most so many empty lines before and between them.
fn comments(text: &str, most_empty: usize) -> String {
    let mut kept = String::new();
    let mut empty = 0;
    for line in text.lines().map(str::trim) {
        if line.is_empty() {
            empty += 1;
            continue;
        }
        kept.push_str(&"\n".repeat(empty.min(most_empty)));
        kept.push_str(line);
        kept.push('\n');
        empty = 0;
    }
    kept.push_str(&"\n".repeat(empty.min(most_empty)));
    kept
}

/// The comment behind a value.
fn comment(text: &str) -> String {
    match text.trim() {
        "" => String::new(),
        comment => format!(" {comment}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn formatted(text: &str) -> String {
        format("test.toml", text).unwrap()
    }

    #[test]
    fn keys_have_an_order_and_comments_go_with_them() {
        insta::assert_snapshot!(formatted(
            "# The file.\n\n\n[policy]\n\n\ndefault='block'   #why\n\n\n\n# about the rule\n[[rule]] # here\n  action = \"allow\"\n\
             \n  # only the web\n  port=[ 'tcp/443','tcp/80' ]\n  some_key = 1\n  app={path=[\"/a\"],not={uid=1}}\n\
             name = \"a\"\n# the end\n"
        ), @r#"
        # The file.

        [policy]
        default = 'block' #why

        # about the rule
        [[rule]] # here
        name = "a"
        app = { path = ["/a"], not = { uid = 1 } }
        # only the web
        port = ['tcp/443', 'tcp/80']
        some_key = 1
        action = "allow"
        # the end
        "#);
    }

    #[test]
    fn long_lists_have_a_line_for_each_value() {
        let names: Vec<_> = (0..8).map(|at| format!("'name{at}.example.com'")).collect();
        let list = names.join(",");
        let text = formatted(&format!(
            "[[rule]]\nto=[{list}]\n[[rule]]\nto={{in=[{list}],not=['lan']}}\n"
        ));
        assert_eq!(
            text.lines()
                .filter(|line| line.starts_with("  'name"))
                .count(),
            16,
            "{text}"
        );
        assert!(text.contains("to = [\n  'name0.example.com',\n"), "{text}");
        assert!(
            text.contains("],\n") || text.contains("], not = ['lan'] }"),
            "{text}"
        );
        assert_eq!(formatted(&text), text);
    }

    #[test]
    fn the_order_of_rules_stays() {
        let text = "[[rule]]\nname = \"z\"\n\n[[set]]\nname = \"s\"\n\n[[rule]]\nname = \"a\"\n";
        assert_eq!(formatted(text), text);
    }

    #[test]
    fn lists_with_comments_stay_as_they_are() {
        let text = "[[set]]\nname = \"s\"\nto = [\n    \"lan\", # ours\n  \"10.0.0.1\",\n]\n";
        assert_eq!(formatted(text), text);
    }

    #[test]
    fn what_is_no_toml_is_said_with_its_place() {
        let problems = format("bad.toml", "[[rule]\n").unwrap_err();
        assert!(
            problems[0].to_string().starts_with("bad.toml:1:"),
            "{}",
            problems[0]
        );
    }

    fn text() -> impl Strategy<Value = String> {
        let space = prop::sample::select(vec!["", " ", "  ", "\t"]);
        let value = prop::sample::select(vec![
            "\"x\"",
            "'a # b'",
            "1",
            "true",
            "[ 1,2 ,3 ]",
            "[\n 'a', # c\n 'b' ]",
            "{a=1, b = [ 'x','y' ]}",
            "[]",
            "\"\"\"\n\n # no comment\n\"\"\"",
            "['aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa','bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb']",
            "{ in = ['aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa','bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb'], not = 'c' }",
        ]);
        let key = prop::sample::select(vec![
            "name", "app", "to", "action", "port", "other", "a.b", "'q k'",
        ]);
        let after = prop::sample::select(vec!["", " # c", "\t#d "]);
        let between = prop::sample::select(vec![
            "",
            "\n",
            "\n\n\n",
            "# note\n",
            "  # note \n\n# more\n",
        ]);
        let line = (between.clone(), space.clone(), key, space, value, after).prop_map(
            |(between, space, key, equals, value, after)| {
                (
                    key,
                    format!("{between}{space}{key}{equals}={equals}{value}{after}\n"),
                )
            },
        );
        let header =
            prop::sample::select(vec!["[[rule]]", "[[set]] # s", "[[ test ]]", "[[rule]]#x"]);
        let table = (between.clone(), header, prop::collection::vec(line, 0..5)).prop_map(
            |(between, header, lines)| {
                let mut seen: Vec<&str> = Vec::new();
                let mut text = format!("{between}{header}\n");
                for (key, line) in lines {
                    if !seen.contains(&key) {
                        seen.push(key);
                        text.push_str(&line);
                    }
                }
                text
            },
        );
        (prop::collection::vec(table, 0..4), between)
            .prop_map(|(tables, end)| tables.concat() + end)
    }

    proptest! {
        #[test]
        fn twice_is_once_and_nothing_is_lost(text in text()) {
            let once = formatted(&text);
            prop_assert_eq!(&formatted(&once), &once);
            let comments = |text: &str| {
                let mut all: Vec<String> = text.split('#').skip(1).map(|rest| rest.lines().next().unwrap_or_default().trim().to_owned()).collect();
                all.sort();
                all
            };
            prop_assert_eq!(comments(&text), comments(&once));
        }
    }
}
