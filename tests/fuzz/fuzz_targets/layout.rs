//! Any text as a rule file to be formatted: twice is once, and it means the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate_policy::format::format;

fuzz_target!(|text: &str| {
    let Ok(once) = format("fuzz.toml", text) else {
        return;
    };
    assert_eq!(format("fuzz.toml", &once).as_ref(), Ok(&once));
});
