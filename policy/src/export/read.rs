//! A rule file as drafts: a key that no other program could mean is a reason to refuse the rule.

use toml::{Table, Value};

use crate::document::{Document, Problem, Refusal};
use crate::import::draft::{Draft, Values};
use crate::import::piece::Piece;
use crate::source::PolicySource;
use crate::verdict::Verdict;

/// The keys of `app` that are compared as they are written.
const APP_TEXTS: [&str; 6] = ["path", "name", "user", "unit", "container", "parent"];

/// The rules of a file; one that cannot be said as a draft is refused.
pub(super) fn rules(file: &str, text: &str) -> Result<Vec<Piece>, Refusal> {
    let first = |problems: Vec<Problem>| {
        let error = problems.into_iter().find(Problem::is_error);
        error.map(|problem| Refusal {
            message: problem.to_string(),
            hint: None,
        })
    };
    let document = match Document::parse(file, text) {
        Ok(document) => document,
        Err(problems) => {
            return Err(first(problems).unwrap_or_else(|| Refusal::new("not TOML", "see rules.md")));
        }
    };
    let mut source = PolicySource::default();
    source.read_main(&document);
    let tables = text.parse::<Table>().unwrap_or_default();
    // Other tables of a main file are for others to judge; a key that a rule may not have is refused with the rule.
    let own = |problem: &Problem| !problem.message.starts_with("unknown key");
    if let Some(refusal) = first(document.finish().into_iter().filter(own).collect()) {
        return Err(refusal);
    }
    let rules = tables.get("rule").and_then(Value::as_array);
    let read = rules.into_iter().flatten().filter_map(Value::as_table);
    Ok(read
        .zip(&source.rules)
        .map(|(table, rule)| {
            piece(
                table,
                rule.info.label(),
                rule.info.origin.to_string(),
                rule.info.action,
            )
        })
        .collect())
}

fn piece(table: &Table, label: String, place: String, action: Verdict) -> Piece {
    let mut draft = Draft::new(&label, action);
    let piece = Piece::new(label, place, action);
    match fill(&mut draft, table) {
        Ok(()) => piece.with(Ok(vec![draft])),
        Err(reason) => piece.refused(reason),
    }
}

fn fill(draft: &mut Draft, table: &Table) -> Result<(), String> {
    for (key, value) in table {
        match key.as_str() {
            "action" if value.as_str() == Some("ask") => {
                return Err("to ask cannot be said there".to_owned());
            }
            "name" | "action" => {}
            "app" => (draft.app, draft.app_not) = app(value)?,
            "to" => (draft.to, draft.to_not) = selection(value)?,
            "port" => (draft.port, draft.port_not) = selection(value)?,
            "direction" => draft.inbound = value.as_str() == Some("in"),
            other => return Err(format!("`{other}` cannot be said there")),
        }
    }
    if draft
        .to
        .iter()
        .chain(&draft.to_not)
        .any(|to| to.starts_with("set:"))
    {
        return Err("it refers to a set: write its destinations into the rule".to_owned());
    }
    Ok(())
}

type Conditions = Vec<(&'static str, Values)>;

fn app(value: &Value) -> Result<(Conditions, Conditions), String> {
    let Value::Table(table) = value else {
        return Ok((vec![("path", Values::Texts(texts(value)?))], Vec::new()));
    };
    let (mut within, mut except) = (Vec::new(), Vec::new());
    for (key, value) in table {
        if key == "not" {
            let (conditions, nested) = app(value)?;
            if !nested.is_empty() {
                return Err("`not` within `not` cannot be said there".to_owned());
            }
            except = conditions;
        } else if key == "uid" {
            let numbers = list(value).iter().map(|value| {
                value
                    .as_integer()
                    .and_then(|number| u32::try_from(number).ok())
            });
            let numbers: Option<Vec<u32>> = numbers.collect();
            within.push(("uid", Values::Numbers(numbers.ok_or("`uid` is no number")?)));
        } else if let Some(key) = APP_TEXTS.iter().find(|own| *own == key) {
            within.push((*key, Values::Texts(texts(value)?)));
        } else {
            return Err(format!("`{key}` of `app` cannot be said there"));
        }
    }
    Ok((within, except))
}

fn selection(value: &Value) -> Result<(Vec<String>, Vec<String>), String> {
    let Value::Table(table) = value else {
        return Ok((texts(value)?, Vec::new()));
    };
    let part = |key: &str| {
        table
            .get(key)
            .map(texts)
            .transpose()
            .map(Option::unwrap_or_default)
    };
    Ok((part("in")?, part("not")?))
}

fn list(value: &Value) -> &[Value] {
    value
        .as_array()
        .map_or(std::slice::from_ref(value), Vec::as_slice)
}

fn texts(value: &Value) -> Result<Vec<String>, String> {
    let texts = list(value)
        .iter()
        .map(|value| value.as_str().map(str::to_owned));
    let texts: Option<Vec<String>> = texts.collect();
    texts.ok_or_else(|| "a value is no text".to_owned())
}
