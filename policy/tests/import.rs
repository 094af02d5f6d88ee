//! Files of other programs, as these write them: what becomes of each, and what is said of it.
//!
//! `import/FORMAT/` holds the files, written for this test, each to show something else; the snapshots hold what they
//! become.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use tidegate_policy::format::format;
use tidegate_policy::import::{self, File, Format, Options};
use tidegate_policy::{Document, PolicySource, Verdict};

/// The files of a format, by name.
fn files(format: Format) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/import")
        .join(format.as_str());
    let entries = fs::read_dir(folder).expect("the files");
    let mut files: Vec<_> = entries
        .map(|entry| {
            let path = entry.expect("a file").path();
            let name = path
                .file_name()
                .expect("a name")
                .to_string_lossy()
                .into_owned();
            (name, fs::read(path).expect("its text"))
        })
        .collect();
    files.sort();
    files
}

fn become_of(of: Format, action: Verdict) -> String {
    let mut all = String::new();
    let files = files(of);
    assert!(
        files.len() >= 20,
        "{} files of {}",
        files.len(),
        of.as_str()
    );
    for (name, bytes) in files {
        let file = File {
            name: &name,
            bytes: &bytes,
        };
        let _ = writeln!(all, "════ {name}");
        match import::read(of, &[file], Options { action }) {
            Ok(import) => {
                // What is written is read back without a word against it.
                assert_eq!(format(&name, &import.text), Ok(import.text.clone()));
                let document = Document::parse(&name, &import.text).expect("TOML");
                let mut source = PolicySource::default();
                source.read_rules(&document);
                assert_eq!(document.finish(), [], "{name}");
                assert_eq!(source.rules.len(), import.drafts.len(), "{name}");
                let rules = import.text.lines().skip(1).collect::<Vec<_>>().join("\n");
                let _ = writeln!(all, "{}\n──\n{}", rules.trim(), import.report);
            }
            Err(refusal) => {
                let _ = writeln!(
                    all,
                    "cannot be read: {refusal} ({})",
                    refusal.hint.as_deref().unwrap_or_default()
                );
            }
        }
    }
    all
}

#[test]
fn opensnitch() {
    insta::assert_snapshot!(become_of(Format::OpenSnitch, Verdict::Block));
}

#[test]
fn little_snitch() {
    insta::assert_snapshot!(become_of(Format::LittleSnitch, Verdict::Block));
}

#[test]
fn lulu() {
    insta::assert_snapshot!(become_of(Format::Lulu, Verdict::Block));
}

#[test]
fn portmaster() {
    insta::assert_snapshot!(become_of(Format::Portmaster, Verdict::Block));
}

#[test]
fn sing_box_to_block() {
    insta::assert_snapshot!(become_of(Format::SingBox, Verdict::Block));
}

#[test]
fn sing_box_to_allow() {
    insta::assert_snapshot!(become_of(Format::SingBox, Verdict::Allow));
}

#[test]
fn clash_to_block() {
    insta::assert_snapshot!(become_of(Format::Clash, Verdict::Block));
}

#[test]
fn clash_to_allow() {
    insta::assert_snapshot!(become_of(Format::Clash, Verdict::Allow));
}

#[test]
fn lists() {
    insta::assert_snapshot!(become_of(Format::List, Verdict::Block));
}

/// A folder of OpenSnitch's: the order of its names decides, not that of the files.
#[test]
fn the_rules_of_a_folder_are_put_in_order_together() {
    let allow = br#"{"name": "b", "enabled": true, "action": "allow", "duration": "always",
        "operator": {"type": "simple", "operand": "true", "data": ""}}"#;
    let deny = br#"{"name": "a", "enabled": true, "action": "deny", "duration": "always",
        "operator": {"type": "simple", "operand": "dest.ip", "data": "192.0.2.7"}}"#;
    let files = [
        File {
            name: "b.json",
            bytes: allow,
        },
        File {
            name: "a.json",
            bytes: deny,
        },
    ];
    let import = import::read(Format::OpenSnitch, &files, Options::default()).unwrap();
    let names: Vec<_> = import
        .drafts
        .iter()
        .map(|draft| draft.name.as_str())
        .collect();
    assert_eq!(names, ["a", "b"]);
}

#[test]
fn too_much_is_refused_as_a_whole() {
    let bytes = vec![b' '; import::LARGEST + 1];
    for format in Format::ALL {
        let file = File {
            name: "huge",
            bytes: &bytes,
        };
        assert!(import::read(format, &[file], Options::default()).is_err());
    }
    let rule = r#"{"domain": "example.com", "port": 1}"#;
    let many = format!(
        r#"{{"version": 1, "rules": [{}]}}"#,
        vec![rule; 10_001].join(",")
    );
    let file = File {
        name: "many",
        bytes: many.as_bytes(),
    };
    let refusal = import::read(Format::SingBox, &[file], Options::default()).unwrap_err();
    assert_eq!(refusal.message, "there are more than 10000 rules");
    let deep = "[".repeat(100_000);
    let file = File {
        name: "deep",
        bytes: deep.as_bytes(),
    };
    assert!(import::read(Format::OpenSnitch, &[file], Options::default()).is_err());
}
