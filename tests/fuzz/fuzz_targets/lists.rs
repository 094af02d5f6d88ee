//! Any bytes as a filter list of any format, or of the one they look like: what is taken says the same when it is
//! written and read again, and is compiled into lists that open.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate_policy::list::compiled::{Builder, Compiled, Context, ListInfo};
use tidegate_policy::list::parse::{Format, Settings, parse};
use tidegate_policy::list::suffixes::{PublicSuffixes, SuffixList};
use tidegate_policy::list::{Target, write};

fuzz_target!(|input: (u8, &[u8])| {
    let (format, text) = input;
    let format = Format::ALL.get(usize::from(format)).copied();
    let settings = Settings {
        format,
        ..Settings::default()
    };
    let mut entries = Vec::new();
    let report = parse(text, &settings, |entry| entries.push(entry));
    assert_eq!(report.accepted, entries.len());
    assert!(!report.to_string().is_empty());
    if entries.len() > 100 {
        return;
    }
    let mut builder = Builder::new(1);
    let list = builder.list(ListInfo::new("list")).expect("a first list");
    for entry in &entries {
        let settings = Settings {
            format: Some(Format::AdGuard),
            suffix_rule: tidegate_policy::list::parse::SuffixRule::Accept,
            ..Settings::default()
        };
        if let Some(line) = write(entry, Format::AdGuard, &settings)
            && line.len() <= 4096
        {
            let mut again = Vec::new();
            parse(line.as_bytes(), &settings, |entry| again.push(entry));
            assert_eq!(again, [entry.clone()], "{line}");
        }
        builder.add(list, entry.clone());
    }
    let lists = Compiled::open(builder.finish().expect("few")).expect("written by us");
    for entry in &entries {
        if let Target::Name(name, _) = &entry.target {
            lists.name(name, &Context::default());
        }
    }
    if let Ok(text) = std::str::from_utf8(text) {
        SuffixList::parse(text).contains("a.example");
    }
});
