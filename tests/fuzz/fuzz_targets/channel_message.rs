//! Any packet on the channel between the two processes of `exec`: never a panic, never a statement that contradicts itself.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidegate_platform::fuzzing::channel_message(bytes));
