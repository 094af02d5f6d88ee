//! OpenSnitch: an object for each rule.

use serde_json::{Value, json};

use super::{Parts, Written, cannot, outbound, parts, plain, pretty};
use crate::destination::{Destination, NamePattern};
use crate::import::draft::Draft;
use crate::port::Port;
use crate::verdict::Verdict;

/// What a file's name takes of a rule's.
const LONGEST_SLUG: usize = 60;

pub(super) fn opensnitch(drafts: &[Draft]) -> Result<Vec<Written>, String> {
    let drafts = drafts.iter().enumerate();
    drafts.map(|(at, draft)| rule(at, draft)).collect()
}

fn rule(at: usize, draft: &Draft) -> Result<Written, String> {
    outbound(draft)?;
    let Parts { to, port, app } = parts(draft)?;
    let mut all = app
        .iter()
        .map(|(key, value)| program(key, value))
        .collect::<Result<Vec<_>, _>>()?;
    all.extend(to.as_ref().map(destination).transpose()?);
    all.extend(port.map(service).transpose()?.into_iter().flatten());
    let operator = match &all[..] {
        [] => condition("simple", "true", ""),
        [only] => only.clone(),
        several => {
            json!({"type": "list", "operand": "list", "data": "", "sensitive": true, "list": several})
        }
    };
    let action = match draft.action {
        Some(Verdict::Allow) => "allow",
        Some(Verdict::Block) => "reject",
        Some(Verdict::Ask | Verdict::Drop) | None => "deny",
    };
    // Names are the order; what allows must end the search as what refuses does.
    let plain = |letter: char| letter.is_ascii_alphanumeric();
    let letters = draft.name.chars().take(LONGEST_SLUG);
    let slug: String = letters
        .map(|letter| if plain(letter) { letter } else { '-' })
        .collect();
    let name = format!("{at:05}-{slug}");
    let rule = json!({"name": name, "enabled": true, "precedence": true, "nolog": false,
        "action": action, "duration": "always", "operator": operator});
    Ok(Written {
        name: format!("{name}.json"),
        text: pretty(&rule),
    })
}

fn condition(kind: &str, operand: &str, data: &str) -> Value {
    json!({"type": kind, "operand": operand, "data": data, "sensitive": true, "list": null})
}

fn program(key: &str, value: &str) -> Result<Value, String> {
    let operand = match key {
        "path" => "process.path",
        "parent" => "process.parent.path",
        "uid" => "user.id",
        "user" => "user.name",
        other => return Err(cannot(format!("`{other}` of `app`"))),
    };
    Ok(condition("simple", operand, plain(value)?))
}

fn destination(to: &Destination) -> Result<Value, String> {
    if let Destination::Net(net) = to {
        let is_host = net.prefix_len() == net.max_prefix_len();
        return Ok(match is_host {
            true => condition("simple", "dest.ip", &net.addr().to_string()),
            false => condition("network", "dest.network", &net.to_string()),
        });
    }
    let Destination::Name(pattern) = to else {
        return Err(cannot(to));
    };
    match pattern {
        NamePattern::Exact(name) => Ok(condition("simple", "dest.host", name.as_str())),
        NamePattern::Within(name) => {
            let escaped = name.as_str().replace('.', "\\.");
            let data = format!(r"^(|.*\.){escaped}$");
            Ok(condition("regexp", "dest.host", &data))
        }
        NamePattern::Below(_) | NamePattern::Glob(_) | NamePattern::Regex(_) => Err(cannot(to)),
    }
}

fn service(port: Port) -> Result<Vec<Value>, String> {
    let (protocol, first, last) = match port {
        Port::Tcp(first, last) => ("^tcp6?$", first, last),
        Port::Udp(first, last) => ("^udp6?$", first, last),
        Port::Icmp => ("^icmp6?$", 0, u16::MAX),
        Port::TcpOrUdp(..) | Port::Other(_) => return Err(cannot(port)),
    };
    let mut all = vec![condition("regexp", "protocol", protocol)];
    if first == last {
        all.push(condition("simple", "dest.port", &first.to_string()));
    } else if (first, last) != (0, u16::MAX) {
        let data = format!("{first}-{last}");
        all.push(condition("range", "dest.port", &data));
    }
    Ok(all)
}
