//! Portmaster: settings, or an application's profile.

use serde_json::{Map, Value, json};

use super::{Parts, cannot, parts, plain};
use crate::destination::{Destination, NamePattern};
use crate::import::draft::{Draft, Values};
use crate::port::Port;

pub(super) fn portmaster(drafts: &[Draft]) -> Result<Value, String> {
    let (mut out, mut within) = (Vec::new(), Vec::new());
    let app = drafts
        .first()
        .map(|draft| draft.app.clone())
        .unwrap_or_default();
    for draft in drafts {
        if draft.app != app {
            return Err("an export of Portmaster is about one program, or about all".to_owned());
        }
        let sign = if draft.allows() { '+' } else { '-' };
        let Parts { to, port, .. } = parts(draft)?;
        let entity = match &to {
            None => "*".to_owned(),
            Some(
                to @ (Destination::Net(_)
                | Destination::Name(
                    NamePattern::Exact(_) | NamePattern::Within(_) | NamePattern::Below(_),
                )),
            ) => to.to_string(),
            Some(Destination::Country(country)) => country.to_string(),
            Some(Destination::Continent(continent)) => format!("C:{continent}"),
            Some(Destination::System(number)) => format!("AS{number}"),
            Some(other) => return Err(cannot(other)),
        };
        let service = match port {
            None => String::new(),
            Some(Port::Other(number)) => format!(" {number}"),
            Some(Port::Icmp) => return Err(cannot("ICMP of both families")),
            Some(port) => format!(" {}", port.to_string().to_ascii_uppercase()),
        };
        let lines = if draft.inbound { &mut within } else { &mut out };
        lines.push(Value::from(format!("{sign} {entity}{service}")));
    }
    let mut config = Map::new();
    for (key, lines) in [
        ("filter/endpoints", out),
        ("filter/serviceEndpoints", within),
    ] {
        if !lines.is_empty() {
            config.insert(key.to_owned(), lines.into());
        }
    }
    match &app[..] {
        [] => Ok(json!({"type": "settings", "config": config})),
        [("path", Values::Texts(paths))] => {
            let path = plain(paths.first().map_or("", String::as_str))?;
            let fingerprints = json!([{"type": "path", "operation": "equals", "value": path}]);
            Ok(
                json!({"type": "profile", "source": "local", "name": path, "fingerprints": fingerprints, "config": config}),
            )
        }
        _ => Err(cannot("`app` beyond the path")),
    }
}
