//! Any datagram of the kernel: rules, routes, interfaces, sockets, events: never a panic, never a statement that contradicts itself.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidegate_platform::fuzzing::netlink_datagram(bytes));
