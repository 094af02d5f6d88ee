//! Clash and mihomo: the payload of a rule provider, as YAML or as text, of any behaviour.
//!
//! The rules say what is meant, not what is done with it. A line is a name (`+.example.com`), a network, or a rule of the
//! classical form (`DOMAIN-SUFFIX,example.com`).

use super::draft::{Draft, Values};
use super::patterns;
use super::piece::Piece;
use super::sing_box::keyword;
use super::yaml;
use crate::document::Refusal;
use crate::verdict::Verdict;

pub(super) fn read(text: &str, action: Verdict) -> Result<Vec<Piece>, Refusal> {
    let lines = payload(text)?;
    let mut pieces = Vec::new();
    // What names an other end alone is put into one rule.
    let mut gathered = Piece::new("names and networks", "payload", action);
    let mut plain = Draft::new("names and networks", action);
    for (number, line) in lines {
        let mut piece = Piece::new(&line, format!("line {number}"), action);
        match meaning(&mut piece, &line) {
            Ok(draft) if is_destination(&draft) && piece.narrowed.is_empty() => {
                let piece = piece.with(Ok(vec![draft]));
                if let Ok(drafts) = &piece.drafts {
                    plain
                        .to
                        .extend(drafts.iter().flat_map(|draft| draft.to.clone()));
                } else {
                    pieces.push(piece);
                }
            }
            Ok(draft) => pieces.push(piece.with(Ok(vec![draft]))),
            Err(reason) => pieces.push(piece.refused(reason)),
        }
    }
    if !plain.to.is_empty() {
        gathered.lines = plain.to.len();
        pieces.insert(0, gathered.with(Ok(vec![plain])));
    }
    Ok(pieces)
}

fn is_destination(draft: &Draft) -> bool {
    let others = Draft {
        to: Vec::new(),
        ..draft.clone()
    };
    others.is_everything() && !draft.to.is_empty()
}

/// The entries with the numbers of their lines.
fn payload(text: &str) -> Result<Vec<(usize, String)>, Refusal> {
    let is_yaml = text.lines().any(|line| line.trim_end() == "payload:");
    if is_yaml {
        return yaml::list_under(text, "payload");
    }
    let lines = text.lines().map(str::trim).enumerate();
    let entries = lines.filter(|(_, line)| {
        !line.is_empty() && !line.starts_with(['#', ';']) && !line.starts_with("//")
    });
    Ok(entries
        .map(|(at, line)| (at + 1, line.to_owned()))
        .collect())
}

fn meaning(piece: &mut Piece, line: &str) -> Result<Draft, String> {
    let mut draft = Draft::new(line, piece.action);
    if !line.contains(',') {
        draft.to.push(name_or_net(line)?);
        return Ok(draft);
    }
    let mut parts = line.split(',').map(str::trim);
    let kind = parts.next().unwrap_or_default();
    if ["AND", "OR", "NOT"].contains(&kind) {
        return Err("rules within rules".to_owned());
    }
    let value = parts.next().unwrap_or_default();
    match parts.find(|part| *part != "no-resolve") {
        None => {}
        Some("src") => return Err("it is about the source address".to_owned()),
        Some(other) => return Err(format!("\"{other}\" has no place in a rule set")),
    }
    match kind {
        "DOMAIN" => draft.to.push(patterns::exact_name(value)?),
        "DOMAIN-SUFFIX" => draft.to.push(patterns::name_and_below(value)?),
        "DOMAIN-KEYWORD" => draft.to.push(keyword(value)?),
        "DOMAIN-REGEX" => draft.to.push(patterns::name_regex(value)?),
        "IP-CIDR" | "IP-CIDR6" => draft.to.push(net(value)?),
        "IP-ASN" => draft.to.push(format!("as:{value}")),
        "GEOIP" if value.eq_ignore_ascii_case("lan") => {
            return Err("what the LAN is differs here: write lan, link-local, loopback".to_owned());
        }
        "GEOIP" => draft
            .to
            .push(format!("country:{}", value.to_ascii_uppercase())),
        "DST-PORT" => {
            let ports = value.split('/').map(|part| patterns::ports(part, '-'));
            draft.port = ports.collect::<Result<_, _>>()?;
        }
        "NETWORK" => draft.port.push(match value.to_ascii_lowercase().as_str() {
            network @ ("tcp" | "udp") => format!("{network}/*"),
            other => return Err(format!("unknown network \"{other}\"")),
        }),
        "PROCESS-NAME" => draft.app_text("name", program(piece, value)),
        "PROCESS-PATH" if value.starts_with('/') => draft.app_text("path", program(piece, value)),
        "UID" => {
            let uid = value
                .parse()
                .map_err(|_| format!("\"{value}\" is no user's number"))?;
            draft.app.push(("uid", Values::Numbers(vec![uid])));
        }
        other => return Err(format!("there is no condition like {other}")),
    }
    Ok(draft)
}

/// Compared without regard to case in the original.
fn program(piece: &Piece, value: &str) -> Vec<String> {
    if piece.allows() {
        vec![patterns::literal(value)]
    } else {
        patterns::folded(value)
    }
}

fn net(value: &str) -> Result<String, String> {
    if !value.contains('/') {
        return Err(format!("\"{value}\" has no length of a prefix"));
    }
    patterns::net(value)
}

/// An entry of a provider whose behaviour is `domain` or `ipcidr`.
fn name_or_net(text: &str) -> Result<String, String> {
    if text.contains('/') || text.parse::<std::net::IpAddr>().is_ok() {
        return patterns::net(text);
    }
    let text = text.to_ascii_lowercase();
    if let Some(name) = text.strip_prefix("+.") {
        return patterns::name_and_below(name);
    }
    if let Some(name) = text.strip_prefix('.') {
        return patterns::below_name(name);
    }
    if !text.contains('*') {
        return patterns::exact_name(&text);
    }
    // A star stands for exactly one label.
    let label = |label: &str| match label {
        "*" => Some("[^.]+".to_owned()),
        label if label.contains('*') || label.is_empty() => None,
        label => {
            let plain = label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
            plain.then(|| label.to_owned())
        }
    };
    let labels: Option<Vec<String>> = text.split('.').map(label).collect();
    let labels = labels.ok_or_else(|| format!("\"{text}\" is no name"))?;
    patterns::name_regex(&format!("^{}$", labels.join("\\.")))
}
