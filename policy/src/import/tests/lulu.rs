use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};

use super::flow::{Flow, flows};
use super::*;
use crate::facts::Protocol;

const KEYS: [&str; 5] = [
    "*",
    "/usr/bin/curl",
    "/opt/app/*",
    "/opt/app/run",
    "com.example:Developer ID",
];

fn rules() -> impl Strategy<Value = Vec<(&'static str, Value)>> {
    let address = select(vec![
        ("*", 0),
        ("example.com", 0),
        ("192.0.2.7", 0),
        ("192.0.2.0/24", 2),
        ("10.0.0.0-10.0.0.9", 2),
        ("*.example.com", 3),
        (r"(.*\.)?example\.com", 1),
    ]);
    let port = select(vec!["*", "443", "53"]);
    let rule = (
        select(&KEYS[..]),
        address,
        port,
        0..=1_u8,
        select(vec![0, 0, 2_u8]),
        prop::bool::weighted(0.1),
    );
    let rule = rule.prop_map(|(key, (address, kind), port, action, scope, disabled)| {
        let rule = json!({"key": key, "name": key, "endpointAddr": address, "isEndpointAddrRegex": kind,
            "endpointPort": port, "action": action, "scope": scope, "isDisabled": u8::from(disabled)});
        (key, rule)
    });
    prop::collection::vec(rule, 1..7)
}

/// The rules that decide in LuLu: of those that match, the most exact ones of the nearest set. The order among these is
/// not told by an export, so it may allow only if all do.
fn judge(rules: &[(&'static str, Value)], flow: &Flow) -> Said {
    if !matches!(flow.protocol, Protocol::Tcp | Protocol::Udp) {
        return Said::Allow;
    }
    let matching = rules.iter().filter_map(|(key, rule)| {
        let set = set(key, rule, flow)?;
        let address = rule["endpointAddr"] != "*";
        let port = rule["endpointPort"] != "*";
        let is_on = rule["isDisabled"] != 1;
        let meets = (!address || meets_address(rule, flow))
            && (!port || rule["endpointPort"].as_str() == Some(&flow.port.to_string()));
        (is_on && meets).then(|| {
            (
                (u8::from(address) + u8::from(port), set),
                rule["action"] == 1,
            )
        })
    });
    let matching: Vec<((u8, u8), bool)> = matching.collect();
    let Some(top) = matching.iter().map(|(rank, _)| *rank).max() else {
        return Said::Nothing;
    };
    let all = matching
        .iter()
        .filter(|(rank, _)| *rank == top)
        .all(|(_, allows)| *allows);
    if all { Said::Allow } else { Said::Refuse }
}

fn set(key: &str, rule: &Value, flow: &Flow) -> Option<u8> {
    let tree = rule["scope"] == 2;
    match key {
        "*" => Some(0),
        "/opt/app/*" => flow.path.starts_with("/opt/app/").then_some(1).or_else(|| {
            let below = flow
                .parents
                .iter()
                .any(|parent| parent.starts_with("/opt/app/"));
            (tree && below).then_some(1)
        }),
        // No program of these flows is signed.
        key if !key.starts_with('/') => None,
        key if tree => (flow.path == key || flow.parents.contains(&key)).then_some(2),
        key => (flow.path == key).then_some(3),
    }
}

fn meets_address(rule: &Value, flow: &Flow) -> bool {
    let address = rule["endpointAddr"].as_str().unwrap();
    let name = flow.name.unwrap_or("-");
    match rule["isEndpointAddrRegex"].as_u64().unwrap() {
        0 => address == name || address == flow.address.to_string(),
        1 => name == "example.com" || name.ends_with(".example.com"),
        2 if address.contains('/') => flow.address.to_string().starts_with("192.0.2."),
        2 => flow.address.to_string() == "10.0.0.1",
        _ => name.ends_with(".example.com"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn an_import_allows_no_more_than_lulu(rules in rules(), flows in flows()) {
        let mut keys = Map::new();
        for (key, rule) in &rules {
            let list = keys.entry(*key).or_insert_with(|| json!([]));
            list.as_array_mut().unwrap().push(rule.clone());
        }
        let import = import_of(Format::Lulu, &Value::Object(keys).to_string(), Verdict::Block);
        check(&import, &flows, |flow| judge(&rules, flow));
    }
}
