//! Any bytes from a ping or raw socket as an echo reply; what was asked for is never mistaken for an answer.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate_netstack::ping::{EchoFamily, EchoReply, echo_request};

fuzz_target!(|bytes: &[u8]| {
    for family in [EchoFamily::V4, EchoFamily::V6] {
        if let Some(reply) = EchoReply::parse(family, bytes) {
            assert!(bytes.ends_with(reply.payload));
            let request = echo_request(family, reply.identifier, reply.sequence, reply.payload);
            assert_eq!(EchoReply::parse(family, &request), None);
        }
    }
});
