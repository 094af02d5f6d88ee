//! Any bytes as compiled lists, their checksum put right: what opens answers for the names that it lists.
#![no_main]

use std::net::IpAddr;

use libfuzzer_sys::fuzz_target;
use tidegate_policy::Name;
use tidegate_policy::list::RecordType;
use tidegate_policy::list::compiled::{By, Compiled, Context, sealed};

fuzz_target!(|bytes: &[u8]| {
    let mut bytes = bytes.to_vec();
    let _ = Compiled::open(&bytes);
    if let Some(len) = bytes.get_mut(24..32) {
        // The length too, or next to nothing would pass the header.
        len.copy_from_slice(&[0; 8]);
        let own = bytes.len() as u64;
        bytes[24..32].copy_from_slice(&own.to_le_bytes());
    }
    sealed(&mut bytes);
    let Ok(lists) = Compiled::open(&bytes) else {
        return;
    };
    let mut names = Vec::new();
    lists.each_name(&mut |name| names.push(Name::parse(name).expect("a name")));
    let context = Context {
        record_type: Some(RecordType::A),
        client: Some(&|selector| selector.len() > 3),
    };
    names.push(Name::parse("www.ads.example.com").expect("a name"));
    for name in names.iter().take(100) {
        lists.each_reason(name, &context, &mut |found| {
            if let By::Name(above, _) = found.by {
                assert!(names.iter().any(|name| name.as_str() == above));
            }
        });
    }
    for address in [IpAddr::from([192, 0, 2, 1]), IpAddr::from([0; 16]), IpAddr::from([255; 16])] {
        lists.address(address, &context);
    }
});
