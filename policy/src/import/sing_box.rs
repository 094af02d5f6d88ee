//! sing-box: a rule set in its source form, JSON.
//!
//! A rule matches when one of its names or networks does, and one of its ports, and all its other items. The rules say
//! what is meant, not what is done with it.

use serde_json::Value;

use super::draft::{Draft, Values};
use super::json::{self, Object};
use super::patterns;
use super::piece::Piece;
use crate::document::Refusal;
use crate::verdict::Verdict;

/// Rules that one rule may stand for.
const MOST_DRAFTS: usize = 64;
/// How deep logical rules may hold others.
const DEEPEST: usize = 8;

pub(super) fn read(text: &str, action: Verdict) -> Result<Vec<Piece>, Refusal> {
    let not_a_set = || json::not_this("a rule set of sing-box in its source form");
    let value = json::parse(text)?;
    let object = Object::of(&value).ok_or_else(not_a_set)?;
    object.pass_over(&["version"]);
    let Ok(Some(Value::Array(rules))) = object.value("rules") else {
        return Err(not_a_set());
    };
    if let Some(key) = object.unknown() {
        return Err(Refusal::new(
            format!("unknown key `{key}`"),
            "this version reads `version` and `rules`",
        ));
    }
    let one = |(at, value)| {
        let place = format!("rules[{at}]");
        let mut piece = Piece::new(&place, &place, action);
        match meanings(&mut piece, value, 0) {
            Ok(drafts) => piece.with(Ok(drafts)),
            Err(reason) => piece.refused(reason),
        }
    };
    Ok(rules.iter().enumerate().map(one).collect())
}

/// The rules that one stands for: a flow is meant when one of them matches.
fn meanings(piece: &mut Piece, value: &Value, depth: usize) -> Result<Vec<Draft>, String> {
    let object = Object::of(value).ok_or("the rule is no object")?;
    match object.text("type")? {
        None | Some("default") => plain(piece, &object),
        Some("logical") if depth < DEEPEST => logical(piece, &object, depth),
        Some("logical") => Err("rules within rules, too deep".to_owned()),
        Some(other) => Err(format!("unknown type \"{other}\"")),
    }
}

fn logical(piece: &mut Piece, object: &Object<'_>, depth: usize) -> Result<Vec<Draft>, String> {
    if object.flag("invert")? {
        return Err("rules within rules, inverted".to_owned());
    }
    let mode = object.text("mode")?;
    let Some(Value::Array(rules)) = object.value("rules")? else {
        return Err("no rules within the rule".to_owned());
    };
    if let Some(key) = object.unknown() {
        return Err(format!("unknown key `{key}`"));
    }
    let mut parts = rules.iter().map(|rule| meanings(piece, rule, depth + 1));
    match mode {
        Some("or") => {
            let parts: Vec<_> = parts.collect::<Result<_, _>>()?;
            bounded(parts.into_iter().flatten().collect())
        }
        Some("and") => {
            let first = parts.next().ok_or("no rules within the rule")??;
            parts.try_fold(first, |met, part| {
                let part = part?;
                let pairs = met
                    .iter()
                    .flat_map(|one| part.iter().map(move |other| both(one, other)));
                bounded(pairs.collect::<Result<_, _>>()?)
            })
        }
        _ => Err("a logical rule without a mode".to_owned()),
    }
}

fn bounded(drafts: Vec<Draft>) -> Result<Vec<Draft>, String> {
    if drafts.len() > MOST_DRAFTS {
        return Err(format!("it stands for more than {MOST_DRAFTS} rules"));
    }
    Ok(drafts)
}

/// The rule that matches where both do.
fn both(one: &Draft, other: &Draft) -> Result<Draft, String> {
    let mut met = one.clone();
    let collides = (!one.to.is_empty() && !other.to.is_empty())
        || (!one.port.is_empty() && !other.port.is_empty())
        || (!one.app_not.is_empty() && !other.app_not.is_empty())
        || other.app.iter().any(|(key, _)| one.has_app(key));
    if collides {
        return Err("two conditions of a kind, which must both hold".to_owned());
    }
    met.to.extend(other.to.iter().cloned());
    met.to_not.extend(other.to_not.iter().cloned());
    met.port.extend(other.port.iter().cloned());
    met.port_not.extend(other.port_not.iter().cloned());
    met.app.extend(other.app.iter().cloned());
    met.app_not.extend(other.app_not.iter().cloned());
    Ok(met)
}

fn plain(piece: &mut Piece, object: &Object<'_>) -> Result<Vec<Draft>, String> {
    object.pass_over(&["type"]);
    let invert = object.flag("invert")?;
    let narrowed = piece.narrowed.len();
    let mut draft = Draft::new(&piece.label, piece.action);
    draft.to = destinations(object)?;
    draft.port = services(object)?;
    let path = |path: &&str| patterns::literal(path);
    if let Some(names) = object.texts("process_name")? {
        draft.app_text("name", names.iter().map(path).collect());
    }
    if let Some(paths) = object.texts("process_path")? {
        draft.app_text("path", paths.iter().map(path).collect());
    }
    if let Some(expressions) = object.texts("process_path_regex")? {
        path_expressions(piece, &expressions, &mut draft)?;
    }
    if let Some(users) = object.texts("user")? {
        draft.app_text("user", users.iter().map(ToString::to_string).collect());
    }
    if let Some(numbers) = numbers(object, "user_id")? {
        draft.app.push(("uid", Values::Numbers(numbers)));
    }
    // The first is enough to be said.
    if let Some(key) = object.unknown() {
        if invert {
            return Err(format!("unknown key `{key}`"));
        }
        piece.without(format!("there is no condition like `{key}`"))?;
    }
    if draft.is_everything() && piece.narrowed.is_empty() {
        return Err("it has no condition".to_owned());
    }
    if invert {
        // What is too much becomes too little.
        if piece.narrowed.len() > narrowed {
            return Err(format!(
                "inverted, it cannot be narrowed: {}",
                piece.narrowed.remove(narrowed)
            ));
        }
        inverted(piece, draft)
    } else {
        Ok(vec![draft])
    }
}

/// What is not meant: one of the conditions does not hold.
fn inverted(piece: &Piece, draft: Draft) -> Result<Vec<Draft>, String> {
    let new = || Draft::new(&piece.label, piece.action);
    let named = draft
        .to
        .iter()
        .any(|to| !to.contains(['/', ':']) && to.parse::<std::net::IpAddr>().is_err());
    if !piece.allows()
        && (!draft.app.is_empty() || named || draft.to.iter().any(|to| to.starts_with('/')))
    {
        return Err("inverted, it is about programs or names that nobody knows too".to_owned());
    }
    let mut drafts = Vec::new();
    if !draft.to.is_empty() {
        drafts.push(Draft {
            to_not: draft.to,
            ..new()
        });
    }
    if !draft.port.is_empty() {
        drafts.push(Draft {
            port_not: draft.port,
            ..new()
        });
    }
    if !draft.app.is_empty() {
        drafts.push(Draft {
            app_not: draft.app,
            ..new()
        });
    }
    Ok(drafts)
}

fn path_expressions(
    piece: &mut Piece,
    expressions: &[&str],
    draft: &mut Draft,
) -> Result<(), String> {
    if draft.has_app("path") {
        return piece.without("two conditions on the path");
    }
    let mut all = Vec::new();
    for expression in expressions {
        let patterns = if piece.allows() {
            patterns::within_path_regex(expression)
        } else {
            patterns::around_path_regex(expression, false)
        };
        match patterns {
            Ok(patterns) => {
                if !patterns.exact {
                    piece.narrowed.push(format!(
                        "wildcards stand for another set of paths than \"{expression}\""
                    ));
                }
                all.extend(patterns.patterns);
            }
            Err(reason) => return piece.without(reason),
        }
    }
    draft.app_text("path", all);
    Ok(())
}

/// Names and networks, of which one is enough.
fn destinations(object: &Object<'_>) -> Result<Vec<String>, String> {
    let kinds: [(&'static str, patterns::Make); 5] = [
        ("domain", patterns::exact_name),
        ("domain_suffix", |name| match name.strip_prefix('.') {
            Some(name) => patterns::below_name(name),
            None => patterns::name_and_below(name),
        }),
        ("domain_keyword", keyword),
        ("domain_regex", patterns::name_regex),
        ("ip_cidr", patterns::net),
    ];
    let mut all = Vec::new();
    for (key, make) in kinds {
        for text in object.texts(key)?.unwrap_or_default() {
            all.push(make(text)?);
        }
    }
    Ok(all)
}

/// Names in which a text is found.
pub(super) fn keyword(text: &str) -> Result<String, String> {
    let in_names =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
    if text.is_empty() || !text.bytes().all(in_names) {
        return Err(format!("no name holds \"{text}\""));
    }
    if text.bytes().all(|byte| byte == b'.') {
        return Err(format!("\"{text}\" is in nearly every name"));
    }
    Ok(format!("*{text}*"))
}

fn numbers(object: &Object<'_>, key: &'static str) -> Result<Option<Vec<u32>>, String> {
    let Some(value) = object.value(key)? else {
        return Ok(None);
    };
    let wrong = || format!("`{key}` is no list of numbers");
    let values: Vec<&Value> = match value.as_array() {
        Some(values) if values.is_empty() => return Err(format!("`{key}` is an empty list")),
        Some(values) => values.iter().collect(),
        None => vec![value],
    };
    let number = |value: &Value| value.as_u64().and_then(|number| u32::try_from(number).ok());
    let numbers = values
        .into_iter()
        .map(|value| number(value).ok_or_else(wrong));
    numbers.collect::<Result<_, _>>().map(Some)
}

/// Ports, of which one is enough, of the protocols that are named.
fn services(object: &Object<'_>) -> Result<Vec<String>, String> {
    let mut ports: Vec<String> = Vec::new();
    for port in numbers(object, "port")?.unwrap_or_default() {
        ports.push(patterns::ports(&port.to_string(), '\0')?);
    }
    for range in object.texts("port_range")?.unwrap_or_default() {
        let (first, last) = range
            .split_once(':')
            .ok_or_else(|| format!("\"{range}\" is no range of ports"))?;
        let first = if first.is_empty() { "0" } else { first };
        let last = if last.is_empty() { "65535" } else { last };
        ports.push(patterns::ports(&format!("{first}-{last}"), '-')?);
    }
    let Some(networks) = object.texts("network")? else {
        return Ok(ports);
    };
    let mut all = Vec::new();
    for network in networks {
        match (network, &ports[..]) {
            ("tcp" | "udp", []) => all.push(format!("{network}/*")),
            ("tcp" | "udp", ports) => {
                all.extend(ports.iter().map(|port| format!("{network}/{port}")))
            }
            ("icmp", []) => all.push("icmp".to_owned()),
            (other, _) => return Err(format!("unknown network \"{other}\"")),
        }
    }
    Ok(all)
}
