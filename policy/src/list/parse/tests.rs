use proptest::prelude::*;

use super::super::suffixes::SuffixList;
use super::super::{
    AddressRange, Client, Conditions, EntryPattern, Purpose, RecordType, RecordTypes, Target, write,
};
use super::*;
use crate::Name;

/// The entries of a list, each as an AdGuard rule, or as its range.
fn read(format: Format, text: &str) -> (Vec<String>, Report) {
    read_with(
        &Settings {
            format: Some(format),
            ..Settings::default()
        },
        text,
    )
}

fn read_with(settings: &Settings<'_>, text: &str) -> (Vec<String>, Report) {
    let mut entries = Vec::new();
    let report = parse(text.as_bytes(), settings, |entry| {
        let plain = Settings::default();
        let line = write(&entry, Format::AdGuard, &plain)
            .or_else(|| write(&entry, Format::Addresses, &plain));
        entries.push(line.unwrap_or_else(|| format!("{entry:?}")));
    });
    assert_eq!(report.accepted, entries.len());
    (entries, report)
}

fn reasons(report: &Report) -> Vec<(Reason, usize)> {
    report
        .ignored()
        .map(|(reason, ignored)| (reason, ignored.count))
        .collect()
}

#[test]
fn hosts_lines_block_their_names_and_no_more() {
    let (entries, report) = read(
        Format::Hosts,
        "# c\n127.0.0.1 localhost\n0.0.0.0 a.example B.Example # c\n:: c.example#c\n\n192.0.2.1 d.example\n\
         0.0.0.0 0.0.0.0\n0.0.0.0\nx y\n0.0.0.0 a/b 1.2.3\nfe80::1%lo0 localhost\r\n",
    );
    assert_eq!(entries, ["|a.example^", "|b.example^", "|c.example^"]);
    assert_eq!(report.comments, 2);
    assert_eq!(
        reasons(&report),
        [
            (Reason::Syntax, 1),
            (Reason::NotAName, 2),
            (Reason::NotAnAddress, 1),
            (Reason::Local, 3),
            (Reason::Rewrite, 1),
        ]
    );
}

#[test]
fn names_reach_as_far_as_the_settings_say() {
    let text = "a.example\n*.b.example\n.c.example\n! c\n// c\nd.example # c\n";
    let (entries, _) = read(Format::Domains, text);
    assert_eq!(
        entries,
        [
            "|a.example^",
            "||*.b.example^",
            "||c.example^",
            "|d.example^"
        ]
    );
    let settings = Settings {
        format: Some(Format::Domains),
        bare: Reach::Within,
        asterisk: Reach::Within,
        effect: Effect::Allow,
        ..Settings::default()
    };
    let (entries, _) = read_with(&settings, text);
    assert_eq!(
        entries,
        [
            "@@||a.example^",
            "@@||b.example^",
            "@@||c.example^",
            "@@||d.example^"
        ]
    );
}

#[test]
fn adguard_rules_are_what_they_say_or_nothing() {
    for (rule, written) in [
        ("||a.example^", "||a.example^"),
        ("@@||a.example^|", "@@||a.example^"),
        ("||a.example", "||a.example^"),
        ("|a.example^", "|a.example^"),
        ("a.example", "|a.example^"),
        (".a.example^", "||*.a.example^"),
        ("*.a.example", "||*.a.example^"),
        ("||*.a.example^", "||*.a.example^"),
        ("||a.example/*", "||a.example^"),
        ("a.example^", "a.example^"),
        ("||ads", "||ads"),
        ("||ads*.example^", "||ads*.example^"),
        ("||192.0.2.1^", "||192.0.2.1^"),
        ("0.0.0.0 a.example", "|a.example^"),
        ("/^ad$/$important", "/^ad$/$important"),
        ("/ad$/", "/ad$/"),
        (
            "||a.example^$dnstype=AAAA|~A,important",
            "||a.example^$important,dnstype=AAAA",
        ),
        ("*$denyallow=com|net", "*$denyallow=com|net"),
        (
            "||a.example^$client='a\\|b\\, c'|~d",
            "||a.example^$client='a\\|b\\, c'|~'d'",
        ),
        ("||a.example^$badfilter", "||a.example^$badfilter"),
        ("||BÜCHER.example^", "||xn--bcher-kva.example^"),
    ] {
        let (entries, report) = read(Format::AdGuard, rule);
        assert_eq!(entries, [written], "{rule} {report}");
    }
    for (rule, reason) in [
        ("||a.example^$third-party", Reason::UnknownModifier),
        ("||a.example^$important,domain=b", Reason::UnknownModifier),
        ("||a.example^$dnsrewrite=1.2.3.4", Reason::Rewrite),
        ("||a.example^$dnstype=NOPE", Reason::BadModifier),
        ("||a.example^$client=", Reason::BadModifier),
        ("||a.example/banner", Reason::NotForNames),
        ("example.com##.banner", Reason::NotForNames),
        ("*", Reason::TooWide),
        ("||a*", Reason::TooWide),
        ("||com^", Reason::PublicSuffix),
        ("/(?=a)b/", Reason::BadPattern),
        ("||a b^", Reason::BadPattern),
    ] {
        let (entries, report) = read(Format::AdGuard, rule);
        assert_eq!(entries, [""; 0], "{rule}");
        assert_eq!(reasons(&report), [(reason, 1)], "{rule}");
    }
}

#[test]
fn dnsmasq_unbound_and_rpz_lines_mean_what_these_programs_do() {
    let (entries, report) = read(
        Format::Dnsmasq,
        "address=/a.example/b.example/\naddress=/c.example/#\naddress=/d.example/0.0.0.0\nserver=/e.example/\n\
         local=/f.example/\nserver=/g.example/#\naddress=/h.example/192.0.2.1\nserver=/i.example/192.0.2.1\naddress=/#/\n\
         conf-dir=/etc\n# c\n",
    );
    assert_eq!(
        entries,
        [
            "||a.example^",
            "||b.example^",
            "||c.example^",
            "||d.example^",
            "||e.example^",
            "||f.example^",
            "@@||g.example^",
        ]
    );
    assert_eq!(
        reasons(&report),
        [
            (Reason::TooWide, 1),
            (Reason::Rewrite, 2),
            (Reason::Unsupported, 1)
        ]
    );
    let (entries, report) = read(
        Format::Unbound,
        "server:\n  local-zone: \"a.example.\" always_null\nlocal-zone: b.example refuse # c\n\
         local-zone: \"c.example\" redirect\nlocal-data: \"c.example A 0.0.0.0\"\nlocal-data: \"d.example. 60 IN AAAA ::\"\n\
         local-data: \"e.example A 192.0.2.1\"\nlocal-zone: \"f.example\" transparent\nlocal-zone: \"g.example\" typetransparent\n",
    );
    assert_eq!(
        entries,
        [
            "||a.example^",
            "||b.example^",
            "||c.example^",
            "|d.example^",
            "@@||f.example^"
        ]
    );
    assert_eq!(
        reasons(&report),
        [(Reason::Rewrite, 1), (Reason::Unsupported, 1)]
    );
    let (entries, report) = read(
        Format::Rpz,
        "$TTL 60\n@ IN SOA ns.zone. admin.zone. (\n 1 ; serial\n 2 3 4 5 )\n  NS ns.zone.\n$ORIGIN rpz.zone.\n\
         a.example CNAME .\n*.a.example 60 IN CNAME *.\nb.example.rpz.zone. CNAME rpz-passthru.\n    A 192.0.2.1\n\
         c.example A 0.0.0.0\n24.0.2.0.192.rpz-ip CNAME .\n32.zz.db8.2001.rpz-ip CNAME rpz-drop.\n\
         24.0.2.0.192.rpz-client-ip CNAME .\nd.example CNAME walled.garden.\n",
    );
    assert_eq!(
        entries,
        [
            "|a.example^",
            "||*.a.example^",
            "@@|b.example^",
            "|c.example^",
            "192.0.2.0/24",
            "2001:db8::/32"
        ]
    );
    assert_eq!(
        reasons(&report),
        [(Reason::Rewrite, 2), (Reason::Unsupported, 1)]
    );
}

#[test]
fn address_lists_hold_ranges() {
    let (entries, report) = read(
        Format::Addresses,
        "# c\n192.0.2.7/24 ; SBL1\n198.51.100.1-198.51.100.3\n2001:db8::/32\n0.0.0.0/0\nx\n",
    );
    assert_eq!(
        entries,
        ["192.0.2.0/24", "198.51.100.1-198.51.100.3", "2001:db8::/32"]
    );
    assert_eq!(
        reasons(&report),
        [(Reason::NotAnAddress, 1), (Reason::TooWide, 1)]
    );
}

#[test]
fn the_format_is_told_by_the_look_of_the_lines() {
    for (text, format) in [
        (
            "# c\n0.0.0.0 a.example\n127.0.0.1 b.example\n",
            Format::Hosts,
        ),
        ("! c\na.example\nb.example\n", Format::Domains),
        ("*.a.example\n*.b.example\n", Format::Wildcards),
        ("! c\na.example\nb.example\n||c.example^\n", Format::AdGuard),
        ("address=/a.example/\nserver=/b.example/\n", Format::Dnsmasq),
        (
            "server:\nlocal-zone: \"a.example\" static\n",
            Format::Unbound,
        ),
        (
            "$TTL 60\n@ SOA a. b. 1 2 3 4 5\na.example CNAME .\n",
            Format::Rpz,
        ),
        (
            "# c\n192.0.2.1\n192.0.2.0/24 ; SBL\n192.0.2.1 - 192.0.2.3\n",
            Format::Addresses,
        ),
        ("", Format::Domains),
    ] {
        let report = parse(text.as_bytes(), &Settings::default(), |_| ());
        assert_eq!((report.format, report.detected), (format, true), "{text}");
    }
}

#[test]
fn public_suffixes_are_kept_from_what_is_beneath_them_unless_allowed() {
    let suffixes = SuffixList::parse("uk\nco.uk\n*.ck\n!www.ck\n");
    let mut settings = Settings {
        format: Some(Format::AdGuard),
        suffixes: &suffixes,
        ..Settings::default()
    };
    let text = "||co.uk^\n||x.ck^\n||www.ck^\n|co.uk^\n||a.co.uk^\n||com^\n";
    let (entries, report) = read_with(&settings, text);
    assert_eq!(entries, ["||www.ck^", "|co.uk^", "||a.co.uk^"]);
    assert_eq!(reasons(&report), [(Reason::PublicSuffix, 3)]);
    settings.suffix_rule = SuffixRule::Accept;
    assert_eq!(read_with(&settings, text).0.len(), 6);
}

#[test]
fn lines_have_a_bound_and_so_has_what_is_kept_of_them() {
    let settings = Settings {
        format: Some(Format::Domains),
        ..Settings::default()
    };
    let mut parser = Parser::new(&settings);
    let mut entries = 0;
    for _ in 0..1000 {
        parser.push(&[b'a'; 1000], &mut |_| entries += 1);
        assert!(parser.partial.capacity() <= 2 * LONGEST_LINE);
    }
    parser.push(b"\nexample\n\xff\xfe\n", &mut |_| entries += 1);
    let report = parser.finish(&mut |_| entries += 1);
    assert_eq!((entries, report.lines), (1, 3));
    assert_eq!(
        reasons(&report),
        [(Reason::LongLine, 1), (Reason::NotText, 1)]
    );
    insta::assert_snapshot!(report, @"
    1 entries of 3 lines (domains)
      ignored 1: lines of more than 4 KiB (line 1)
      ignored 1: not UTF-8 (line 3)
    ");
}

#[test]
fn a_list_has_no_more_entries_than_asked_for() {
    let settings = Settings {
        most_entries: 2,
        ..Settings::default()
    };
    let report = parse(b"a.x\nb.x\nc.x\nd.x\n", &settings, |_| ());
    assert_eq!((report.accepted, report.count(Reason::TooMany)), (2, 2));
}

#[test]
fn expressions_of_a_list_are_bounded() {
    let text: String = (0..1100).map(|n| format!("/^ads{n}$/\n")).collect();
    let report = parse(text.as_bytes(), &Settings::default(), |_| ());
    assert_eq!(
        (report.accepted, report.count(Reason::TooMany)),
        (1000, 100)
    );
}

fn any_name() -> impl Strategy<Value = Name> {
    "[a-z_][a-z0-9-]{0,8}(\\.[a-z0-9_-]{0,8}[a-z]){1,3}"
        .prop_map(|text| Name::parse(&text).unwrap())
}

fn any_reach() -> impl Strategy<Value = Reach> {
    prop_oneof![Just(Reach::Exact), Just(Reach::Within), Just(Reach::Below)]
}

fn any_target() -> impl Strategy<Value = Target> {
    let pattern = prop_oneof!["\\|{0,2}ads\\*[a-z.]{1,9}\\^?", "/[a-z]{3,9}\\$?/"];
    prop_oneof![
        4 => (any_name(), any_reach()).prop_map(|(name, reach)| Target::Name(name, reach)),
        1 => any::<(u32, u8)>().prop_map(|(first, more)| {
            let last = first.saturating_add(more.into());
            Target::Addresses(AddressRange::V4(first.into(), last.into()))
        }),
        1 => (any::<u128>(), 1..128_u32).prop_map(|(address, host)| {
            let last = address | ((1 << host) - 1);
            let first = last ^ ((1 << host) - 1);
            Target::Addresses(AddressRange::V6(first.into(), last.into()))
        }),
        1 => pattern.prop_map(|text| Target::Matching(EntryPattern::parse(&text).unwrap())),
    ]
}

fn any_conditions() -> impl Strategy<Value = Conditions> {
    let client = ("[ -~]{1,9}", any::<bool>()).prop_map(|(selector, negated)| Client {
        selector: selector.into(),
        negated,
    });
    let types = prop::collection::vec(any::<u16>().prop_map(RecordType), 1..4);
    let record_types = prop_oneof![
        Just(RecordTypes::Any),
        types.clone().prop_map(RecordTypes::Only),
        types.prop_map(RecordTypes::Not),
    ];
    let parts = (
        prop::collection::vec(client, 0..3),
        record_types,
        prop::collection::vec(any_name(), 0..3),
    );
    let some = parts.prop_map(|(clients, record_types, except)| Conditions {
        clients,
        record_types,
        except,
    });
    prop_oneof![2 => Just(Conditions::default()), 1 => some]
}

pub(crate) fn any_entry() -> impl Strategy<Value = Entry> {
    let effect = prop_oneof![Just(Effect::Block), Just(Effect::Allow)];
    let purpose = prop_oneof![9 => Just(Purpose::Rule), 1 => Just(Purpose::Cancel)];
    let important = prop::bool::weighted(0.2);
    (any_target(), effect, important, any_conditions(), purpose).prop_map(
        |(target, effect, important, conditions, purpose)| Entry {
            target,
            effect,
            important,
            conditions,
            purpose,
        },
    )
}

proptest! {
    #[test]
    fn an_entry_written_in_any_format_is_read_the_same(
        entries in prop::collection::vec(any_entry(), 1..9),
        bare in any_reach(), asterisk in any_reach(), allow: bool,
    ) {
        for format in Format::ALL {
            let effect = if allow { Effect::Allow } else { Effect::Block };
            let settings = Settings { format: Some(format), bare, asterisk, effect, ..Settings::default() };
            let said: Vec<(&Entry, String)> = entries.iter()
                .filter_map(|entry| Some((entry, write(entry, format, &settings)?)))
                .collect();
            let text: Vec<_> = said.iter().map(|(_, line)| line.as_str()).collect();
            let mut again = Vec::new();
            let report = parse(text.join("\n").as_bytes(), &settings, |entry| again.push(entry));
            let said: Vec<Entry> = said.iter().map(|(entry, _)| (*entry).clone()).collect();
            prop_assert_eq!(again, said, "{} {:?} {}", format, text, report);
        }
    }

    /// What every format can say, so that the property above is about something.
    #[test]
    fn every_format_says_something(name in any_name(), first: u32) {
        let settings = Settings::default();
        for format in Format::ALL {
            let targets = [
                Target::Name(name.clone(), Reach::Exact),
                Target::Name(name.clone(), Reach::Within),
                Target::Name(name.clone(), Reach::Below),
                Target::Addresses(AddressRange::V4(first.into(), first.into())),
            ];
            let said = targets.map(|target| write(&Entry::new(target, Effect::Block), format, &settings));
            prop_assert!(said.iter().any(Option::is_some), "{}", format);
        }
    }

    #[test]
    fn no_bytes_make_a_parser_panic_and_pieces_do_not_matter(
        lines in prop::collection::vec(
            prop_oneof![
                any::<Vec<u8>>(),
                "[a-z0-9.*^|@$/#:;=~, \"'()!-]{0,40}".prop_map(String::into_bytes),
                any_entry().prop_map(|entry| {
                    let line = write(&entry, Format::AdGuard, &Settings::default());
                    line.unwrap_or_default().into_bytes()
                }),
            ],
            0..20,
        ),
        cut in 1..50_usize,
        format in prop::option::of(prop::sample::select(&Format::ALL[..])),
    ) {
        let text = lines.join(&b'\n');
        let settings = Settings { format, ..Settings::default() };
        let mut whole = Vec::new();
        let report = parse(&text, &settings, |entry| whole.push(entry));
        let mut parser = Parser::new(&settings);
        let mut pieces = Vec::new();
        for piece in text.chunks(cut) {
            parser.push(piece, &mut |entry| pieces.push(entry));
        }
        prop_assert_eq!(parser.finish(&mut |entry| pieces.push(entry)), report);
        prop_assert_eq!(pieces, whole);
    }
}
