use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::flow::{Flow, flows};
use super::*;
use crate::destination::Country;
use crate::facts::{Fact, Protocol};

const LINES: [&str; 22] = [
    "+.example.com",
    ".example.com",
    "*.example.com",
    "www.*.com",
    "example.org",
    "192.0.2.0/24",
    "2001:db8::7/128",
    "DOMAIN,example.com",
    "DOMAIN-SUFFIX,example.com",
    "DOMAIN-KEYWORD,ads",
    "DOMAIN-REGEX,^x.*\\.com$",
    "IP-CIDR,10.0.0.0/8,no-resolve",
    "GEOIP,DE",
    "DST-PORT,443/1-50",
    "NETWORK,udp",
    "PROCESS-NAME,curl",
    "PROCESS-NAME,SSK",
    "PROCESS-PATH,/opt/app/run",
    "UID,1",
    "SRC-PORT,1",
    "NOT,((DOMAIN,example.com))",
    "DOMAIN,example.com,DIRECT",
];

fn matches(line: &str, flow: &Flow) -> bool {
    let name = flow.name.unwrap_or("-");
    let file = flow.path.rsplit('/').next().unwrap();
    let ports = matches!(flow.protocol, Protocol::Tcp | Protocol::Udp);
    match line {
        "+.example.com" | "DOMAIN-SUFFIX,example.com" => {
            name == "example.com" || name.ends_with(".example.com")
        }
        ".example.com" => name.ends_with(".example.com"),
        "*.example.com" => name
            .strip_suffix(".example.com")
            .is_some_and(|label| !label.contains('.')),
        "www.*.com" => name == "www.example.com",
        "example.org" => name == "example.org",
        "192.0.2.0/24" => flow.address.to_string().starts_with("192.0.2."),
        "2001:db8::7/128" => flow.address.to_string() == "2001:db8::7",
        "DOMAIN,example.com" => name == "example.com",
        "DOMAIN-KEYWORD,ads" => name.contains("ads"),
        "DOMAIN-REGEX,^x.*\\.com$" => name == "xexample.com",
        "IP-CIDR,10.0.0.0/8,no-resolve" => flow.address.to_string() == "10.0.0.1",
        "GEOIP,DE" => flow.country == Fact::Is(Country::parse("DE").unwrap()),
        "DST-PORT,443/1-50" => ports && (flow.port == 443 || flow.port <= 50),
        "NETWORK,udp" => flow.protocol == Protocol::Udp,
        "PROCESS-NAME,curl" => file.eq_ignore_ascii_case("curl"),
        "PROCESS-NAME,SSK" => file.replace('\u{17f}', "s").eq_ignore_ascii_case("ssk"),
        "PROCESS-PATH,/opt/app/run" => flow.path.eq_ignore_ascii_case("/opt/app/run"),
        "UID,1" => flow.uid == 1,
        "SRC-PORT,1" => flow.uid == 0,
        "NOT,((DOMAIN,example.com))" => name != "example.com",
        // No line of a rule set: it matches nothing there.
        _ => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn an_import_means_no_more_to_allow_and_no_less_to_block(
        lines in subsequence(&LINES[..], 1..6),
        flows in flows(),
        action in select(vec![Verdict::Allow, Verdict::Drop]),
        as_yaml: bool,
    ) {
        let text = if as_yaml {
            let items: String = lines.iter().map(|line| format!("  - '{line}'\n")).collect();
            format!("payload:\n{items}")
        } else {
            lines.join("\n")
        };
        let import = import_of(Format::Clash, &text, action);
        let said = if action == Verdict::Allow { Said::Allow } else { Said::Refuse };
        check(&import, &flows, |flow| {
            if lines.iter().any(|line| matches(line, flow)) { said } else { Said::Nothing }
        });
    }
}
