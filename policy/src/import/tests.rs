//! What an import allows is a part of what the original allows: random rules and flows, and for each format its own way
//! of judging, written down here once more and without a thought of ours.

mod clash;
mod flow;
mod lsrules;
mod lulu;
mod opensnitch;
mod portmaster;
mod sing_box;

use super::*;
use crate::document::Document;
use crate::policy::Policy;
use crate::source::PolicySource;

use flow::Flow;

/// The policy that an import makes, with this for what no rule matches.
fn policy(import: &Import, default: Verdict) -> Policy {
    let document = Document::parse("import.toml", &import.text).unwrap();
    let mut source = PolicySource::default();
    source.read_rules(&document);
    assert_eq!(document.finish(), []);
    source.default = default;
    Policy::compile(source)
}

fn import_of(format: Format, text: &str, action: Verdict) -> Import {
    let file = File {
        name: "random",
        bytes: text.as_bytes(),
    };
    read(format, &[file], Options { action }).unwrap()
}

/// What an original says of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Allow,
    Refuse,
    Nothing,
}

/// Whatever a rule of the import allows, the original allows; and where every rule was taken over, whatever the original
/// refuses, the import refuses.
fn check(import: &Import, flows: &[Flow], original: impl Fn(&Flow) -> Said) {
    let (strict, open) = (
        policy(import, Verdict::Block),
        policy(import, Verdict::Allow),
    );
    for flow in flows {
        let said = original(flow);
        if flow.verdict(&strict) == Verdict::Allow {
            assert_eq!(
                said,
                Said::Allow,
                "{flow:?}\n{}\n{}",
                import.text,
                import.report
            );
        }
        if import.report.refused == 0 && said == Said::Refuse {
            let verdict = flow.verdict(&open);
            assert_ne!(
                verdict,
                Verdict::Allow,
                "{flow:?}\n{}\n{}",
                import.text,
                import.report
            );
        }
    }
}
