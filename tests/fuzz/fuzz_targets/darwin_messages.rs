//! Any bytes as the journal or a kernel setting: never a panic, never a statement that contradicts itself.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidegate_platform::fuzzing::darwin_messages(bytes));
