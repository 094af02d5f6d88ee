use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use super::flow::{Flow, flows};
use super::*;
use crate::facts::Protocol;

fn rules() -> impl Strategy<Value = Vec<Value>> {
    let process = select(vec![
        "any",
        "/usr/bin/curl",
        "/opt/other",
        "identifier.ABCDE12345/com.example",
    ]);
    let remote = select(vec![
        json!({"remote": "any"}),
        json!({"remote": "multicast"}),
        json!({"remote": "local-net"}),
        json!({"remote-hosts": "example.com"}),
        json!({"remote-hosts": ["www.example.com", "example.org"]}),
        json!({"remote-domains": ["example.com"]}),
        json!({"remote-domains": "org"}),
        json!({"remote-addresses": "192.0.2.0/24"}),
        json!({"remote-addresses": "10.0.0.0-10.0.0.9, 2001:db8::7"}),
    ]);
    let ports = select(vec!["any", "443", "1-100"]);
    let protocol = select(vec!["any", "tcp", "17"]);
    let action = select(vec!["allow", "allow", "deny", "ask"]);
    let rest = (select(vec!["regular", "high"]), prop::bool::weighted(0.1));
    let rule = (process, remote, ports, protocol, action, rest).prop_map(
        |(process, remote, ports, protocol, action, (priority, disabled))| {
            let mut rule = json!({"process": process, "ports": ports, "protocol": protocol, "action": action,
                "priority": priority, "disabled": disabled});
            let map = rule.as_object_mut().unwrap();
            map.extend(remote.as_object().unwrap().clone());
            rule
        },
    );
    prop::collection::vec(rule, 1..6)
}

/// Every order in which Little Snitch may rank what matches: one rule above another where its manual says so. Where any
/// of those that nothing is above does not allow, it may not allow.
fn judge(rules: &[Value], flow: &Flow) -> Said {
    let matching: Vec<&Value> = rules.iter().filter(|rule| matches(rule, flow)).collect();
    let top = |rule: &&&Value| !matching.iter().any(|other| above(other, rule));
    let mut tops = matching.iter().filter(top).peekable();
    if tops.peek().is_none() {
        return Said::Nothing;
    }
    let all: Vec<_> = tops.map(|rule| rule["action"].as_str().unwrap()).collect();
    if all.iter().all(|action| *action == "allow") {
        Said::Allow
    } else {
        Said::Refuse
    }
}

fn above(one: &Value, other: &Value) -> bool {
    let high = |rule: &Value| rule["priority"] == "high";
    if high(one) != high(other) {
        return high(one);
    }
    let servers = |rule: &Value| {
        let keys = ["remote-addresses", "remote-hosts", "remote-domains"];
        match keys.iter().position(|key| rule.get(key).is_some()) {
            Some(at) => (9 - at, rule[keys[at]].to_string()),
            None => match rule["remote"].as_str().unwrap() {
                "multicast" => (3, "multicast".to_owned()),
                "local-net" => (1, "local-net".to_owned()),
                _ => (0, "any".to_owned()),
            },
        }
    };
    let (one_servers, other_servers) = (servers(one), servers(other));
    if one_servers.0 != other_servers.0 {
        return one_servers.0 > other_servers.0;
    }
    if one_servers.1 != other_servers.1 {
        // By the lists' lengths and more; not settled here.
        return false;
    }
    let no_less = |key: &str| one[key] == other[key] || other[key] == "any";
    let more = |key: &str| one[key] != other[key] && other[key] == "any";
    let keys = ["process", "ports", "protocol"];
    keys.iter().all(|key| no_less(key)) && keys.iter().any(|key| more(key))
}

fn matches(rule: &Value, flow: &Flow) -> bool {
    if rule["disabled"] == true {
        return false;
    }
    let denies = rule["action"] != "allow";
    let process = match rule["process"].as_str().unwrap() {
        "any" => true,
        // Nobody knows who bears the signature: it is taken as it is worse.
        identifier if identifier.starts_with("identifier") => flow.uid == 1,
        path => flow.path == path || (denies && flow.parents.contains(&path)),
    };
    let protocol = match rule["protocol"].as_str().unwrap() {
        "any" => true,
        "tcp" => flow.protocol == Protocol::Tcp,
        _ => flow.protocol == Protocol::Udp,
    };
    let has_ports = matches!(flow.protocol, Protocol::Tcp | Protocol::Udp);
    let ports = match rule["ports"].as_str().unwrap() {
        "any" => true,
        "443" => has_ports && flow.port == 443,
        _ => has_ports && flow.port <= 100,
    };
    process && protocol && ports && server(rule, flow)
}

fn server(rule: &Value, flow: &Flow) -> bool {
    let texts = |value: &Value| -> Vec<String> {
        match value.as_array() {
            Some(values) => values
                .iter()
                .map(|value| value.as_str().unwrap().to_owned())
                .collect(),
            None => value.as_str().map(str::to_owned).into_iter().collect(),
        }
    };
    let name = flow.name.unwrap_or("-");
    if let Some(hosts) = rule.get("remote-hosts") {
        return texts(hosts).iter().any(|host| host == name);
    }
    if let Some(domains) = rule.get("remote-domains") {
        return texts(domains)
            .iter()
            .any(|domain| name == domain || name.ends_with(&format!(".{domain}")));
    }
    match rule.get("remote-addresses").and_then(Value::as_str) {
        Some("192.0.2.0/24") => return flow.address.to_string().starts_with("192.0.2."),
        Some(_) => return ["10.0.0.1", "2001:db8::7"].contains(&flow.address.to_string().as_str()),
        None => {}
    }
    match rule["remote"].as_str().unwrap() {
        "any" => true,
        "multicast" => flow.address.is_multicast(),
        // The one local network of this Mac.
        "local-net" => {
            ["10.0.0.1", "fe80::1", "198.51.100.1"].contains(&flow.address.to_string().as_str())
        }
        other => panic!("{other}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn an_import_allows_no_more_than_little_snitch(rules in rules(), flows in flows()) {
        let text = json!({"name": "random", "rules": rules}).to_string();
        let import = import_of(Format::LittleSnitch, &text, Verdict::Block);
        check(&import, &flows, |flow| judge(&rules, flow));
    }
}
