//! The part of YAML that programs write for settings: mappings, lists and scalars in block style, a line each.
//!
//! Anchors, tags, flow collections and documents of several parts are refused with their line: nothing is guessed.

use serde_json::{Map, Value};

use crate::document::Refusal;

/// How deep a file may be nested.
const DEEPEST: usize = 32;

/// One line with something on it.
#[derive(Debug)]
struct Line<'t> {
    number: usize,
    indent: usize,
    text: &'t str,
}

/// Reads a file.
pub(super) fn parse(text: &str) -> Result<Value, Refusal> {
    let mut reader = Reader {
        lines: lines(text)?,
        next: 0,
        raw: text.lines().collect(),
    };
    let Some(first) = reader.lines.first() else {
        return Err(Refusal::new(
            "the file is empty",
            "give the file as the other program wrote it",
        ));
    };
    let indent = first.indent;
    let value = reader.block(indent, 0)?;
    match reader.lines.get(reader.next) {
        Some(line) => Err(wrong(
            line.number,
            "it does not belong to anything before it",
        )),
        None => Ok(value),
    }
}

/// The scalars of the list under a key of the top, with the numbers of their lines.
pub(super) fn list_under(text: &str, key: &str) -> Result<Vec<(usize, String)>, Refusal> {
    let lines = lines(text)?;
    let mut found = Vec::new();
    let mut within = false;
    for line in &lines {
        match line.text.strip_prefix('-') {
            Some(item) if within => {
                let scalar = scalar(line.number, item.trim())?;
                let text = scalar
                    .as_str()
                    .map_or_else(|| scalar.to_string(), str::to_owned);
                found.push((line.number, text));
            }
            _ if line.indent == 0 => within = line.text.strip_suffix(':') == Some(key),
            _ => return Err(wrong(line.number, "here, a list of values is expected")),
        }
    }
    Ok(found)
}

fn lines(text: &str) -> Result<Vec<Line<'_>>, Refusal> {
    let mut found = Vec::new();
    for (at, raw) in text.lines().enumerate() {
        let content = raw.trim_start_matches(' ');
        let indent = raw.len() - content.len();
        let content = content.trim_end();
        if content.is_empty() || content.starts_with('#') || (at == 0 && content == "---") {
            continue;
        }
        if content.starts_with('\t') {
            return Err(wrong(at + 1, "YAML is indented with spaces"));
        }
        found.push(Line {
            number: at + 1,
            indent,
            text: content,
        });
    }
    Ok(found)
}

struct Reader<'t> {
    lines: Vec<Line<'t>>,
    next: usize,
    raw: Vec<&'t str>,
}

impl<'t> Reader<'t> {
    /// The mapping or list whose lines have this indent.
    fn block(&mut self, indent: usize, depth: usize) -> Result<Value, Refusal> {
        let Some(line) = self.lines.get(self.next) else {
            return Ok(Value::Null);
        };
        if depth > DEEPEST {
            return Err(wrong(line.number, "it is nested too deep"));
        }
        if is_item(line.text) {
            self.list(indent, depth)
        } else {
            self.mapping(indent, depth)
        }
    }

    fn list(&mut self, indent: usize, depth: usize) -> Result<Value, Refusal> {
        let mut values = Vec::new();
        while let Some(line) = self.lines.get(self.next) {
            if line.indent != indent || !is_item(line.text) {
                break;
            }
            let (number, item) = (line.number, line.text[1..].trim_start());
            if item.is_empty() {
                self.next += 1;
                values.push(self.nested(indent + 1, depth)?);
            } else if !item.starts_with(['"', '\'']) && key_of(item).is_some() {
                // A mapping that begins on the item's own line.
                let inner = indent + line.text.len() - item.len();
                self.lines[self.next] = Line {
                    number,
                    indent: inner,
                    text: item,
                };
                values.push(self.block(inner, depth + 1)?);
            } else {
                self.next += 1;
                values.push(scalar(number, item)?);
            }
        }
        Ok(Value::Array(values))
    }

    fn mapping(&mut self, indent: usize, depth: usize) -> Result<Value, Refusal> {
        let mut map = Map::new();
        while let Some(line) = self.lines.get(self.next) {
            if line.indent != indent || is_item(line.text) {
                break;
            }
            let number = line.number;
            let Some((key, rest)) = key_of(line.text) else {
                return Err(wrong(number, "here, `key: value` is expected"));
            };
            let rest = without_comment(rest);
            self.next += 1;
            let value = if rest.is_empty() {
                // A list may stand at the indent of its key.
                let list_here = self
                    .lines
                    .get(self.next)
                    .is_some_and(|next| next.indent == indent && is_item(next.text));
                self.nested(if list_here { indent } else { indent + 1 }, depth)?
            } else if matches!(rest, "|" | "|-" | "|+" | ">" | ">-" | ">+") {
                self.text_block(number, indent)
            } else {
                scalar(number, rest)?
            };
            let key = scalar(number, key)?;
            let key = key.as_str().map_or_else(|| key.to_string(), str::to_owned);
            if map.insert(key, value).is_some() {
                return Err(wrong(number, "the key is there before"));
            }
        }
        Ok(Value::Object(map))
    }

    /// What is indented by at least this much, if there is something.
    fn nested(&mut self, least: usize, depth: usize) -> Result<Value, Refusal> {
        match self.lines.get(self.next) {
            Some(line) if line.indent >= least => {
                let indent = line.indent;
                self.block(indent, depth + 1)
            }
            _ => Ok(Value::Null),
        }
    }

    /// Lines of text after `|` or `>`, joined as they are.
    fn text_block(&mut self, number: usize, indent: usize) -> Value {
        let belongs = |line: &&&str| {
            let inside = line.len() - line.trim_start_matches(' ').len();
            line.trim().is_empty() || inside > indent
        };
        let lines: Vec<&str> = self.raw[number..]
            .iter()
            .take_while(belongs)
            .map(|line| line.trim())
            .collect();
        let end = number + lines.len();
        while self
            .lines
            .get(self.next)
            .is_some_and(|line| line.number <= end)
        {
            self.next += 1;
        }
        Value::String(lines.join("\n"))
    }
}

fn is_item(text: &str) -> bool {
    text == "-" || text.starts_with("- ")
}

/// Key and value of `key: value`; a key may be quoted.
fn key_of(text: &str) -> Option<(&str, &str)> {
    if let Some(quote) = text.chars().next().filter(|first| "\"'".contains(*first)) {
        let end = text[1..].find(quote)? + 2;
        let rest = text.get(end..)?.strip_prefix(':')?;
        return (rest.is_empty() || rest.starts_with(' ')).then(|| (&text[..end], rest.trim()));
    }
    if let Some(key) = text.strip_suffix(':') {
        return Some((key, ""));
    }
    let (key, value) = text.split_once(": ")?;
    Some((key, value.trim()))
}

/// A comment begins with ` #`, outside of quotes.
fn without_comment(text: &str) -> &str {
    if text.starts_with(['"', '\'']) {
        return text;
    }
    if text.starts_with('#') {
        return "";
    }
    text.split_once(" #")
        .map_or(text, |(before, _)| before.trim_end())
}

fn scalar(number: usize, text: &str) -> Result<Value, Refusal> {
    if let Some(quote) = text.chars().next().filter(|first| "\"'".contains(*first)) {
        return quoted(number, text, quote);
    }
    let text = without_comment(text);
    if text.starts_with(['&', '*', '!', '{', '[', '|', '>', '@', '`', '%', '?']) {
        // A star is a pattern in lists of names, where programs that quote nothing write it.
        let is_pattern = text.starts_with("*.") || text.starts_with('?');
        if !is_pattern {
            return Err(wrong(
                number,
                "this form of YAML is not read; quote the value if it is one",
            ));
        }
    }
    Ok(match text {
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        "" | "~" | "null" => Value::Null,
        other => match other.parse::<i64>() {
            Ok(whole) if whole.to_string() == other => Value::from(whole),
            _ => Value::String(other.to_owned()),
        },
    })
}

fn quoted(number: usize, text: &str, quote: char) -> Result<Value, Refusal> {
    let mut value = String::new();
    let mut letters = text.char_indices().skip(1).peekable();
    while let Some((at, letter)) = letters.next() {
        if letter == quote {
            if quote == '\'' && letters.next_if(|(_, next)| *next == '\'').is_some() {
                value.push('\'');
                continue;
            }
            let rest = text[at + 1..].trim();
            if rest.is_empty() || rest.starts_with('#') {
                return Ok(Value::String(value));
            }
            return Err(wrong(number, "something stands behind the quoted value"));
        }
        if quote == '"' && letter == '\\' {
            match letters.next() {
                Some((_, plain @ ('"' | '\\' | '/'))) => value.push(plain),
                Some((_, 'n')) => value.push('\n'),
                Some((_, 't')) => value.push('\t'),
                _ => return Err(wrong(number, "this escape is not read")),
            }
            continue;
        }
        value.push(letter);
    }
    Err(wrong(number, "the quote is not closed on its line"))
}

fn wrong(line: usize, what: &str) -> Refusal {
    Refusal::new(
        format!("line {line}: {what}"),
        "give the file as the other program wrote it, or as JSON",
    )
}
