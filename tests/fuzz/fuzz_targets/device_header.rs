//! Any header and packet out of a TUN device: never a panic, never a statement that contradicts itself.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidegate_platform::fuzzing::device_header(bytes));
