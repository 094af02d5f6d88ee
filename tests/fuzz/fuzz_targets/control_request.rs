//! Any bytes as a line on the control socket: reading never panics, and what was read says the same when written again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::control::protocol::{Message, Request};
use tidegate::record::FlowFilter;

fuzz_target!(|line: &[u8]| {
    let Ok(message) = Message::parse(line) else {
        return;
    };
    if let Request::Flows(wanted) = &message.request {
        // A pattern that is none is refused, not a fault.
        let _ = FlowFilter::new(wanted.app.as_deref(), wanted.verdict);
    }
    let written = serde_json::to_vec(&message).expect("a request can be written");
    assert_eq!(Message::parse(&written), Ok(message));
});
