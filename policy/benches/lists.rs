//! What a million names of lists cost: `cargo bench -p tidegate-policy --bench lists [FILE]`.
//!
//! Prints how long it takes to read them, to compile them and to open the result, its bytes for a name, and percentiles
//! of single look-ups: names chosen uniformly among all and names that are on no list, one after the other, and each
//! after the caches were swept. Beside it a `HashSet<String>` of the same names, asked for each name and all above it.
//! FILE: a list of one's own instead of names made up.
#![expect(
    clippy::print_stdout,
    reason = "a benchmark reports on standard output"
)]

use std::collections::HashSet;
use std::hint::black_box;
use std::time::{Duration, Instant};

use tidegate_policy::Name;
use tidegate_policy::list::compiled::{Builder, Compiled, Context, ListInfo};
use tidegate_policy::list::parse::{self, Settings};

const NAMES: usize = 1_000_000;

fn main() {
    let file = std::env::args()
        .nth(1)
        .filter(|argument| !argument.starts_with('-'));
    let text = match file {
        Some(path) => std::fs::read(path).expect("a list"),
        None => made_up().into_bytes(),
    };
    let (entries, took) = timed(|| {
        let mut entries = Vec::new();
        let report = parse::parse(&text, &Settings::default(), |entry| entries.push(entry));
        println!("{report}");
        entries
    });
    println!("read in {took:.1?}");
    let (bytes, took) = timed(|| {
        let mut builder = Builder::new(0x1234_5678_9abc_def0);
        let list = builder.list(ListInfo::new("list")).expect("a first list");
        for entry in entries {
            builder.add(list, entry);
        }
        builder.finish().expect("not too large")
    });
    println!("compiled in {took:.1?}");
    let len = bytes.len();
    let (lists, took) = timed(|| Compiled::open(bytes).expect("just written"));
    let mut listed: Vec<Name> = Vec::new();
    lists.each_name(&mut |name| listed.push(Name::parse(name).expect("a name")));
    println!(
        "opened in {took:.1?}; {len} bytes, {:.2} for each of {} names",
        len as f64 / listed.len() as f64,
        listed.len()
    );
    let mut numbers = Numbers(3);
    let hits: Vec<Name> = (0..200_000)
        .map(|_| listed[numbers.below(listed.len())].clone())
        .collect();
    let misses: Vec<Name> = (0..200_000)
        .map(|_| Name::parse(&host(&mut numbers)).expect("a name"))
        .collect();
    let context = Context::default();
    let all = lists.all();
    let ask = |name: &Name| lists.name(name, &context).effect(all).is_some();
    report("compiled, on the list", &hits, ask);
    report("compiled, others", &misses, ask);
    let (set, took) = timed(|| {
        listed
            .iter()
            .map(Name::to_string)
            .collect::<HashSet<String>>()
    });
    let text: usize = set.iter().map(String::capacity).sum();
    println!(
        "HashSet<String> in {took:.1?}; {:.1} bytes for each name without the allocator's own",
        (text + set.capacity() * 8 / 7 * (size_of::<String>() + 1)) as f64 / set.len() as f64
    );
    let ask = |name: &Name| name.and_above().any(|above| set.contains(above));
    report("HashSet<String>, on the list", &hits, ask);
    report("HashSet<String>, others", &misses, ask);
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let started = Instant::now();
    let result = work();
    (result, started.elapsed())
}

fn report(label: &str, names: &[Name], ask: impl Fn(&Name) -> bool) {
    let mut times = Vec::with_capacity(names.len());
    let mut yes = 0;
    let one = |name: &Name| {
        // What is asked for is warm: it has just been made.
        black_box(name.clone());
        timed(|| black_box(ask(black_box(name))))
    };
    for name in names {
        let (found, took) = one(name);
        yes += usize::from(found);
        times.push(took);
    }
    print(label, &mut times);
    let (started, count) = (Instant::now(), names.len());
    let found = names
        .iter()
        .filter(|name| black_box(ask(black_box(name))))
        .count();
    assert_eq!(found, yes);
    let each = started.elapsed() / u32::try_from(count).unwrap_or(u32::MAX);
    println!("  {:<32} {each:.1?} each; {}% found", "", 100 * yes / count);
    let mut sweep = vec![1_u8; 96 << 20];
    let mut times: Vec<Duration> = Vec::new();
    for name in names.iter().step_by(names.len() / 300) {
        sweep
            .iter_mut()
            .step_by(64)
            .for_each(|byte| *byte = byte.wrapping_add(1));
        black_box(&mut sweep);
        times.push(one(name).1);
    }
    print("  caches swept", &mut times);
}

fn print(label: &str, times: &mut [Duration]) {
    times.sort_unstable();
    let at = |per_mille: usize| times[(times.len() - 1) * per_mille / 1000];
    println!(
        "  {label:<32} p50 {:>8.1?}  p90 {:>8.1?}  p99 {:>8.1?}  max {:>8.1?}",
        at(500),
        at(900),
        at(990),
        at(1000)
    );
}

/// A stream of numbers that look random and are the same every time (SplitMix64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) >> 32).unwrap_or(0) % limit
    }
}

/// As many hosts, each on a line of an AdGuard filter.
fn made_up() -> String {
    let mut numbers = Numbers(1);
    let mut names = HashSet::new();
    let mut text = String::new();
    while names.len() < NAMES {
        let name = host(&mut numbers);
        if names.insert(name.clone()) {
            text.push_str(&format!("||{name}^\n"));
        }
    }
    text
}

/// A host such as lists hold: a last label, a word or two, and often something before them.
fn host(numbers: &mut Numbers) -> String {
    const LAST: [&str; 20] = [
        "com", "com", "com", "com", "com", "com", "com", "net", "net", "org", "de", "ru", "info",
        "xyz", "co.uk", "top", "io", "com.br", "cn", "online",
    ];
    const BEFORE: [&str; 12] = [
        "www", "ads", "track", "cdn", "stats", "click", "metrics", "img", "api", "go", "t", "s2",
    ];
    let mut name = String::new();
    match numbers.below(10) {
        0..=2 => name.push_str(BEFORE[numbers.below(BEFORE.len())]),
        3 => name.push_str(&format!(
            "{}{}",
            BEFORE[numbers.below(BEFORE.len())],
            numbers.below(1000)
        )),
        4 => word(numbers, &mut name),
        _ => {}
    }
    if !name.is_empty() {
        name.push('.');
    }
    word(numbers, &mut name);
    match numbers.below(10) {
        0 => name.push('-'),
        1 => name.push_str(&numbers.below(100).to_string()),
        _ => {}
    }
    word(numbers, &mut name);
    name.push('.');
    name.push_str(LAST[numbers.below(LAST.len())]);
    name
}

fn word(numbers: &mut Numbers, name: &mut String) {
    const SYLLABLES: [&str; 40] = [
        "an", "ta", "ri", "lo", "me", "st", "er", "in", "on", "ma", "ne", "to", "ra", "li", "co",
        "de", "tra", "ck", "ad", "se", "vi", "po", "ki", "ho", "us", "al", "en", "be", "ga", "sho",
        "p", "we", "b", "mo", "x", "di", "gi", "fu", "z", "ly",
    ];
    for _ in 0..2 + numbers.below(3) {
        name.push_str(SYLLABLES[numbers.below(SYLLABLES.len())]);
    }
}
