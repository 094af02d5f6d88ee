//! Any text as a rule file: reading, compiling, deciding and explaining never panic, and agree.
#![no_main]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use libfuzzer_sys::fuzz_target;
use tidegate_policy::{
    App, Context, DecidedBy, Direction, Document, FlowFacts, Peer, Policy, PolicySource, Problem, Protocol,
};

fuzz_target!(|text: &str| {
    let Ok(document) = Document::parse("fuzz.toml", text) else {
        return;
    };
    let mut source = PolicySource::default();
    source.read_main(&document);
    if document.finish().iter().any(Problem::is_error) {
        return;
    }
    source.review();
    let policy = Policy::compile(source);
    let apps = [App {
        path: "/usr/bin/curl".into(),
        name: "curl".to_owned(),
        pid: 1,
        uid: 1000,
        user: Some("alice".to_owned()),
        command_line: Vec::new(),
        parents: vec!["/usr/bin/bash".into()],
        unit: Some("ssh.service".to_owned()),
        container: Some("0123456789ab".repeat(5)),
        identity: tidegate_policy::Identity::default(),
    }];
    for direction in [Direction::Out, Direction::In] {
        for apps in [&apps[..], &[]] {
            let local = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 443);
            let remote = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), 443);
            let facts = FlowFacts {
                direction,
                protocol: Protocol::Tcp,
                local,
                remote,
                apps,
                peer: Peer::default(),
 context: Context::unknown(),
            };
            let decision = policy.decide(&facts);
            let explanation = policy.explain(&facts);
            assert_eq!(explanation.verdict, decision.verdict);
            let number = match decision.by {
                DecidedBy::Rule(index) => Some(index + 1),
                DecidedBy::Protection(_) | DecidedBy::Default => None,
            };
            assert_eq!(explanation.rule.map(|rule| rule.number), number);
        }
    }
});
