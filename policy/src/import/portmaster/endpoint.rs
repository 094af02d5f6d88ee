//! One rule of Portmaster: `+ .example.com TCP/443`.

use serde_json::Value;

use super::draft;
use crate::import::draft::Draft;
use crate::import::patterns;
use crate::import::piece::Piece;
use crate::verdict::Verdict;

/// Addresses that Portmaster calls invalid, or may, and so not of the Internet.
const INVALID: [&str; 5] = [
    "192.0.2.0/24",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "240.0.0.0/4",
    "2001:db8::/32",
];

/// Reads a line. `places` are those that lines before it ask for: where these cannot be told, Portmaster refuses the
/// flow, so whatever is allowed behind them must be known not to lie there.
pub(super) fn read(
    value: &Value,
    place: &str,
    inbound: bool,
    app: Option<&[String]>,
    places: &mut Vec<String>,
) -> Piece {
    let Some(line) = value.as_str() else {
        return Piece::new(place, place, Verdict::Block).refused("the rule is no text");
    };
    let rule = line.split('#').next().unwrap_or_default().trim();
    let mut words = rule.split_whitespace();
    let action = match words.next() {
        Some("+") => Verdict::Allow,
        Some("-") => Verdict::Block,
        _ => {
            return Piece::new(line, place, Verdict::Block).refused("neither + nor - stands first");
        }
    };
    let piece = Piece::new(line, place, action);
    let mut draft = draft(line, action, inbound, app);
    let entity = words.next().unwrap_or_default();
    let service = words.next();
    if words.next().is_some() {
        return piece.refused("something stands behind the port");
    }
    let read = entity_of(entity, action, &mut draft).and_then(|()| match service {
        Some(service) => service_of(service, &mut draft),
        None => Ok(()),
    });
    if action == Verdict::Allow {
        draft.to_not.extend(places.iter().cloned());
    }
    places.extend(draft.to.iter().filter(|to| is_place(to)).cloned());
    match read {
        Ok(()) => piece.with(Ok(vec![draft])),
        Err(reason) => piece.refused(reason),
    }
}

fn is_place(to: &str) -> bool {
    ["country:", "continent:", "as:"]
        .iter()
        .any(|kind| to.starts_with(kind))
}

fn entity_of(entity: &str, action: Verdict, draft: &mut Draft) -> Result<(), String> {
    let allows = action == Verdict::Allow;
    if entity == "*" {
        return Ok(());
    }
    if let Some(code) = entity.strip_prefix("C:") {
        draft.to.push(format!("continent:{code}"));
        return Ok(());
    }
    if entity.starts_with("L:") {
        return Err("its filter lists are not ours".to_owned());
    }
    if entity.len() == 2 && entity.bytes().all(|byte| byte.is_ascii_uppercase()) {
        draft.to.push(format!("country:{entity}"));
        return Ok(());
    }
    if let Some(number) = entity.strip_prefix("AS")
        && number.parse::<u32>().is_ok()
    {
        draft.to.push(format!("as:{number}"));
        return Ok(());
    }
    if scopes(entity, allows, draft) {
        return Ok(());
    }
    if entity.contains('/') || entity.parse::<std::net::IpAddr>().is_ok() {
        draft.to.push(patterns::net(entity)?);
        return Ok(());
    }
    draft.to = names(entity)?;
    Ok(())
}

/// `Localhost`, `LAN`, `Internet`, several joined by commas.
fn scopes(entity: &str, allows: bool, draft: &mut Draft) -> bool {
    let mut to = Vec::new();
    let mut internet = false;
    for scope in entity.split(',') {
        to.extend_from_slice(match scope.to_ascii_lowercase().as_str() {
            "localhost" if allows => &["127.0.0.0/8", "::1"],
            "localhost" => &["loopback"],
            "lan" if allows => &["lan", "link-local"],
            "lan" => &["lan", "link-local", "multicast"],
            "internet" => {
                internet = true;
                if allows {
                    &["internet"]
                } else {
                    &["internet", "multicast"][..]
                }
            }
            _ => return false,
        });
    }
    to.sort_unstable();
    to.dedup();
    draft.to = to.iter().map(ToString::to_string).collect();
    if internet && allows {
        draft.to_not.extend(INVALID.iter().map(ToString::to_string));
    }
    true
}

fn names(entity: &str) -> Result<Vec<String>, String> {
    if let Some(name) = entity.strip_prefix("*.")
        && !name.contains('*')
    {
        return Ok(vec![patterns::below_name(name)?]);
    }
    if !entity.contains('*') {
        return Ok(vec![match entity.strip_prefix('.') {
            Some(name) => patterns::name_and_below(name)?,
            None => patterns::exact_name(entity)?,
        }]);
    }
    let fixed = entity.strip_prefix('*').unwrap_or(entity);
    let fixed = fixed
        .strip_suffix('*')
        .unwrap_or(fixed)
        .to_ascii_lowercase();
    let in_names = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if fixed.is_empty() || !fixed.bytes().all(in_names) || fixed.bytes().all(|byte| byte == b'.') {
        return Err(format!("\"{entity}\" is no pattern of names"));
    }
    let mut names = vec![entity.to_ascii_lowercase()];
    // There, names end with a dot, which the pattern may stand for.
    if let Some(name) = entity
        .strip_suffix(".*")
        .filter(|name| !name.contains(['*', '.']))
    {
        names.push(patterns::exact_name(name)?);
    }
    Ok(names)
}

/// `TCP/443`, `*/53`, `UDP`, `6/80-90`.
fn service_of(service: &str, draft: &mut Draft) -> Result<(), String> {
    let (protocol, ports) = match service.split_once('/') {
        Some((protocol, ports)) => (protocol, Some(ports)),
        None => (service, None),
    };
    let ports = ports
        .filter(|ports| *ports != "*")
        .map(named_ports)
        .transpose()?;
    let all = ports.clone().unwrap_or_else(|| "*".to_owned());
    draft.port = match (protocol.to_ascii_uppercase().as_str(), &ports) {
        ("*", None) => Vec::new(),
        // Other protocols with ports are not seen by port here.
        ("*", Some(ports)) if draft.allows() => vec![ports.clone()],
        ("*", Some(ports)) => vec![ports.clone(), "ip/132".to_owned(), "ip/136".to_owned()],
        ("TCP" | "6", _) => vec![format!("tcp/{all}")],
        ("UDP" | "17", _) => vec![format!("udp/{all}")],
        ("ICMP" | "1", None) => {
            draft.to_not.push("::/0".to_owned());
            vec!["icmp".to_owned()]
        }
        ("ICMP6" | "ICMPV6" | "58", None) => {
            draft.to_not.push("0.0.0.0/0".to_owned());
            vec!["icmp".to_owned()]
        }
        (number, None) if number.parse::<u8>().is_ok() => vec![format!("ip/{number}")],
        (other, _) => {
            return Err(format!(
                "the protocol \"{other}\" is not known, or has no ports"
            ));
        }
    };
    Ok(())
}

/// Names of services that people write for ports.
const SERVICES: [(&str, &str); 10] = [
    ("HTTP", "80"),
    ("HTTPS", "443"),
    ("DNS", "53"),
    ("DOMAIN", "53"),
    ("SSH", "22"),
    ("SMTP", "25"),
    ("NTP", "123"),
    ("IMAPS", "993"),
    ("SUBMISSION", "587"),
    ("FTP", "21"),
];

fn named_ports(text: &str) -> Result<String, String> {
    let upper = text.to_ascii_uppercase();
    match SERVICES.iter().find(|(name, _)| *name == upper) {
        Some((_, port)) => Ok((*port).to_owned()),
        None => patterns::ports(text, '-'),
    }
}
