use std::net::IpAddr;

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use super::flow::{Flow, flows};
use super::*;
use crate::destination::Country;
use crate::facts::{Fact, Protocol};

const ENTITIES: [&str; 17] = [
    "*",
    "example.com",
    ".example.com",
    "*.example.com",
    "*ample.com",
    "www.*",
    "*ads*",
    "192.0.2.0/24",
    "2001:db8::7",
    "DE",
    "C:EU",
    "Internet",
    "LAN",
    "Localhost,LAN",
    "L:MAL",
    "not/a/thing",
    "printer",
];
const SERVICES: [&str; 7] = ["", "TCP/443", "UDP", "*/1-100", "TCP/HTTPS", "ICMP", "132"];

fn lines() -> impl Strategy<Value = Vec<String>> {
    let line = (
        select(vec!["+", "+", "-"]),
        select(&ENTITIES[..]),
        select(&SERVICES[..]),
    )
        .prop_map(|(sign, entity, service)| format!("{sign} {entity} {service}").trim().to_owned());
    prop::collection::vec(line, 0..6)
}

#[derive(Clone, Debug)]
struct Profile {
    lines: Vec<String>,
    default: &'static str,
    barred: Vec<&'static str>,
    has_lists: bool,
}

fn profile() -> impl Strategy<Value = Profile> {
    let default = select(vec!["permit", "permit", "block", "ask"]);
    let barred = prop::sample::subsequence(
        vec!["blockInternet", "blockLAN", "blockLocal", "blockP2P"],
        0..2,
    );
    (lines(), default, barred, prop::bool::weighted(0.2)).prop_map(
        |(lines, default, barred, has_lists)| Profile {
            lines,
            default,
            barred,
            has_lists,
        },
    )
}

/// Barred scopes, then the rules in their order, then protections, then the default.
fn judge(profile: &Profile, flow: &Flow) -> Said {
    if flow.path != "/usr/bin/curl" {
        return Said::Nothing;
    }
    let scope = scope(flow.address);
    for barred in &profile.barred {
        let meets = match *barred {
            "blockInternet" => scope == "internet",
            "blockLAN" => scope == "lan",
            "blockLocal" => scope == "localhost",
            _ => scope == "internet" && flow.name.is_none(),
        };
        if meets {
            return Said::Refuse;
        }
    }
    for line in &profile.lines {
        let mut words = line.split_whitespace();
        let allows = words.next() == Some("+");
        let entity = words.next().unwrap();
        let Some(meets_entity) = meets_entity(entity, flow) else {
            return Said::Refuse;
        };
        if meets_entity
            && words
                .next()
                .is_none_or(|service| meets_service(service, flow))
        {
            return if allows { Said::Allow } else { Said::Refuse };
        }
    }
    // On which list an address is, nobody knows.
    if profile.has_lists && flow.uid == 1 {
        return Said::Refuse;
    }
    match profile.default {
        "permit" => Said::Allow,
        "block" => Said::Refuse,
        _ => Said::Nothing,
    }
}

fn scope(address: IpAddr) -> &'static str {
    match address {
        IpAddr::V4(v4) if v4.is_loopback() => "localhost",
        IpAddr::V4(v4) if v4.is_private() || v4.is_link_local() => "lan",
        // Documentation's own networks are no valid ones.
        IpAddr::V4(v4) if v4.is_documentation() => "invalid",
        IpAddr::V6(v6) if v6.is_loopback() => "localhost",
        IpAddr::V6(v6) if v6.is_unicast_link_local() || v6.is_unique_local() => "lan",
        IpAddr::V4(_) | IpAddr::V6(_) => "internet",
    }
}

/// Absent where the place is not known: Portmaster refuses then.
fn meets_entity(entity: &str, flow: &Flow) -> Option<bool> {
    let name = flow.name.unwrap_or("-");
    let scope = scope(flow.address);
    Some(match entity {
        "*" => true,
        "DE" | "C:EU" => match flow.country {
            Fact::Unknown => return None,
            Fact::Absent => false,
            // The flows know no continent: only what has one there could be meant.
            Fact::Is(country) => entity == "C:EU" || country == Country::parse("DE").unwrap(),
        },
        "Internet" => scope == "internet",
        "LAN" => scope == "lan",
        "Localhost,LAN" => ["localhost", "lan"].contains(&scope),
        "L:MAL" => flow.uid == 1,
        "not/a/thing" => false,
        "192.0.2.0/24" => flow.address.to_string().starts_with("192.0.2."),
        "2001:db8::7" => flow.address.to_string() == entity,
        ".example.com" => name == "example.com" || name.ends_with(entity),
        "*.example.com" => name.ends_with(".example.com"),
        "*ample.com" => name.ends_with("ample.com"),
        "www.*" => name.starts_with("www."),
        "*ads*" => name.contains("ads"),
        exact => name == exact,
    })
}

fn meets_service(service: &str, flow: &Flow) -> bool {
    let (tcp, udp) = (
        flow.protocol == Protocol::Tcp,
        flow.protocol == Protocol::Udp,
    );
    match service {
        "TCP/443" | "TCP/HTTPS" => tcp && flow.port == 443,
        "UDP" => udp,
        "*/1-100" => (tcp || udp) && flow.port <= 100,
        "ICMP" => flow.protocol == Protocol::Icmp && flow.address.is_ipv4(),
        _ => flow.protocol == Protocol::Other(132),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn an_import_allows_no_more_than_portmaster(profile in profile(), flows in flows()) {
        let mut config = json!({"filter/endpoints": profile.lines, "filter/defaultAction": profile.default});
        for barred in &profile.barred {
            config[format!("filter/{barred}")] = Value::Bool(true);
        }
        if profile.has_lists {
            config["filter/lists"] = json!(["MAL"]);
        }
        let text = json!({
            "type": "profile",
            "fingerprints": [{"type": "path", "operation": "equals", "value": "/usr/bin/curl"}],
            "config": config,
        })
        .to_string();
        let import = import_of(Format::Portmaster, &text, Verdict::Block);
        let (strict, open) = (policy(&import, Verdict::Block), policy(&import, Verdict::Allow));
        for flow in &flows {
            let said = judge(&profile, flow);
            if flow.verdict(&strict) == Verdict::Allow {
                prop_assert_eq!(said, Said::Allow, "{:?}\n{}", flow, import.text);
            }
            // A place that nobody knows is refused by the rules that follow it, not by a rule of its own.
            let known = flow.country != Fact::Unknown && !profile.lines.iter().any(|line| line.contains("C:EU"));
            if import.report.refused == 0 && said == Said::Refuse && known {
                prop_assert_ne!(flow.verdict(&open), Verdict::Allow, "{:?}\n{}", flow, import.text);
            }
        }
    }
}
