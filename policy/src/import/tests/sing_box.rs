use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};

use super::flow::{Flow, flows};
use super::*;
use crate::facts::Protocol;

/// Items of a rule; which are in the same group is for [`group`] to say.
fn items() -> Vec<(&'static str, Value)> {
    vec![
        ("domain", json!("example.com")),
        ("domain_suffix", json!(["example.com", ".example.org"])),
        ("domain_keyword", json!("ads")),
        ("domain_regex", json!([r"^www\.", r"^x.+\.com$"])),
        ("ip_cidr", json!(["192.0.2.0/24", "2001:db8::7"])),
        ("port", json!([443, 53])),
        ("port_range", json!(["1:100"])),
        ("network", json!("tcp")),
        ("network", json!(["udp", "icmp"])),
        ("process_name", json!(["curl", "run"])),
        ("process_path", json!("/opt/app/run")),
        (
            "process_path_regex",
            json!(["^/opt/app/.*", "^/opt/[^/]*$"]),
        ),
        ("process_path_regex", json!("curl")),
        ("user", json!("user1")),
        ("wifi_ssid", json!("Home")),
    ]
}

fn plain() -> impl Strategy<Value = Value> {
    (
        prop::sample::subsequence(items(), 1..4),
        prop::bool::weighted(0.25),
    )
        .prop_map(|(items, invert)| {
            let mut rule: Map<String, Value> = items
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value))
                .collect();
            if invert {
                rule.insert("invert".to_owned(), Value::Bool(true));
            }
            Value::Object(rule)
        })
}

fn rule() -> impl Strategy<Value = Value> {
    plain().prop_recursive(2, 8, 3, |inner| {
        let rules = prop::collection::vec(inner, 1..3);
        (select(vec!["or", "and"]), rules, prop::bool::weighted(0.1)).prop_map(
            |(mode, rules, invert)| json!({"type": "logical", "mode": mode, "rules": rules, "invert": invert}),
        )
    })
}

fn matches(rule: &Value, flow: &Flow) -> bool {
    let inverted = rule["invert"] == true;
    let matched = match rule["rules"].as_array() {
        Some(rules) if rule["mode"] == "or" => rules.iter().any(|rule| matches(rule, flow)),
        Some(rules) => rules.iter().all(|rule| matches(rule, flow)),
        None => {
            let items = rule.as_object().unwrap();
            let groups = [
                "destination",
                "port",
                "network",
                "name",
                "path",
                "regex",
                "user",
                "wifi",
            ];
            groups.iter().all(|wanted| {
                let mut own = items
                    .iter()
                    .filter(|(key, _)| group(key) == *wanted)
                    .peekable();
                own.peek().is_none() || own.any(|(key, value)| item(key, value, flow))
            })
        }
    };
    matched != inverted
}

fn group(key: &str) -> &'static str {
    match key {
        "domain" | "domain_suffix" | "domain_keyword" | "domain_regex" | "ip_cidr" => "destination",
        "port" | "port_range" => "port",
        "network" => "network",
        "process_name" => "name",
        "process_path" => "path",
        "process_path_regex" => "regex",
        "user" => "user",
        "wifi_ssid" => "wifi",
        _ => "none",
    }
}

fn item(key: &str, value: &Value, flow: &Flow) -> bool {
    let values: Vec<String> = match value.as_array() {
        Some(values) => values
            .iter()
            .map(|value| value.to_string().trim_matches('"').to_owned())
            .collect(),
        None => value.as_str().map(str::to_owned).into_iter().collect(),
    };
    let regex = |text: &str| regex::Regex::new(&text.replace("\\\\", "\\")).unwrap();
    let has_ports = matches!(flow.protocol, Protocol::Tcp | Protocol::Udp);
    values.iter().any(|value| match key {
        "domain" => flow.name == Some(value),
        "domain_suffix" => flow.name.is_some_and(|name| match value.starts_with('.') {
            true => name.ends_with(value.as_str()),
            false => name == value || name.ends_with(&format!(".{value}")),
        }),
        "domain_keyword" => flow.name.is_some_and(|name| name.contains(value.as_str())),
        "domain_regex" => flow.name.is_some_and(|name| regex(value).is_match(name)),
        "ip_cidr" => match value.parse::<ipnet::IpNet>() {
            Ok(net) => net.contains(&flow.address),
            Err(_) => flow.address.to_string() == *value,
        },
        "port" => has_ports && flow.port.to_string() == *value,
        "port_range" => has_ports && flow.port <= 100,
        "network" => flow.protocol.to_string() == *value,
        "process_name" => flow.path.rsplit('/').next() == Some(value),
        "process_path" => flow.path == value,
        "process_path_regex" => regex(value).is_match(flow.path),
        "user" => format!("user{}", flow.uid) == *value,
        // Where we are nobody knows.
        _ => flow.uid == 1,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn an_import_means_no_more_to_allow_and_no_less_to_block(
        rules in prop::collection::vec(rule(), 1..4),
        flows in flows(),
        action in select(vec![Verdict::Allow, Verdict::Drop]),
    ) {
        let text = json!({"version": 3, "rules": rules}).to_string();
        let import = import_of(Format::SingBox, &text, action);
        let said = if action == Verdict::Allow { Said::Allow } else { Said::Refuse };
        check(&import, &flows, |flow| {
            if rules.iter().any(|rule| matches(rule, flow)) { said } else { Said::Nothing }
        });
    }
}
