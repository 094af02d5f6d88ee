//! Little Snitch: `.lsrules`, JSON.
//!
//! The most special rule decides: by priority, then by the kind of server that it names, then by the rest. Of rules
//! that cannot be compared so, those that deny are put first here.

use serde_json::Value;

use super::draft::Draft;
use super::json::{self, Object};
use super::patterns;
use super::piece::{Part, Piece, Rank};
use crate::document::Refusal;
use crate::verdict::Verdict;

/// The short form of rules that deny: key, and the key of a rule that it stands for.
const SHORT: [(&str, &str); 3] = [
    ("denied-remote-domains", "remote-domains"),
    ("denied-remote-hosts", "remote-hosts"),
    ("denied-remote-addresses", "remote-addresses"),
];

pub(super) fn read(text: &str) -> Result<Vec<Piece>, Refusal> {
    let value = json::parse(text)?;
    let object =
        Object::of(&value).ok_or_else(|| json::not_this("a group of Little Snitch rules"))?;
    object.pass_over(&["name", "description", "denied-remote-notes"]);
    let mut pieces = Vec::new();
    match object.value("rules") {
        Ok(Some(Value::Array(rules))) => {
            let rules = rules.iter().enumerate();
            pieces.extend(rules.map(|(at, rule)| read_rule(at, rule)));
        }
        Ok(None) => {}
        Ok(Some(_)) | Err(_) => return Err(json::not_this("a group of Little Snitch rules")),
    }
    for (key, stands_for) in SHORT {
        pieces.extend(short(&object, key, stands_for));
    }
    if let Some(key) = object.unknown() {
        let piece = Piece::new(key, key, Verdict::Block);
        pieces.push(piece.refused("a key that we do not know, which may deny something"));
    }
    Ok(pieces)
}

fn short(object: &Object<'_>, key: &'static str, stands_for: &str) -> Option<Piece> {
    let mut piece = Piece::new(key, key, Verdict::Block);
    let texts = match object.texts(key) {
        Ok(texts) => texts?,
        Err(reason) => return Some(piece.refused(reason)),
    };
    let mut draft = Draft::new(key, Verdict::Block);
    piece.rank.class = (0, server_rank(stands_for));
    let mut wrong = 0;
    for text in texts {
        match destinations(stands_for, text) {
            Ok(values) => draft.to.extend(values),
            Err(_) => wrong += 1,
        }
    }
    if wrong > 0 || draft.to.is_empty() {
        return Some(piece.refused(format!("{wrong} of its values are no names or addresses")));
    }
    Some(piece.with(Ok(vec![draft])))
}

fn read_rule(at: usize, value: &Value) -> Piece {
    let place = format!("rules[{at}]");
    let mut piece = Piece::new(&place, &place, Verdict::Block);
    // Until it is known how it ranks, it may come before all.
    piece.rank.class = (u8::MAX, u8::MAX);
    let Some(object) = Object::of(value) else {
        return piece.refused("the rule is no object");
    };
    match rule(&mut piece, &object) {
        Ok(drafts) => piece.with(Ok(drafts)),
        Err(reason) => piece.refused(reason),
    }
}

fn rule(piece: &mut Piece, object: &Object<'_>) -> Result<Vec<Draft>, String> {
    object.pass_over(&["creationDate", "modificationDate"]);
    if let Ok(Some(notes)) = object.text("notes") {
        piece.label = notes.lines().next().unwrap_or_default().to_owned();
    }
    let action = object.text("action")?.unwrap_or("ask");
    let high = match object.text("priority")? {
        None | Some("regular" | "default") => 0,
        Some("high") => 1,
        Some(other) => return Err(format!("unknown priority \"{other}\"")),
    };
    piece.action = match action {
        "allow" => Verdict::Allow,
        "deny" | "ask" => Verdict::Block,
        other => return Err(format!("unknown action \"{other}\"")),
    };
    piece.disabled = object.flag("disabled")?;
    let mut draft = Draft::new(&piece.label, piece.action);
    let (server, within) = server(piece, object, &mut draft)?;
    let ports = object.text("ports")?.unwrap_or("any");
    let protocol = object
        .value("protocol")?
        .map_or_else(|| "any".to_owned(), as_text);
    let direction = object.text("direction")?.unwrap_or("outgoing");
    let process = object.text("process")?.filter(|process| *process != "any");
    let via = object.text("via")?;
    if piece.label.starts_with("rules[") {
        piece.label = format!("{action} {} {}", process.unwrap_or("any"), within);
        draft.name = Draft::new(&piece.label, piece.action).name;
    }
    piece.rank = Rank {
        class: (high, server_rank(server)),
        parts: [
            process.unwrap_or("any"),
            via.unwrap_or("any"),
            &within,
            ports,
            &protocol,
        ]
        .map(|part| {
            if part == "any" {
                Part::Any
            } else {
                Part::Is(part.to_owned())
            }
        })
        .into(),
    };
    match direction {
        "outgoing" => {}
        "incoming" => draft.inbound = true,
        other => return Err(format!("unknown direction \"{other}\"")),
    }
    service(piece, ports, &protocol, &mut draft)?;
    match object.text("owner")? {
        None | Some("any") => {}
        Some(owner) => piece.without(format!("it is about processes of the owner \"{owner}\""))?,
    }
    if let Some(key) = object.unknown() {
        piece.without(format!("unknown key `{key}`"))?;
    }
    if action == "ask" {
        piece
            .narrowed
            .push("it asks, and here it blocks".to_owned());
    }
    programs(piece, process, via, draft)
}

fn as_text(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// The rules for the process that connects, and where it blocks, for what it starts too.
fn programs(
    piece: &mut Piece,
    process: Option<&str>,
    via: Option<&str>,
    mut draft: Draft,
) -> Result<Vec<Draft>, String> {
    let mut path = |name: Option<&str>| -> Result<Option<String>, String> {
        match name {
            None => Ok(None),
            Some(path) if path.starts_with('/') => Ok(Some(patterns::literal(path))),
            Some(other) => piece
                .without(format!("it is about the code signature \"{other}\""))
                .map(|()| None),
        }
    };
    let (process, via) = (path(process)?, path(via)?);
    match (process, via) {
        (None, None) => Ok(vec![draft]),
        (None, Some(via)) => {
            draft.app_text("path", vec![via]);
            Ok(vec![draft])
        }
        (Some(process), Some(via)) => {
            draft.app_text("path", vec![via]);
            draft.app_text("parent", vec![process]);
            Ok(vec![draft])
        }
        (Some(process), None) => {
            let mut started = draft.clone();
            draft.app_text("path", vec![process.clone()]);
            if piece.allows() {
                return Ok(vec![draft]);
            }
            started.app_text("parent", vec![process]);
            Ok(vec![draft, started])
        }
    }
}

/// The key that says which servers are meant, and a text that two rules share if they mean the same.
fn server(
    piece: &mut Piece,
    object: &Object<'_>,
    draft: &mut Draft,
) -> Result<(&'static str, String), String> {
    let mut found = None;
    for key in ["remote-hosts", "remote-domains", "remote-addresses"] {
        let Some(texts) = object.texts(key)? else {
            continue;
        };
        if found.is_some() {
            return Err("two keys that say which servers are meant".to_owned());
        }
        for text in &texts {
            draft.to.extend(destinations(key, text)?);
        }
        let mut sorted = draft.to.clone();
        sorted.sort_unstable();
        found = Some((key, sorted.join(",")));
    }
    let Some(remote) = object.text("remote")? else {
        return Ok(found.unwrap_or(("any", "any".to_owned())));
    };
    if found.is_some() {
        return Err("two keys that say which servers are meant".to_owned());
    }
    let to: &[&str] = match remote {
        "any" => return Ok(("any", "any".to_owned())),
        "multicast" => &["224.0.0.0/4", "ff00::/8"],
        "bonjour" => &["224.0.0.251", "ff02::fb"],
        "local-net" if piece.allows() => {
            piece
                .narrowed
                .push("which networks are local is not known here: link-local only".to_owned());
            &["link-local"]
        }
        "broadcast" if piece.allows() => {
            piece
                .narrowed
                .push("the networks' own broadcast addresses are not known here".to_owned());
            &["255.255.255.255"]
        }
        "local-net" | "broadcast" | "dns-servers" | "bpf" => {
            return Err(format!("what \"{remote}\" is depends on the machine"));
        }
        other => return Err(format!("unknown servers \"{other}\"")),
    };
    draft.to.extend(to.iter().map(ToString::to_string));
    let key = ["multicast", "bonjour", "local-net", "broadcast"];
    let key = key.into_iter().find(|key| *key == remote).unwrap_or("any");
    Ok((key, remote.to_owned()))
}

/// What the manual ranks higher.
fn server_rank(key: &str) -> u8 {
    match key {
        "remote-addresses" => 8,
        "remote-hosts" => 7,
        "remote-domains" => 6,
        "dns-servers" => 5,
        "broadcast" => 4,
        "multicast" => 3,
        "bonjour" => 2,
        "local-net" => 1,
        _ => 0,
    }
}

fn destinations(key: &str, text: &str) -> Result<Vec<String>, String> {
    match key {
        "remote-hosts" => Ok(vec![patterns::exact_name(text)?]),
        "remote-domains" => Ok(vec![patterns::name_and_below(text)?]),
        _ => text
            .split(',')
            .map(|part| patterns::net_or_range(part.trim()))
            .collect(),
    }
}

fn service(
    piece: &mut Piece,
    ports: &str,
    protocol: &str,
    draft: &mut Draft,
) -> Result<(), String> {
    let listed: Vec<String> = match ports {
        "any" => Vec::new(),
        ports => {
            let parts = ports
                .split(',')
                .map(|part| patterns::ports(part.trim(), '-'));
            parts.collect::<Result<_, _>>()?
        }
    };
    let with = |name: &str| -> Vec<String> {
        match &listed[..] {
            [] => vec![format!("{name}/*")],
            ports => ports.iter().map(|port| format!("{name}/{port}")).collect(),
        }
    };
    draft.port = match protocol.to_ascii_lowercase().as_str() {
        "any" => listed,
        "tcp" | "6" => with("tcp"),
        "udp" | "17" => with("udp"),
        _ if !listed.is_empty() => return Err("ports of a protocol that has none".to_owned()),
        "icmp" | "1" => {
            draft.to_not.push("::/0".to_owned());
            vec!["icmp".to_owned()]
        }
        "icmpv6" | "58" => {
            draft.to_not.push("0.0.0.0/0".to_owned());
            vec!["icmp".to_owned()]
        }
        other => match other.parse::<u8>() {
            Ok(number) => vec![format!("ip/{number}")],
            Err(_) => {
                piece.without(format!("unknown protocol \"{other}\""))?;
                Vec::new()
            }
        },
    };
    Ok(())
}
