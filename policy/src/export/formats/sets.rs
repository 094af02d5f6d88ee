//! Rule sets and lists, which say what is meant, and not what is done with it.

use serde_json::{Map, Value, json};

use super::{Parts, cannot, outbound, parts, plain};
use crate::destination::{Destination, NamePattern};
use crate::import::draft::Draft;
use crate::port::Port;

pub(super) fn sing_box(draft: &Draft) -> Result<Value, String> {
    outbound(draft)?;
    let Parts { to, port, app } = parts(draft)?;
    let mut rule = Map::new();
    let mut add = |key: &str, value: Value| drop(rule.insert(key.to_owned(), value));
    for (key, value) in &app {
        match *key {
            "path" => add("process_path", plain(value)?.into()),
            "name" => add("process_name", plain(value)?.into()),
            "user" => add("user", value.as_str().into()),
            "uid" => add("user_id", json!([value.parse::<u32>().unwrap_or_default()])),
            other => return Err(cannot(format!("`{other}` of `app`"))),
        }
    }
    match &to {
        None => {}
        Some(Destination::Net(net)) => add("ip_cidr", net.to_string().into()),
        Some(Destination::Name(pattern)) => match pattern {
            NamePattern::Exact(name) => add("domain", name.as_str().into()),
            NamePattern::Within(name) => add("domain_suffix", name.as_str().into()),
            NamePattern::Below(name) => add("domain_suffix", format!(".{name}").into()),
            NamePattern::Glob(glob) => {
                add("domain_keyword", glob.as_str().trim_matches('*').into())
            }
            NamePattern::Regex(_) => {
                let text = pattern.to_string();
                let regex = text
                    .strip_prefix('/')
                    .and_then(|text| text.strip_suffix('/'));
                add("domain_regex", regex.unwrap_or_default().into());
            }
        },
        Some(other) => return Err(cannot(other)),
    }
    let (network, ports) = match port {
        None => (None, None),
        Some(Port::Tcp(first, last)) => (Some("tcp"), Some((first, last))),
        Some(Port::Udp(first, last)) => (Some("udp"), Some((first, last))),
        Some(Port::Icmp) => (Some("icmp"), None),
        Some(port @ (Port::TcpOrUdp(..) | Port::Other(_))) => return Err(cannot(port)),
    };
    if let Some(network) = network {
        add("network", network.into());
    }
    match ports {
        None | Some((0, u16::MAX)) => {}
        Some((first, last)) if first == last => add("port", first.into()),
        Some((first, last)) => add("port_range", format!("{first}:{last}").into()),
    }
    Ok(Value::Object(rule))
}

pub(super) fn clash(draft: &Draft) -> Result<String, String> {
    outbound(draft)?;
    let conditions = draft.app.len() + draft.to.len() + draft.port.len();
    if conditions != 1 {
        return Err("a rule of Clash's rule sets has one condition".to_owned());
    }
    if let Some(port) = draft.port.first() {
        return match Port::parse(port).map_err(|refusal| refusal.message)? {
            Port::TcpOrUdp(first, last) if first == last => Ok(format!("DST-PORT,{first}")),
            Port::TcpOrUdp(first, last) => Ok(format!("DST-PORT,{first}-{last}")),
            Port::Tcp(0, u16::MAX) => Ok("NETWORK,tcp".to_owned()),
            Port::Udp(0, u16::MAX) => Ok("NETWORK,udp".to_owned()),
            port @ (Port::Tcp(..) | Port::Udp(..) | Port::Icmp | Port::Other(_)) => {
                Err(cannot(port))
            }
        };
    }
    let Parts { to, app, .. } = parts(draft)?;
    if let Some((key, value)) = app.first() {
        return match *key {
            "path" => Ok(format!("PROCESS-PATH,{}", plain(value)?)),
            "name" => Ok(format!("PROCESS-NAME,{}", plain(value)?)),
            "uid" => Ok(format!("UID,{value}")),
            other => Err(cannot(format!("`{other}` of `app`"))),
        };
    }
    match to {
        Some(Destination::Net(net)) => Ok(format!("IP-CIDR,{net},no-resolve")),
        Some(Destination::Country(country)) => Ok(format!("GEOIP,{country}")),
        Some(Destination::System(number)) => Ok(format!("IP-ASN,{number}")),
        Some(Destination::Name(NamePattern::Exact(name))) => Ok(format!("DOMAIN,{name}")),
        Some(Destination::Name(NamePattern::Within(name))) => Ok(format!("DOMAIN-SUFFIX,{name}")),
        Some(Destination::Name(NamePattern::Below(name))) => Ok(format!(".{name}")),
        Some(Destination::Name(NamePattern::Glob(glob))) => Ok(format!(
            "DOMAIN-KEYWORD,{}",
            glob.as_str().trim_matches('*')
        )),
        Some(other) => Err(cannot(other)),
        None => Err(cannot("a rule without conditions")),
    }
}

pub(super) fn list(draft: &Draft) -> Result<String, String> {
    outbound(draft)?;
    let Parts { to, port, app } = parts(draft)?;
    if port.is_some() || !app.is_empty() {
        return Err("a list names destinations and nothing else".to_owned());
    }
    match to {
        Some(Destination::Net(net)) if net.prefix_len() == net.max_prefix_len() => {
            Ok(format!("||{}^", net.addr()))
        }
        Some(Destination::Name(NamePattern::Exact(name))) => Ok(format!("|{name}^")),
        Some(Destination::Name(NamePattern::Within(name))) => Ok(format!("||{name}^")),
        Some(Destination::Name(NamePattern::Below(name))) => Ok(format!("||*.{name}^")),
        Some(other) => Err(cannot(other)),
        None => Err(cannot("a rule without conditions")),
    }
}
