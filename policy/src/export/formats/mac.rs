//! The firewalls of macOS: Little Snitch and LuLu.

use serde_json::{Map, Value, json};

use super::{Parts, cannot, outbound, parts, plain};
use crate::destination::{Destination, NamePattern};
use crate::import::draft::Draft;
use crate::port::Port;

pub(super) fn little_snitch(draft: &Draft) -> Result<Value, String> {
    let Parts { to, port, app } = parts(draft)?;
    let mut rule = Map::new();
    let action = if draft.allows() { "allow" } else { "deny" };
    rule.insert("action".to_owned(), action.into());
    for (key, value) in &app {
        let key = match (*key, app.len()) {
            ("path", 1) => "process",
            ("path", _) => "via",
            ("parent", 2) => "process",
            (other, _) => return Err(cannot(format!("`{other}` of `app`"))),
        };
        rule.insert(key.to_owned(), plain(value)?.into());
    }
    let (key, value) = match to {
        None => ("remote", "any".to_owned()),
        Some(to @ (Destination::Net(_) | Destination::Range(..))) => {
            ("remote-addresses", to.to_string())
        }
        Some(Destination::Name(NamePattern::Exact(name))) => ("remote-hosts", name.to_string()),
        Some(Destination::Name(NamePattern::Within(name))) => ("remote-domains", name.to_string()),
        Some(other) => return Err(cannot(other)),
    };
    rule.insert(key.to_owned(), value.into());
    let (protocol, ports) = match port {
        None => (None, None),
        Some(Port::Tcp(first, last)) => (Some("tcp".to_owned()), Some((first, last))),
        Some(Port::Udp(first, last)) => (Some("udp".to_owned()), Some((first, last))),
        Some(Port::Other(number)) => (Some(number.to_string()), None),
        Some(port @ (Port::Icmp | Port::TcpOrUdp(..))) => return Err(cannot(port)),
    };
    if let Some(protocol) = protocol {
        rule.insert("protocol".to_owned(), protocol.into());
    }
    if let Some((first, last)) = ports.filter(|ports| *ports != (0, u16::MAX)) {
        let text = if first == last {
            first.to_string()
        } else {
            format!("{first}-{last}")
        };
        rule.insert("ports".to_owned(), text.into());
    }
    if draft.inbound {
        rule.insert("direction".to_owned(), "incoming".into());
    }
    rule.insert("notes".to_owned(), draft.name.clone().into());
    Ok(Value::Object(rule))
}

pub(super) fn lulu(drafts: &[Draft]) -> Result<Value, String> {
    let mut keys = Map::new();
    for (at, draft) in drafts.iter().enumerate() {
        outbound(draft)?;
        // Its port names both protocols.
        let single = Draft {
            port: Vec::new(),
            ..draft.clone()
        };
        let Parts { to, app, .. } = parts(&single)?;
        let port = match draft.port.first().map(|port| Port::parse(port)) {
            Some(Ok(Port::TcpOrUdp(0, u16::MAX))) => "*".to_owned(),
            Some(Ok(Port::TcpOrUdp(first, last))) if first == last => first.to_string(),
            _ => {
                return Err(
                    "LuLu's rules are about one port, or all, of TCP and UDP together".to_owned(),
                );
            }
        };
        let key = match &app[..] {
            [] => "*",
            [("path", path)] => plain(path)?,
            _ => return Err(cannot("`app` beyond the path")),
        };
        let (address, kind) = match &to {
            None => ("*".to_owned(), 0),
            Some(Destination::Net(net)) if net.prefix_len() == net.max_prefix_len() => {
                (net.addr().to_string(), 0)
            }
            Some(to @ (Destination::Net(_) | Destination::Range(..))) => (to.to_string(), 2),
            Some(Destination::Name(NamePattern::Exact(name))) => (name.to_string(), 0),
            Some(to @ Destination::Name(NamePattern::Below(_))) => (to.to_string(), 3),
            Some(other) => return Err(cannot(other)),
        };
        let rule = json!({"key": key, "uuid": format!("00000000-0000-4000-8000-{at:012}"), "path": key, "name": draft.name,
            "endpointAddr": address, "endpointPort": port, "isEndpointAddrRegex": kind, "type": 3, "scope": 0,
            "action": u8::from(draft.allows())});
        let rules = keys.entry(key).or_insert_with(|| json!([]));
        if let Some(rules) = rules.as_array_mut() {
            rules.push(rule);
        }
    }
    Ok(Value::Object(keys))
}
