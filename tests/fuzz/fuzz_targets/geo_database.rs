//! Any bytes as an MMDB, the last sixteen as an address: an error or a place.
#![no_main]

use std::net::IpAddr;

use libfuzzer_sys::fuzz_target;
use tidegate_policy::geo::Database;

fuzz_target!(|input: &[u8]| {
    let Some((bytes, address)) = input.split_last_chunk::<16>() else {
        return;
    };
    let Ok(database) = Database::open(bytes) else {
        return;
    };
    for address in [
        IpAddr::from(*address),
        IpAddr::from([address[0], address[1], address[2], address[3]]),
    ] {
        if let Ok(place) = database.place(address) {
            assert!(!format!("{place:?}").is_empty());
        }
    }
});
