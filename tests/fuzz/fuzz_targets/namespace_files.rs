//! Any text as `/proc/net/unix` or a `gid_map`: never a panic, never a statement that contradicts itself.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidegate_platform::fuzzing::namespace_files(bytes));
