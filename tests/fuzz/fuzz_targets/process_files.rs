//! Any text as a file of `/proc/PID` or a table of `/proc/net`: never a panic, never a statement that contradicts itself.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidegate_platform::fuzzing::process_files(bytes));
