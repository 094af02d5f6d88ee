//! LuLu: the export of its rules, JSON.
//!
//! Rules that name an address and a port decide before those that name one of them, and these before those that name
//! neither; of equal ones the program's own before those for what it starts, for its folder, and for all. Where that does
//! not tell, those that block are put first here.

use serde_json::Value;

use super::draft::Draft;
use super::json::{self, Object};
use super::patterns;
use super::piece::{Piece, Rank};
use crate::document::Refusal;
use crate::verdict::Verdict;

pub(super) fn read(text: &str) -> Result<Vec<Piece>, Refusal> {
    // LuLu does not escape quotes and backslashes in paths.
    let value = json::parse(text).map_err(|refusal| Refusal {
        hint: Some("LuLu writes no valid JSON where a path holds a quote or a backslash: repair that place".to_owned()),
        ..refusal
    })?;
    let keys = value
        .as_object()
        .ok_or_else(|| json::not_this("an export of LuLu"))?;
    let mut pieces = Vec::new();
    for (key, rules) in keys {
        let rules = rules
            .as_array()
            .ok_or_else(|| json::not_this("an export of LuLu"))?;
        pieces.extend(
            rules
                .iter()
                .enumerate()
                .map(|(at, rule)| read_rule(key, at, rule)),
        );
    }
    Ok(pieces)
}

fn read_rule(key: &str, at: usize, value: &Value) -> Piece {
    let mut piece = Piece::new(key, format!("{key}[{at}]"), Verdict::Block);
    piece.rank.class = (u8::MAX, u8::MAX);
    let Some(object) = Object::of(value) else {
        return piece.refused("the rule is no object");
    };
    let program = Program::of(key);
    let read = match rule(&mut piece, &object, &program) {
        Ok(drafts) => piece.with(Ok(drafts)),
        Err(reason) => piece.refused(reason),
    };
    if read.drafts.is_ok() {
        return read;
    }
    // Another program has another key.
    let apps = match program {
        Program::File(path) => Some(vec![path]),
        Program::Signed => Some(vec![format!("signed {key}")]),
        Program::Any | Program::Folder(_) => None,
    };
    Piece { apps, ..read }
}

/// Which programs a key stands for.
enum Program {
    Any,
    /// All in this folder.
    Folder(String),
    /// Unsigned, by its path.
    File(String),
    /// By its signature.
    Signed,
}

impl Program {
    fn of(key: &str) -> Self {
        if key == "*" {
            return Self::Any;
        }
        match key.strip_suffix("/*") {
            Some(folder) if key.starts_with('/') => Self::Folder(patterns::literal(folder)),
            _ if key.starts_with('/') => Self::File(patterns::literal(key)),
            _ => Self::Signed,
        }
    }
}

fn rule(piece: &mut Piece, object: &Object<'_>, program: &Program) -> Result<Vec<Draft>, String> {
    object.pass_over(&[
        "key",
        "uuid",
        "path",
        "type",
        "creation",
        "csInfo",
        "endpointHost",
    ]);
    let name = object.text("name")?.unwrap_or_default().to_owned();
    piece.action = match object.number("action")? {
        Some(0) => Verdict::Block,
        Some(1) => Verdict::Allow,
        _ => return Err("no action, or an unknown one".to_owned()),
    };
    piece.disabled = object.flag("isDisabled")?;
    let address = object.text("endpointAddr")?.ok_or("no endpointAddr")?;
    let port = object.value("endpointPort")?.ok_or("no endpointPort")?;
    let port = port
        .as_str()
        .map_or_else(|| port.to_string(), str::to_owned);
    let scope = object.number("scope")?.unwrap_or(0);
    let named = u8::from(address != "*") + u8::from(port != "*");
    let set = match (program, scope) {
        (Program::Any, _) => 0,
        (Program::Folder(_), _) => 1,
        (Program::File(_) | Program::Signed, 2) => 2,
        (Program::File(_) | Program::Signed, _) => 3,
    };
    piece.rank = Rank {
        class: (named, set),
        parts: Vec::new(),
    };
    let name = if name.is_empty() {
        piece.label.clone()
    } else {
        name
    };
    piece.label = format!("{name} to {address}:{port}");
    let mut draft = Draft::new(&piece.label, piece.action);
    let kind = object.value("isEndpointAddrRegex")?;
    draft.to = endpoint(piece, address, kind, object.number("isEndpointAddrRegex")?)?;
    // It judges TCP and UDP only.
    draft.port = vec![match port.as_str() {
        "*" => "*".to_owned(),
        port => patterns::ports(port, '\0')?,
    }];
    if object.value("expiration")?.is_some() {
        piece.without("it expires")?;
    }
    if object.value("pid")?.is_some() {
        piece.without("it is about one process only")?;
    }
    if scope > 2 {
        return Err(format!("unknown scope {scope}"));
    }
    if let Some(key) = object.unknown() {
        piece.without(format!("unknown key `{key}`"))?;
    }
    programs(piece, program, scope, draft)
}

fn programs(
    piece: &mut Piece,
    program: &Program,
    scope: u64,
    mut draft: Draft,
) -> Result<Vec<Draft>, String> {
    let path = match program {
        Program::Any => return Ok(vec![draft]),
        Program::Signed => {
            return Err(
                "it is about a code signature, which no condition of ours means".to_owned(),
            );
        }
        // Whether folders within are meant too is not said.
        Program::Folder(folder) if piece.allows() => format!("{folder}/*"),
        Program::Folder(folder) => format!("{folder}/**"),
        Program::File(path) => path.clone(),
    };
    let mut started = draft.clone();
    draft.app_text("path", vec![path.clone()]);
    if scope != 2 {
        return Ok(vec![draft]);
    }
    started.app_text("parent", vec![path]);
    Ok(vec![draft, started])
}

fn endpoint(
    piece: &Piece,
    address: &str,
    kind: Option<&Value>,
    number: Option<u64>,
) -> Result<Vec<String>, String> {
    if address == "*" {
        return Ok(Vec::new());
    }
    match number.unwrap_or(0) {
        0 => patterns::net(address)
            .or_else(|_| patterns::exact_name(address))
            .map(|to| vec![to]),
        1 if !piece.allows() => {
            Err("a regular expression may mean addresses of pages, which we do not see".to_owned())
        }
        // Older exports hold true, for an expression that is found anywhere: the whole name is less.
        1 => {
            patterns::small_regex(address)?;
            let open = address.trim_start_matches('^').trim_end_matches('$');
            let simple = patterns::simple_name_regex(&format!("^{open}$"));
            let whole = || patterns::name_regex(&format!("^(?:{address})$"));
            Ok(vec![simple.map_or_else(whole, Ok)?])
        }
        2 => Ok(vec![patterns::net_or_range(address)?]),
        3 => match address.strip_prefix("*.") {
            Some(name) if !name.contains(['*', '?']) => Ok(vec![patterns::below_name(name)?]),
            _ => Err(format!(
                "the pattern \"{address}\" may mean less or more here"
            )),
        },
        _ => Err(format!(
            "unknown kind of address {}",
            kind.map(ToString::to_string).unwrap_or_default()
        )),
    }
}
