use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::super::parse::{Settings, parse};
use super::super::{Purpose, RecordType, Target};
use super::*;
use crate::list::parse::tests::any_entry;

/// What a naive engine says: every entry of every list in turn.
fn naive(lists: &[Vec<Entry>], name: &Name, context: &Context<'_>) -> Answer {
    let mut answer = Answer::default();
    for (list, entries) in (0..).map(ListNumber).zip(lists) {
        for entry in entries.iter().filter(|entry| counts(entries, entry)) {
            let about = match &entry.target {
                Target::Name(own, Reach::Exact) => own == name,
                Target::Name(own, Reach::Within) => name.is_within(own),
                Target::Name(own, Reach::Below) => name.is_within(own) && own != name,
                Target::Matching(pattern) => pattern.matches(name.as_str()),
                Target::Addresses(_) => false,
            };
            let excepted = entry
                .conditions
                .except
                .iter()
                .any(|except| name.is_within(except));
            if about && !excepted && holds(entry, context) {
                answer.add(
                    answer::Tier::new(entry.effect, entry.important),
                    list.into(),
                );
            }
        }
    }
    answer
}

fn naive_address(lists: &[Vec<Entry>], address: IpAddr, context: &Context<'_>) -> Answer {
    let mut answer = Answer::default();
    for (list, entries) in (0..).map(ListNumber).zip(lists) {
        for entry in entries.iter().filter(|entry| counts(entries, entry)) {
            if let Target::Addresses(range) = &entry.target
                && (entry.conditions.is_empty() || range.single().is_some())
                && (range.ends().0..=range.ends().1).contains(&address)
                && holds(entry, context)
            {
                answer.add(
                    answer::Tier::new(entry.effect, entry.important),
                    list.into(),
                );
            }
        }
    }
    answer
}

fn counts(entries: &[Entry], entry: &Entry) -> bool {
    let mut cancel = entry.clone();
    cancel.purpose = Purpose::Cancel;
    entry.purpose == Purpose::Rule && !entries.contains(&cancel)
}

fn holds(entry: &Entry, context: &Context<'_>) -> bool {
    let clients = &entry.conditions.clients;
    let is = |selector: &str| context.client.unwrap()(selector);
    entry.conditions.record_types.contains(context.record_type)
        && (clients.is_empty() || crate::list::Client::any_holds(clients, &is))
}

fn compile(lists: &[Vec<Entry>], seed: u64) -> Compiled<Vec<u8>> {
    let mut builder = Builder::new(seed);
    for (number, entries) in lists.iter().enumerate() {
        let list = builder
            .list(ListInfo::new(format!("list{number}")))
            .unwrap();
        for entry in entries {
            builder.add(list, entry.clone());
        }
    }
    Compiled::open(builder.finish().unwrap()).unwrap()
}

fn read(text: &str) -> Vec<Entry> {
    let mut entries = Vec::new();
    let settings = Settings {
        format: Some(super::super::parse::Format::AdGuard),
        ..Settings::default()
    };
    parse(text.as_bytes(), &settings, |entry| entries.push(entry));
    entries
}

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

/// Names of few letters, so that they are often above one another.
fn near_name() -> impl Strategy<Value = Name> {
    prop_oneof![
        9 => "[ab]{1,2}(\\.[abc]{1,2}){0,4}",
        1 => "[a-z0-9_-]{1,60}(\\.[a-z0-9_-]{0,50}[a-z]){1,3}",
    ]
    .prop_map(|text| name(&text))
}

fn near_entry() -> impl Strategy<Value = Entry> {
    let target = prop_oneof![
        6 => (near_name(), prop::sample::select(vec![Reach::Exact, Reach::Within, Reach::Below]))
            .prop_map(|(name, reach)| Target::Name(name, reach)),
        1 => prop::sample::select(vec!["||a*b.c^", "||ab.*", "*ba.c^", "/^ab?[.]c/", "a*b*a.b"])
            .prop_map(|text| Target::Matching(crate::list::EntryPattern::parse(text).unwrap())),
        2 => (0..40_u32, 0..20_u32).prop_map(|(first, more)| {
            Target::Addresses(AddressRange::V4(first.into(), (first + more).into()))
        }),
        1 => (0..40_u128, 0..20_u128).prop_map(|(first, more)| {
            let top = u128::MAX - 60;
            Target::Addresses(AddressRange::V6((top + first).into(), (top + first + more).into()))
        }),
    ];
    (any_entry(), target).prop_map(|(entry, target)| Entry { target, ..entry })
}

proptest! {
    #[test]
    fn compiled_lists_say_what_their_entries_say_one_by_one(
        lists in prop::collection::vec(prop::collection::vec(near_entry(), 0..30), 1..5),
        names in prop::collection::vec(near_name(), 20),
        addresses in prop::collection::vec(0..70_u32, 20),
        seed: u64, record_type in prop::option::of(1..3_u16), odd: bool,
    ) {
        let compiled = compile(&lists, seed);
        let client = |selector: &str| (selector.len() % 2 == 1) == odd;
        let context = Context { record_type: record_type.map(RecordType), client: Some(&client) };
        let own = lists.iter().flatten().filter_map(|entry| match &entry.target {
            Target::Name(name, _) => Some(name.clone()),
            Target::Addresses(_) | Target::Matching(_) => None,
        });
        for name in names.into_iter().chain(own) {
            prop_assert_eq!(compiled.name(&name, &context), naive(&lists, &name, &context), "{}", name);
        }
        for address in addresses {
            let v6 = (u128::MAX - 60).saturating_add(address.into());
            for address in [IpAddr::V4(address.into()), IpAddr::V6(v6.into())] {
                prop_assert_eq!(
                    compiled.address(address, &context), naive_address(&lists, address, &context), "{}", address
                );
            }
        }
    }

    #[test]
    fn the_names_are_there_and_no_others(
        names in prop::collection::btree_set(prop_oneof![near_name(), "[a-z.]{1,9}".prop_filter_map("a name", |text| Name::parse(&text).ok())], 0..300),
        seed: u64,
    ) {
        let entries: Vec<_> = names.iter().map(|name| Entry::new(Target::Name(name.clone(), Reach::Exact), Effect::Block)).collect();
        let compiled = compile(&[entries], seed);
        let mut found = std::collections::BTreeSet::new();
        compiled.each_name(&mut |text| assert!(found.insert(name(text))));
        prop_assert_eq!(found, names);
    }

    #[test]
    fn changed_bytes_are_refused(at: prop::sample::Index, to: u8) {
        let mut bytes = compile(&[read("||a.b^\n/x/\n||c.d^$dnstype=A\n||192.0.2.1^")], 1).bytes;
        let at = at.index(bytes.len());
        prop_assume!(bytes[at] != to);
        bytes[at] = to;
        prop_assert!(Compiled::open(bytes).is_err());
    }

    /// With the checksum put right, as someone who means harm would.
    #[test]
    fn hostile_bytes_are_refused_or_answer_for_their_names_only(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        asked in prop::collection::vec(near_name(), 10),
    ) {
        let text = "||a.b^\n||ab.c^$important\n|b.c^\n/abc/\n||c.d^$dnstype=A\n||192.0.2.1^\na.a\nb.a\nab.a\nba.a\n";
        let mut bytes = compile(&[read(text), read("||a.b^\n@@||b.a^\n")], 1).bytes;
        for (at, to) in changes {
            let at = 16 + at.index(bytes.len() - 16);
            bytes[at] = to;
        }
        sealed(&mut bytes);
        if let Ok(compiled) = Compiled::open(bytes) {
            let mut names = Vec::new();
            compiled.each_name(&mut |text| names.push(name(text)));
            for asked in asked.iter().chain(&names) {
                compiled.each_reason(asked, &Context::default(), &mut |found| {
                    if let By::Name(above, _) = found.by {
                        assert!(names.iter().any(|name| name.as_str() == above));
                    }
                });
            }
            for name in &names {
                let mut is_found = false;
                compiled.each_group(name, &mut |above, _| is_found |= above == name.as_str());
                prop_assert!(is_found, "{}", name);
            }
            compiled.address(Ipv4Addr::new(192, 0, 2, 1).into(), &Context::default());
        }
    }
}

#[test]
fn what_is_cut_off_anywhere_is_refused() {
    let bytes = compile(&[read("||a.b^\n/x/\n||c.d^$dnstype=A\n||192.0.2.1^")], 1).bytes;
    for len in 0..bytes.len() {
        assert!(Compiled::open(&bytes[..len]).is_err(), "{len}");
    }
    assert!(Compiled::open(&bytes).is_ok());
}

/// Going through 2^31 buckets that are not there would take a minute.
#[test]
fn more_buckets_than_there_are_are_refused_at_once() {
    let mut bytes = compile(&[], 0).bytes;
    let bits = 4 * 8;
    for more in [u64::from(bytes[bits]) + 1, 31, 32, u64::MAX] {
        bytes[bits..bits + 8].copy_from_slice(&more.to_le_bytes());
        sealed(&mut bytes);
        let refused = Compiled::open(&bytes).unwrap_err();
        assert_eq!(refused, OpenError::Senseless("its header"), "{more}");
    }
}

#[test]
fn no_list_and_the_longest_names_are_lists_too() {
    let empty = compile(&[], 0);
    assert_eq!(
        empty.name(&name("a.b"), &Context::default()),
        Answer::default()
    );
    assert_eq!(
        empty.address([192, 0, 2, 1].into(), &Context::default()),
        Answer::default()
    );
    let label = "z".repeat(63);
    let long = format!("{label}.{label}.{label}.{}", &label[..61]);
    let deep = format!("{}b", "a.".repeat(126));
    let names = [&*long, &*deep]
        .map(|text| Entry::new(Target::Name(name(text), Reach::Within), Effect::Block));
    let compiled = compile(&[names.to_vec()], 3);
    for text in [&*long, &*deep] {
        let answer = compiled.name(&name(text), &Context::default());
        assert_eq!(answer.effect(compiled.all()), Some(Effect::Block));
        let above = compiled.name(&name(text.split_once('.').unwrap().1), &Context::default());
        assert_eq!(above, Answer::default());
    }
}

#[test]
fn the_strongest_decides_among_the_lists_asked() {
    let lists = [
        read("||a.x^\n||b.x^$important\n||d.x^"),
        read("@@||a.x^\n@@||b.x^\n@@||c.x^$important"),
        read("||c.x^$important"),
    ];
    let compiled = compile(&lists, 1);
    let only: ListSet = [compiled.lists().next().unwrap().0].into_iter().collect();
    let ask = |text: &str, among| {
        compiled
            .name(&name(text), &Context::default())
            .effect(among)
    };
    assert_eq!(ask("a.x", compiled.all()), Some(Effect::Allow));
    assert_eq!(ask("a.x", only), Some(Effect::Block));
    assert_eq!(ask("b.x", compiled.all()), Some(Effect::Block));
    assert_eq!(ask("c.x", compiled.all()), Some(Effect::Allow));
    assert_eq!(ask("e.d.x", compiled.all()), Some(Effect::Block));
    assert_eq!(ask("x", compiled.all()), None);
}

#[test]
fn lists_are_found_by_name_and_by_category() {
    let mut builder = Builder::new(1);
    for (name, category) in [("one", "ads"), ("two", "malware"), ("three", "ads")] {
        let mut info = ListInfo::new(name);
        info.categories.push(category.to_owned());
        builder.list(info).unwrap();
    }
    let compiled = Compiled::open(builder.finish().unwrap()).unwrap();
    let called = |text| {
        let lists = compiled.lists_called(text);
        lists
            .iter()
            .map(|list| compiled.info(list).unwrap().name.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(called("ads"), ["one", "three"]);
    assert_eq!(called("two"), ["two"]);
    assert!(compiled.lists_called("none").is_empty());
}

#[test]
fn a_users_own_list_takes_back_what_others_say_and_others_only_their_own() {
    let entries = "||a.x^\n||192.0.2.1^\n||b.x^$dnstype=A";
    let cancels = "||a.x^$badfilter\n||192.0.2.1^$badfilter\n||b.x^$dnstype=A,badfilter";
    for (scope, left) in [(Cancels::Own, 1), (Cancels::All, 0)] {
        let mut builder = Builder::new(1);
        let theirs = builder.list(ListInfo::new("theirs")).unwrap();
        let mine = builder
            .list(ListInfo {
                cancels: scope,
                ..ListInfo::new("mine")
            })
            .unwrap();
        read(cancels)
            .into_iter()
            .for_each(|entry| builder.add(mine, entry));
        read(entries)
            .into_iter()
            .for_each(|entry| builder.add(theirs, entry));
        let compiled = Compiled::open(builder.finish().unwrap()).unwrap();
        let context = Context {
            record_type: Some(RecordType::A),
            client: None,
        };
        let count = |answer: Answer| answer.lists().iter().count();
        assert_eq!(count(compiled.name(&name("a.x"), &context)), left);
        assert_eq!(count(compiled.name(&name("b.x"), &context)), left);
        assert_eq!(
            count(compiled.address([192, 0, 2, 1].into(), &context)),
            left
        );
    }
}

#[test]
fn what_no_file_holds_is_counted() {
    let mut builder = Builder::new(1);
    let list = builder.list(ListInfo::new("list")).unwrap();
    let wide = Target::Matching(crate::list::EntryPattern::parse("*").unwrap());
    builder.add(list, Entry::new(wide, Effect::Block));
    for _ in 1..MOST_LISTS {
        builder.list(ListInfo::new("more")).unwrap();
    }
    assert_eq!(
        builder.list(ListInfo::new("more")).unwrap_err(),
        BuildError::TooManyLists
    );
    assert_eq!(
        builder.list(ListInfo::new("x".repeat(256))).unwrap_err(),
        BuildError::TooLong
    );
    assert!(Compiled::open(builder.finish().unwrap()).is_ok());
}
