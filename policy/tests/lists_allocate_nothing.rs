//! Asking lists allocates nothing.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::IpAddr;

use tidegate_policy::Name;
use tidegate_policy::list::compiled::{Builder, Compiled, Context, ListInfo};
use tidegate_policy::list::parse::{self, Settings};

/// The system's allocator, counting what this thread asks of it.
struct Counting;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call is handed on as it came to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(work: impl FnOnce()) -> usize {
    let before = COUNT.get();
    work();
    COUNT.get() - before
}

#[test]
fn asking_about_names_and_addresses_allocates_nothing() {
    let mut builder = Builder::new(5);
    let mut text: String = (0..5_000)
        .map(|n| format!("||host{n}.example.com^\n"))
        .collect();
    text.push_str(
        "||ads*.example.net^\n||c*d\n||a.example^$dnstype=A\n||192.0.2.7^\n/^track[0-9]+/\n",
    );
    for name in ["one", "two"] {
        let list = builder.list(ListInfo::new(name)).unwrap();
        parse::parse(text.as_bytes(), &Settings::default(), |entry| {
            builder.add(list, entry)
        });
    }
    let lists = Compiled::open(builder.finish().unwrap()).unwrap();
    let names = [
        "a.b.host77.example.com",
        "ads1.example.net",
        "www.other.example",
        "track7.x.org",
        "a.example",
    ];
    let names = names.map(|name| Name::parse(name).unwrap());
    let listed: IpAddr = [192, 0, 2, 7].into();
    let context = Context::default();
    let mut found = 0;
    let mut ask = || {
        for name in &names {
            found += usize::from(lists.name(name, &context).effect(lists.all()).is_some());
        }
        found += usize::from(
            lists
                .address(listed, &context)
                .effect(lists.all())
                .is_some(),
        );
    };
    // Expressions make their caches when they are first used.
    ask();
    assert_eq!(allocations(&mut ask), 0);
    assert_eq!(found, 2 * 4);
    assert!(
        allocations(|| drop(names[0].clone())) > 0,
        "the count counts"
    );
}
