//! Any text as the main configuration file: it is compiled, or refused with reasons.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::config::Config;

fuzz_target!(|text: &str| {
    match Config::of_text(text) {
        Ok(config) => assert!(config.capture.tun.len() < 16),
        Err(error) => {
            assert!(!error.problems.is_empty() && !error.to_string().is_empty());
        }
    }
});
