//! Any text as the rules of each other program: what is taken over is read back without a word against it, compiles, and
//! formatting changes nothing more.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate_policy::format::format;
use tidegate_policy::import::{self, File, Format, Options};
use tidegate_policy::{Document, Policy, PolicySource, Verdict};

fuzz_target!(|bytes: &[u8]| {
    let Some((selector, text)) = bytes.split_first() else {
        return;
    };
    let formats = Format::ALL.len();
    let which = usize::from(*selector);
    let action = Verdict::ALL[(which / formats) % Verdict::ALL.len()];
    let file = File {
        name: "fuzz",
        bytes: text,
    };
    let Ok(import) = import::read(Format::ALL[which % formats], &[file], Options { action }) else {
        return;
    };
    assert!(import.report.accepted <= import.report.read);
    let document = Document::parse("import.toml", &import.text).expect("it is TOML");
    let mut source = PolicySource::default();
    source.read_rules(&document);
    assert_eq!(document.finish(), []);
    assert_eq!(source.rules.len(), import.drafts.len());
    Policy::compile(source);
    assert_eq!(format("import.toml", &import.text).as_ref(), Ok(&import.text));
});
