//! Any bytes as the daemon's answer: reading never panics, and what was read says the same when written again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::control::protocol::Reply;
use tidegate::record::{FlowFilter, Timestamp};

fuzz_target!(|line: &[u8]| {
    if let Some(time) = std::str::from_utf8(line)
        .ok()
        .and_then(|text| text.parse::<Timestamp>().ok())
    {
        assert_eq!(time.to_string().parse(), Ok(time));
    }
    let Ok(reply) = serde_json::from_slice::<Reply>(line) else {
        return;
    };
    if let Reply::Flow(record) = &reply {
        assert!(FlowFilter::default().passes(record));
    }
    let written = serde_json::to_vec(&reply).expect("a reply can be written");
    assert_eq!(
        serde_json::from_slice::<Reply>(&written).expect("our own line"),
        reply
    );
});
