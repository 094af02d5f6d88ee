use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use super::flow::{Flow, flows};
use super::*;

/// Kind, operand and data of a condition.
const CONDITIONS: [(&str, &str, &str); 26] = [
    ("simple", "true", ""),
    ("simple", "process.path", "/usr/bin/curl"),
    ("simple", "process.path", "/usr/bin/ssk"),
    ("regexp", "process.path", "^/opt/app/.*"),
    (
        "regexp",
        "process.path",
        r"^/tmp/\.mount_[A-Za-z0-9]+/AppRun$",
    ),
    ("regexp", "process.path", "^/usr/bin/(curl|ssk)$"),
    ("regexp", "process.path", "curl"),
    ("simple", "process.parent.path", "/opt/other"),
    ("simple", "process.command", "curl"),
    ("simple", "user.id", "1"),
    ("simple", "user.name", "user0"),
    ("simple", "dest.host", "Example.com"),
    ("simple", "dest.host", ""),
    ("regexp", "dest.host", r"^(|.*\.)example\.com$"),
    ("regexp", "dest.host", r"ads[0-9]\.Example"),
    ("regexp", "dest.host", r"^\S+\.com$"),
    ("simple", "dest.ip", "192.0.2.7"),
    ("network", "dest.network", "192.0.2.0/24"),
    ("network", "dest.network", "2000::/3"),
    ("network", "dest.network", "LAN"),
    ("simple", "dest.port", "443"),
    ("range", "dest.port", "1 - 100"),
    ("regexp", "dest.port", "^(80|443)$"),
    ("simple", "protocol", "tcp"),
    ("regexp", "protocol", "^udp"),
    ("regexp", "protocol", "tcp|udp6"),
];

fn operator() -> impl Strategy<Value = Value> {
    let simple = (select(&CONDITIONS[..]), any::<bool>()).prop_map(|((kind, operand, data), sensitive)| {
        json!({"type": kind, "operand": operand, "data": data, "sensitive": sensitive, "list": null})
    });
    let list = prop::collection::vec(simple.clone(), 1..4).prop_map(
        |list| json!({"type": "list", "operand": "list", "data": "", "sensitive": false, "list": list}),
    );
    prop_oneof![simple, list]
}

fn rules() -> impl Strategy<Value = Vec<Value>> {
    let action = select(vec!["allow", "allow", "deny", "reject"]);
    let rule = (
        "[a-c]{2}",
        action,
        operator(),
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.9),
    );
    let rule = rule.prop_map(|(name, action, operator, precedence, enabled)| {
        json!({"name": name, "action": action, "operator": operator, "duration": "always",
            "precedence": precedence, "enabled": enabled})
    });
    prop::collection::vec(rule, 1..6)
}

/// OpenSnitch's `Loader.FindFirstMatch`. Rules of one name are held in no order there: the names are made to differ.
fn judge(rules: &[Value], flow: &Flow) -> Said {
    let mut sorted: Vec<&Value> = rules
        .iter()
        .filter(|rule| rule["enabled"] == true)
        .collect();
    sorted.sort_by_key(|rule| rule["name"].as_str().unwrap().as_bytes());
    let mut said = Said::Nothing;
    for rule in sorted {
        if matches(&rule["operator"], flow) {
            let allows = rule["action"] == "allow";
            said = if allows { Said::Allow } else { Said::Refuse };
            if !allows || rule["precedence"] == true {
                return said;
            }
        }
    }
    said
}

fn matches(operator: &Value, flow: &Flow) -> bool {
    if operator["type"] == "list" {
        return operator["list"]
            .as_array()
            .unwrap()
            .iter()
            .all(|one| matches(one, flow));
    }
    let data = operator["data"].as_str().unwrap();
    let sensitive = operator["sensitive"] == true;
    let compare = |value: &str| match operator["type"].as_str().unwrap() {
        "simple" if sensitive => value == data,
        "simple" => fold(value) == fold(data),
        "regexp" if sensitive => regex::Regex::new(data).unwrap().is_match(value),
        "regexp" => {
            let regex = regex::Regex::new(&data.to_lowercase()).unwrap();
            regex.is_match(&value.to_lowercase())
        }
        "range" => {
            let data: String = data.split_whitespace().collect();
            let (first, last) = data.split_once('-').unwrap();
            let ends = first.parse().unwrap()..=last.parse().unwrap();
            ends.contains(&value.parse::<u32>().unwrap())
        }
        other => panic!("{other}"),
    };
    match operator["operand"].as_str().unwrap() {
        "true" => true,
        "process.path" => compare(flow.path),
        "process.parent.path" => flow.parents.iter().any(|parent| compare(parent)),
        // Whatever the command was: the harder of both ways is asked for below.
        "process.command" => flow.uid == 1,
        "user.id" => compare(&flow.uid.to_string()),
        "user.name" => compare(&format!("user{}", flow.uid)),
        "dest.host" => compare(flow.name.unwrap_or_default()),
        "dest.ip" => compare(&flow.address.to_string()),
        "dest.port" => compare(&flow.port.to_string()),
        "protocol" => compare(&flow.protocol_by_family()),
        "dest.network" if data == "LAN" => flow.uid == 1,
        "dest.network" => data
            .parse::<ipnet::IpNet>()
            .unwrap()
            .contains(&flow.address),
        other => panic!("{other}"),
    }
}

/// Unicode's simple folding, of the letters that the tests use.
fn fold(text: &str) -> String {
    text.to_lowercase()
        .replace('\u{17f}', "s")
        .replace('\u{212a}', "k")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn an_import_allows_no_more_than_opensnitch(mut rules in rules(), flows in flows()) {
        for (at, rule) in rules.iter_mut().enumerate() {
            let name = format!("{}{at}", rule["name"].as_str().unwrap());
            rule["name"] = name.into();
        }
        let text = Value::Array(rules.clone()).to_string();
        let import = import_of(Format::OpenSnitch, &text, Verdict::Block);
        check(&import, &flows, |flow| judge(&rules, flow));
    }
}
