//! OpenSnitch: one JSON object for each rule.
//!
//! Its rules are sorted by name. The first that denies, rejects or has precedence ends the search; else the last that
//! allows decides.

use std::cmp::Reverse;

use serde_json::Value;

use super::draft::{Draft, Values};
use super::json::{self, Object};
use super::patterns;
use super::piece::{Piece, Rank};
use crate::document::Refusal;
use crate::verdict::Verdict;

/// Ranks of rules that end the search, and of those that do not.
const ENDS: (u8, u8) = (1, 0);
const GOES_ON: (u8, u8) = (0, 0);

pub(super) fn read(file: &str, text: &str) -> Result<Vec<Piece>, Refusal> {
    let value = json::parse(text)?;
    let one = |(at, value): (usize, &Value)| {
        let place = match at {
            0 => file.to_owned(),
            at => format!("{file}[{at}]"),
        };
        read_rule(&place, value)
    };
    match &value {
        Value::Array(rules) => Ok(rules.iter().enumerate().map(one).collect()),
        Value::Object(_) => Ok(vec![one((0, &value))]),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            Err(json::not_this("a rule of OpenSnitch"))
        }
    }
}

/// Those that end the search by their names, then those that allow, the last first.
pub(super) fn in_order(mut pieces: Vec<Piece>) -> Vec<Piece> {
    pieces.sort_by(|one, other| one.label.as_bytes().cmp(other.label.as_bytes()));
    let (ending, mut others): (Vec<_>, Vec<_>) = pieces
        .into_iter()
        .partition(|piece| piece.rank.class == ENDS);
    others.reverse();
    others.sort_by_key(|piece| Reverse(piece.rank.class));
    ending.into_iter().chain(others).collect()
}

fn read_rule(place: &str, value: &Value) -> Piece {
    // Until it is known what the rule does, it must be taken to block.
    let mut piece = Piece::new(place, place, Verdict::Drop);
    piece.rank.class = ENDS;
    let Some(object) = Object::of(value) else {
        return piece.refused("the rule is no object");
    };
    match rule(&mut piece, &object) {
        Ok(drafts) => piece.with(Ok(drafts)),
        Err(reason) => piece.refused(reason),
    }
}

fn rule(piece: &mut Piece, object: &Object<'_>) -> Result<Vec<Draft>, String> {
    object.pass_over(&["created", "updated", "description", "nolog"]);
    if let Some(name) = object.text("name")? {
        piece.label = name.to_owned();
    }
    let precedence = object.flag("precedence")?;
    piece.action = match object.text("action")? {
        Some("allow") => Verdict::Allow,
        Some("deny") => Verdict::Drop,
        Some("reject") => Verdict::Block,
        Some(other) => return Err(format!("unknown action \"{other}\"")),
        None => return Err("no action".to_owned()),
    };
    let class = if precedence || !piece.allows() {
        ENDS
    } else {
        GOES_ON
    };
    piece.rank = Rank {
        class,
        parts: Vec::new(),
    };
    piece.disabled = !object.flag("enabled")?;
    match object.text("duration")? {
        Some("always") | None => {}
        Some(other) => piece.without(format!("it lasts \"{other}\", not always"))?,
    }
    let operator = object.value("operator")?.ok_or("no operator")?;
    if let Some(key) = object.unknown() {
        piece.without(format!("unknown key `{key}`"))?;
    }
    let mut conditions = Conditions::new(Draft::new(&piece.label, piece.action));
    for operator in operators(operator)? {
        if let Err(reason) = conditions.add(&operator, piece) {
            piece.without(reason)?;
        }
    }
    conditions.finish(piece).map(|draft| vec![draft])
}

/// One condition.
struct Operator<'v> {
    kind: &'v str,
    operand: &'v str,
    data: &'v str,
    sensitive: bool,
}

/// The conditions, all of which must hold: one, or those of a list.
fn operators(value: &Value) -> Result<Vec<Operator<'_>>, String> {
    let object = Object::of(value).ok_or("the operator is no object")?;
    if object.text("type")? != Some("list") {
        return Ok(vec![operator(value)?]);
    }
    let Some(Value::Array(list)) = value.get("list") else {
        return Err("a list of conditions that is not there".to_owned());
    };
    if list.is_empty() {
        return Err("an empty list of conditions".to_owned());
    }
    list.iter().map(operator).collect()
}

fn operator(value: &Value) -> Result<Operator<'_>, String> {
    let object = Object::of(value).ok_or("the operator is no object")?;
    let operator = Operator {
        kind: object.text("type")?.ok_or("an operator without type")?,
        operand: object
            .text("operand")?
            .ok_or("an operator without operand")?,
        data: object.text("data")?.unwrap_or_default(),
        sensitive: object.flag("sensitive")?,
    };
    // Null stands here in every rule that has no list.
    object.pass_over(&["list"]);
    match object.unknown() {
        Some(key) => Err(format!("unknown key `{key}` of an operator")),
        None => Ok(operator),
    }
}

/// Protocols as OpenSnitch names them: ours, and whether it is of IPv6.
const PROTOCOLS: [(&str, &str, bool); 10] = [
    ("tcp", "tcp/", false),
    ("tcp6", "tcp/", true),
    ("udp", "udp/", false),
    ("udp6", "udp/", true),
    ("udplite", "ip/136", false),
    ("udplite6", "ip/136", true),
    ("sctp", "ip/132", false),
    ("sctp6", "ip/132", true),
    ("icmp", "icmp", false),
    ("icmp6", "icmp", true),
];

/// The conditions of one rule as ours.
struct Conditions {
    draft: Draft,
    ports: Option<Vec<String>>,
    /// Positions in [`PROTOCOLS`].
    protocols: Option<Vec<usize>>,
}

impl Conditions {
    fn new(draft: Draft) -> Self {
        Self {
            draft,
            ports: None,
            protocols: None,
        }
    }

    /// Adds a condition; the error says what cannot be said.
    fn add(&mut self, operator: &Operator<'_>, piece: &mut Piece) -> Result<(), String> {
        let Operator {
            kind,
            operand,
            data,
            ..
        } = *operator;
        match (operand, kind) {
            ("true", "simple") => Ok(()),
            ("process.path", "simple" | "regexp") => self.path("path", operator, piece),
            ("process.parent.path", "simple" | "regexp") => self.path("parent", operator, piece),
            ("user.id", "simple") => {
                let uid = data
                    .parse()
                    .map_err(|_| format!("\"{data}\" is no user's number"))?;
                self.app("uid", Values::Numbers(vec![uid]))
            }
            ("user.name", "simple") => self.app("user", Values::Texts(vec![data.to_owned()])),
            ("dest.host", "simple") if data.is_empty() => {
                Err("no condition means that there is no name".to_owned())
            }
            ("dest.host", "simple")
                if operator.sensitive && data.contains(|c: char| c.is_ascii_uppercase()) =>
            {
                Err(format!("no name is written \"{data}\""))
            }
            ("dest.host", "simple") => self.to(patterns::exact_name(data)?),
            ("dest.host", "regexp") => {
                // OpenSnitch lowers the expression itself, `\S` to `\s` too.
                let pattern = match operator.sensitive {
                    true => data.to_owned(),
                    false => data.to_lowercase(),
                };
                self.to(patterns::name_regex(&pattern)?)
            }
            ("dest.ip", "simple") => self.to(patterns::net(data)?),
            ("dest.network", "network" | "simple") if data.contains('/') => {
                self.to(patterns::net(data)?)
            }
            ("dest.network", "network") => Err(format!(
                "what the alias \"{data}\" stands for is in another file"
            )),
            ("dest.port", "simple") => self.port(vec![patterns::ports(data, '\0')?]),
            ("dest.port", "range") => {
                let data: String = data
                    .chars()
                    .filter(|letter| !letter.is_whitespace())
                    .collect();
                self.port(vec![patterns::ports(&data, '-')?])
            }
            ("dest.port", "regexp") => self.port(patterns::ports_of_regex(&lowered(operator))?),
            ("protocol", "simple" | "regexp") => self.protocol(operator),
            _ => Err(format!("there is no condition like {operand} ({kind})")),
        }
    }

    fn path(
        &mut self,
        key: &'static str,
        operator: &Operator<'_>,
        piece: &mut Piece,
    ) -> Result<(), String> {
        let Operator {
            kind,
            data,
            sensitive,
            ..
        } = *operator;
        if self.draft.has_app(key) {
            return Err(format!("{} twice", operator.operand));
        }
        let texts = if kind == "simple" {
            if !data.starts_with('/') {
                return Err(format!("\"{data}\" is no path"));
            }
            match piece.allows() || sensitive {
                true => vec![patterns::literal(data)],
                false => patterns::folded(data),
            }
        } else if piece.allows() {
            let within = patterns::within_path_regex(data)?;
            if !within.exact {
                piece
                    .narrowed
                    .push(format!("wildcards stand for less than \"{data}\""));
            }
            within.patterns
        } else {
            let around = patterns::around_path_regex(data, !sensitive)?;
            if !around.exact {
                piece
                    .narrowed
                    .push(format!("it blocks all that begins like \"{data}\""));
            }
            around.patterns
        };
        self.app(key, Values::Texts(texts))
    }

    fn app(&mut self, key: &'static str, values: Values) -> Result<(), String> {
        if self.draft.has_app(key) {
            return Err(format!("two conditions on {key}, which must both hold"));
        }
        self.draft.app.push((key, values));
        Ok(())
    }

    fn to(&mut self, to: String) -> Result<(), String> {
        if !self.draft.to.is_empty() {
            return Err("two conditions on the destination, which must both hold".to_owned());
        }
        self.draft.to.push(to);
        Ok(())
    }

    fn port(&mut self, ports: Vec<String>) -> Result<(), String> {
        if self.ports.is_some() {
            return Err("two conditions on the port, which must both hold".to_owned());
        }
        self.ports = Some(ports);
        Ok(())
    }

    fn protocol(&mut self, operator: &Operator<'_>) -> Result<(), String> {
        if self.protocols.is_some() {
            return Err("two conditions on the protocol, which must both hold".to_owned());
        }
        let regex = match operator.kind {
            "regexp" => Some(patterns::small_regex(&lowered(operator))?),
            _ => None,
        };
        let matches = |name: &str| match &regex {
            Some(regex) => regex.is_match(name.as_bytes()),
            None if operator.sensitive => name == operator.data,
            None => name.eq_ignore_ascii_case(operator.data),
        };
        let chosen: Vec<usize> = (0..PROTOCOLS.len())
            .filter(|at| matches(PROTOCOLS[*at].0))
            .collect();
        if chosen.is_empty() {
            return Err(format!("\"{}\" is no protocol that we know", operator.data));
        }
        self.protocols = Some(chosen);
        Ok(())
    }

    /// Protocol and port together, and the address family that the protocol's name implies.
    fn finish(mut self, piece: &mut Piece) -> Result<Draft, String> {
        if let Some(chosen) = self.protocols.take() {
            let of = |six: bool| -> Vec<&str> {
                let family = chosen.iter().filter(|at| PROTOCOLS[**at].2 == six);
                family.map(|at| PROTOCOLS[*at].1).collect()
            };
            let (four, six) = (of(false), of(true));
            let ports = self.ports.clone();
            match (&four[..], &six[..]) {
                (both, other) if both == other => {}
                (_, []) => self.draft.to_not.push("::/0".to_owned()),
                ([], _) => self.draft.to_not.push("0.0.0.0/0".to_owned()),
                _ => piece.without("protocols of one address family beside others of both")?,
            }
            let mut wanted = four;
            wanted.extend(
                six.iter()
                    .filter(|own| !wanted.contains(own))
                    .copied()
                    .collect::<Vec<_>>(),
            );
            for protocol in wanted {
                self.draft
                    .port
                    .extend(with_ports(protocol, ports.as_deref(), piece.allows()));
            }
            if self.draft.port.is_empty() {
                return Err("the protocol has no ports".to_owned());
            }
        } else if let Some(ports) = self.ports.take() {
            self.draft.port = ports;
            if !piece.allows() {
                // SCTP and UDP-Lite have ports that we do not see.
                self.draft
                    .port
                    .extend(["ip/132".to_owned(), "ip/136".to_owned()]);
                piece
                    .narrowed
                    .push("SCTP and UDP-Lite are blocked on every port".to_owned());
            }
        }
        Ok(self.draft)
    }
}

/// A protocol with its ports, as `port` holds it. Where we see no ports, all are blocked and none is allowed.
fn with_ports(protocol: &str, ports: Option<&[String]>, allows: bool) -> Vec<String> {
    match (protocol.strip_suffix('/'), ports) {
        (Some(name), None) => vec![format!("{name}/*")],
        (Some(name), Some(ports)) => ports.iter().map(|port| format!("{name}/{port}")).collect(),
        (None, None) => vec![protocol.to_owned()],
        (None, Some(_)) if allows || protocol == "icmp" => Vec::new(),
        (None, Some(_)) => vec![protocol.to_owned()],
    }
}

/// The expression as OpenSnitch compiles it.
fn lowered(operator: &Operator<'_>) -> String {
    match operator.sensitive {
        true => operator.data.to_owned(),
        false => operator.data.to_lowercase(),
    }
}
