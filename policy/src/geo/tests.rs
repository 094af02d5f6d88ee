use std::collections::BTreeMap;

use ipnet::IpNet;
use proptest::prelude::*;

use super::*;

/// A value of a record, to be written.
#[derive(Clone, Debug)]
enum Value {
    Text(&'static str),
    Number(u32),
    Short(u16),
    Long(u64),
    List(Vec<Self>),
    Map(Vec<(&'static str, Self)>),
}

impl Value {
    fn put(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Text(text) => {
                head(2, text.len(), bytes);
                bytes.extend(text.as_bytes());
            }
            Self::Number(number) => {
                head(6, 4, bytes);
                bytes.extend(number.to_be_bytes());
            }
            Self::Short(number) => {
                head(5, 2, bytes);
                bytes.extend(number.to_be_bytes());
            }
            Self::Long(number) => {
                head(9, 8, bytes);
                bytes.extend(number.to_be_bytes());
            }
            Self::List(all) => {
                head(11, all.len(), bytes);
                all.iter().for_each(|value| value.put(bytes));
            }
            Self::Map(all) => {
                head(7, all.len(), bytes);
                for (key, value) in all {
                    Self::Text(key).put(bytes);
                    value.put(bytes);
                }
            }
        }
    }
}

fn head(kind: u8, size: usize, bytes: &mut Vec<u8>) {
    let low = u8::try_from(size.min(29)).unwrap();
    if kind > 7 {
        bytes.extend([low, kind - 7]);
    } else {
        bytes.push(kind << 5 | low);
    }
    if low == 29 {
        bytes.push(u8::try_from(size - 29).unwrap());
    }
}

/// A database of these networks, written as MaxMind's format says: a binary tree, then the records, then what it is.
fn database(record_size: u16, ip_version: u16, all: &[(&str, Value)]) -> Vec<u8> {
    const MARKER: &[u8] = b"\xab\xcd\xefMaxMind.com";
    #[derive(Clone, Copy)]
    enum Link {
        None,
        Node(usize),
        Record(usize),
    }
    let mut nodes = vec![[Link::None; 2]];
    let mut records = Vec::new();
    for (net, value) in all {
        let offset = records.len();
        value.put(&mut records);
        let net: IpNet = net.parse().unwrap();
        let (address, prefix) = match (net, ip_version) {
            (IpNet::V4(net), 4) => (u128::from(net.network().to_bits()) << 96, net.prefix_len()),
            (IpNet::V4(net), _) => (u128::from(net.network().to_bits()), net.prefix_len() + 96),
            (IpNet::V6(net), _) => (net.network().to_bits(), net.prefix_len()),
        };
        let mut at = 0;
        for bit in 0..prefix {
            let side = usize::from(address >> (127 - bit) & 1 == 1);
            if bit + 1 == prefix {
                nodes[at][side] = Link::Record(offset);
            } else if let Link::Node(next) = nodes[at][side] {
                at = next;
            } else {
                nodes.push([Link::None; 2]);
                nodes[at][side] = Link::Node(nodes.len() - 1);
                at = nodes.len() - 1;
            }
        }
    }
    let mut bytes = Vec::new();
    let count = nodes.len();
    for node in &nodes {
        let [left, right] = node.map(|link| {
            let number = match link {
                Link::None => count,
                Link::Node(node) => node,
                Link::Record(offset) => count + 16 + offset,
            };
            u32::try_from(number).unwrap().to_be_bytes()
        });
        match record_size {
            24 => bytes.extend([&left[1..], &right[1..]].concat()),
            28 => bytes.extend([&left[1..], &[left[0] << 4 | right[0]], &right[1..]].concat()),
            _ => bytes.extend([left, right].concat()),
        }
    }
    bytes.extend([0; 16]);
    bytes.extend(records);
    bytes.extend(MARKER);
    Value::Map(vec![
        ("node_count", Value::Number(u32::try_from(count).unwrap())),
        ("record_size", Value::Short(record_size)),
        ("ip_version", Value::Short(ip_version)),
        ("database_type", Value::Text("Test")),
        ("languages", Value::List(Vec::new())),
        ("binary_format_major_version", Value::Short(2)),
        ("binary_format_minor_version", Value::Short(0)),
        ("build_epoch", Value::Long(1_700_000_000)),
        ("description", Value::Map(Vec::new())),
    ])
    .put(&mut bytes);
    bytes
}

fn maxmind(code: &'static str, continent: &'static str) -> Value {
    let names = || {
        (
            "names",
            Value::Map(vec![(
                "en",
                Value::Text("something of more than 29 characters"),
            )]),
        )
    };
    Value::Map(vec![
        (
            "continent",
            Value::Map(vec![("code", Value::Text(continent)), names()]),
        ),
        (
            "country",
            Value::Map(vec![names(), ("iso_code", Value::Text(code))]),
        ),
        (
            "registered_country",
            Value::Map(vec![("iso_code", Value::Text("XX"))]),
        ),
        (
            "subdivisions",
            Value::List(vec![Value::Map(vec![("iso_code", Value::Text("YY"))])]),
        ),
    ])
}

fn country(code: &str) -> Option<Country> {
    Some(Country::parse(code).unwrap())
}

#[test]
fn each_makers_shape_is_understood() {
    let bytes = database(
        28,
        6,
        &[
            ("192.0.2.0/25", maxmind("DE", "EU")),
            (
                "192.0.2.128/25",
                Value::Map(vec![("country_code", Value::Text("JP"))]),
            ),
            (
                "198.51.100.0/24",
                Value::Map(vec![
                    ("autonomous_system_number", Value::Number(64_500)),
                    ("autonomous_system_organization", Value::Text("Example")),
                ]),
            ),
            (
                "2001:db8::/32",
                Value::Map(vec![
                    ("country", Value::Text("BR")),
                    ("continent", Value::Text("SA")),
                    ("asn", Value::Text("AS64501")),
                    ("as_name", Value::Text("Example Two")),
                ]),
            ),
        ],
    );
    let database = Database::open(bytes).unwrap();
    let place = |address: &str| database.place(address.parse().unwrap()).unwrap();
    let europe = Place {
        country: country("DE"),
        continent: Continent::parse("EU"),
        ..Place::default()
    };
    assert_eq!(place("192.0.2.1"), europe);
    assert_eq!(place("::ffff:192.0.2.1"), europe);
    assert_eq!(place("192.0.2.200").country, country("JP"));
    assert_eq!(place("192.0.2.200").continent, Continent::parse("AS"));
    let system = place("198.51.100.1");
    assert_eq!(
        (system.system, system.organisation),
        (Some(64_500), Some("Example"))
    );
    let all = place("2001:db8::1");
    assert_eq!(
        (all.country, all.continent),
        (country("BR"), Continent::parse("SA"))
    );
    assert_eq!(
        (all.system, all.organisation),
        (Some(64_501), Some("Example Two"))
    );
    assert_eq!(place("203.0.113.1"), Place::default());
    assert_eq!(system.or(europe).country, country("DE"));
    assert_eq!((database.kind(), database.made()), ("Test", 1_700_000_000));
}

#[test]
fn what_makes_no_sense_is_unknown() {
    let odd = Value::Map(vec![
        ("country", Value::Number(7)),
        ("continent", Value::List(vec![Value::Text("EU")])),
        ("asn", Value::Text("ASx")),
        ("as_name", Value::Text("")),
    ]);
    let long = Value::Map(vec![(
        "country",
        Value::Map(vec![("iso_code", Value::Text("Germany"))]),
    )]);
    let bytes = database(24, 4, &[("192.0.2.0/24", odd), ("198.51.100.0/24", long)]);
    let database = Database::open(bytes).unwrap();
    for address in ["192.0.2.1", "198.51.100.1", "2001:db8::1"] {
        assert_eq!(
            database.place(address.parse().unwrap()).unwrap(),
            Place::default(),
            "{address}"
        );
    }
}

#[test]
fn a_value_of_a_wrong_kind_costs_nothing_but_itself() {
    const SYSTEM: (&str, Value) = ("asn", Value::Number(64_500));
    let odd = [
        Value::Number(7),
        Value::Long(u64::MAX),
        Value::List(vec![Value::Text("DE")]),
        Value::Map(vec![("code", Value::Text("DE"))]),
        Value::Text("Germany"),
        Value::Text("ZZ"),
    ];
    for value in odd {
        let country = |key| Value::Map(vec![(key, value.clone()), ("names", Value::Number(1))]);
        let record = Value::Map(vec![
            ("country", country("iso_code")),
            ("continent", country("code")),
            ("as_name", value.clone()),
            SYSTEM,
        ]);
        let bytes = database(24, 4, &[("192.0.2.0/24", record)]);
        let database = Database::open(bytes).unwrap();
        let place = database.place([192, 0, 2, 1].into()).unwrap();
        assert_eq!((place.country, place.continent), (None, None), "{value:?}");
        assert_eq!(place.system, Some(64_500), "{value:?}");
    }
}

#[test]
fn a_code_holds_wherever_the_name_stands() {
    let mut pairs = vec![
        ("country_code", Value::Text("DE")),
        ("country", Value::Text("Germany")),
        ("continent_code", Value::Text("EU")),
        ("continent", Value::Text("Europe")),
    ];
    let contradiction = vec![
        ("country", Value::Text("FR")),
        ("country_code", Value::Text("DE")),
        ("continent", Value::Text("NA")),
        ("continent_code", Value::Text("EU")),
    ];
    let as_written = [pairs.clone(), contradiction.clone()];
    pairs.reverse();
    let turned = contradiction.into_iter().rev().collect();
    for record in as_written.into_iter().chain([pairs, turned]) {
        let bytes = database(24, 4, &[("192.0.2.0/24", Value::Map(record.clone()))]);
        let database = Database::open(bytes).unwrap();
        let place = database.place([192, 0, 2, 1].into()).unwrap();
        assert_eq!(place.country, country("DE"), "{record:?}");
        assert_eq!(place.continent, Continent::parse("EU"), "{record:?}");
    }
}

/// Real ones, of whatever maker: `TIDEGATE_MMDB=FILE:FILE cargo test -p tidegate-policy real_databases`.
#[test]
fn real_databases_know_something() {
    let Ok(files) = std::env::var("TIDEGATE_MMDB") else {
        return;
    };
    for file in files.split(':') {
        let database = Database::open(std::fs::read(file).unwrap()).unwrap();
        let is_known = |address: IpAddr| {
            let place = database.place(address).unwrap();
            place.country.is_some() || place.system.is_some()
        };
        let spread = (0..200_000_u32).map(|n| n.wrapping_mul(2_654_435_761));
        let known = spread.filter(|bits| {
            // Within 2a00::/12, of which most is given out.
            let v6 = u128::from(0x2a00_0000 | bits >> 12) << 96;
            is_known(IpAddr::V4((*bits).into())) || is_known(IpAddr::V6(v6.into()))
        });
        let known = known.count();
        assert!(known > 10_000, "{file}: {known} of 200000");
    }
}

proptest! {
    #[test]
    fn every_address_has_the_record_of_its_network(
        record_size in prop::sample::select(vec![24_u16, 28, 32]), v6: bool, nets in prop::collection::btree_set(any::<u8>(), 1..30), asked: u32,
    ) {
        const CODES: [&str; 4] = ["DE", "FR", "US", "CN"];
        let text: BTreeMap<u8, String> = nets.iter().map(|net| (*net, format!("{net}.0.0.0/8"))).collect();
        let all: Vec<_> = text.iter()
            .map(|(net, text)| (text.as_str(), maxmind(CODES[usize::from(*net) % 4], "EU")))
            .collect();
        let database = Database::open(database(record_size, if v6 { 6 } else { 4 }, &all)).unwrap();
        let first = u8::try_from(asked >> 24).unwrap();
        let expected = text.contains_key(&first).then(|| Country::parse(CODES[usize::from(first) % 4]).unwrap());
        prop_assert_eq!(database.place(IpAddr::V4(asked.into())).unwrap().country, expected);
    }

    #[test]
    fn damaged_databases_never_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        end in prop::option::of(any::<prop::sample::Index>()), v4: u32, v6: u128,
    ) {
        let mut bytes = database(24, 6, &[("128.0.0.0/1", maxmind("DE", "EU")), ("8000::/1", maxmind("FR", "EU"))]);
        for (at, to) in changes {
            let at = at.index(bytes.len());
            bytes[at] = to;
        }
        if let Some(end) = end {
            bytes.drain(..end.index(bytes.len()));
        }
        if let Ok(database) = Database::open(bytes) {
            let _ = database.place(IpAddr::V4(v4.into()));
            let _ = database.place(IpAddr::V6(v6.into()));
        }
    }
}
