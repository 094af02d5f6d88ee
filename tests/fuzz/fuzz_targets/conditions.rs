//! Any text as one condition of a rule, held against any other text: what is refused is refused with a reason, what is
//! accepted reads the same as it is written.
#![no_main]

use std::net::IpAddr;

use libfuzzer_sys::fuzz_target;
use tidegate_policy::{ContainerPrefix, Destination, Pattern, Port, Protocol};

fuzz_target!(|input: (&str, &[u8], [u8; 16], u16)| {
    let (text, subject, address, port) = input;
    match Pattern::parse(text) {
        Ok(pattern) => {
            pattern.matches(subject);
            assert_eq!(pattern.to_string(), text);
        }
        Err(refusal) => assert!(!format!("{refusal:?}").is_empty()),
    }
    if let Ok(destination) = Destination::parse(text) {
        let again = Destination::parse(&destination.to_string()).expect("written by us");
        for address in [
            IpAddr::from(address),
            IpAddr::from([address[0], address[1], address[2], address[3]]),
        ] {
            assert_eq!(destination.contains(address), again.contains(address));
        }
    }
    if let Ok(ports) = Port::parse(text) {
        let again = Port::parse(&ports.to_string()).expect("written by us");
        for protocol in [
            Protocol::Tcp,
            Protocol::Udp,
            Protocol::Icmp,
            Protocol::Other(47),
        ] {
            assert_eq!(
                ports.contains(protocol, port),
                again.contains(protocol, port)
            );
        }
    }
    if let Ok(container) = ContainerPrefix::parse(text) {
        assert!(container.matches(&text.to_ascii_lowercase()));
    }
});
