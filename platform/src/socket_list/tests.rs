//! Lists as the kernel writes them, built by hand.

use proptest::prelude::*;

use super::*;

fn record(kind: u32, length: usize, fields: &[(usize, &[u8])]) -> Vec<u8> {
    let mut bytes = vec![0; length];
    bytes[..4].copy_from_slice(&u32::try_from(length).unwrap().to_ne_bytes());
    bytes[4..8].copy_from_slice(&kind.to_ne_bytes());
    for (place, value) in fields {
        bytes[*place..*place + value.len()].copy_from_slice(value);
    }
    bytes.resize(rounded(length), 0xee); // what fills up is nobody's field
    bytes
}

fn header() -> Vec<u8> {
    record(2, HEADER, &[])
}

/// A connection from 192.0.2.7:50000 to 198.51.100.1:443, made by process 77 for process 42.
fn connection() -> Vec<u8> {
    [
        record(
            ADDRESSES,
            104,
            &[
                (16, &443_u16.to_be_bytes()),
                (18, &50_000_u16.to_be_bytes()),
                (28, &9_u64.to_ne_bytes()),
                (44, &[IPV4]),
                (60, &[198, 51, 100, 1]),
                (76, &[192, 0, 2, 7]),
            ],
        ),
        record(
            SOCKET,
            100, // not a multiple of eight, as on no system yet
            &[
                (64, &501_u32.to_ne_bytes()),
                (68, &77_i32.to_ne_bytes()),
                (72, &42_i32.to_ne_bytes()),
            ],
        ),
        record(0x2, 32, &[]),
        record(0x4, 32, &[]),
        record(0x8, 112, &[]),
        record(CONNECTION, 208, &[(36, &2_i32.to_ne_bytes())]),
    ]
    .concat()
}

/// A datagram socket of both families at port 5353 without a peer.
fn datagram_socket() -> Vec<u8> {
    [
        record(
            ADDRESSES,
            104,
            &[
                (18, &5353_u16.to_be_bytes()),
                (28, &10_u64.to_ne_bytes()),
                (44, &[IPV4 | IPV6]),
            ],
        ),
        record(
            SOCKET,
            96,
            &[(68, &5_i32.to_ne_bytes()), (72, &5_i32.to_ne_bytes())],
        ),
    ]
    .concat()
}

#[test]
fn a_connection_names_its_user_and_the_process_it_is_for() {
    let list = [header(), connection(), datagram_socket(), header()].concat();
    let entries = entries(&list).unwrap();
    assert_eq!(entries.len(), 2);
    let expected = Entry {
        generation: 9,
        local_port: 50_000,
        remote_port: 443,
        local_v4: Some(Ipv4Addr::new(192, 0, 2, 7)),
        remote_v4: Some(Ipv4Addr::new(198, 51, 100, 1)),
        local_v6: None,
        remote_v6: None,
        user: 501,
        last_process: Some(77),
        effective_process: Some(42),
        state: Some(State::SynSent),
    };
    assert_eq!(entries[0], expected);
    assert_eq!(entries[1].effective_process, None, "it is its own");
}

#[test]
fn a_socket_fits_its_own_flow_and_without_a_peer_every_flow_of_its_port() {
    let list = [header(), connection(), datagram_socket(), header()].concat();
    let entries = entries(&list).unwrap();
    let fits = |entry: usize, local: &str, remote: &str| {
        entries[entry].fits(local.parse().unwrap(), remote.parse().unwrap())
    };
    assert_eq!(
        fits(0, "192.0.2.7:50000", "198.51.100.1:443"),
        Some(Fit::Exact)
    );
    assert_eq!(fits(0, "192.0.2.7:50000", "198.51.100.2:443"), None);
    assert_eq!(fits(0, "192.0.2.8:50000", "198.51.100.1:443"), None);
    assert_eq!(fits(0, "[2001:db8::7]:50000", "[2001:db8::1]:443"), None);
    for (local, remote) in [
        ("192.0.2.7:5353", "203.0.113.1:53"),
        ("[2001:db8::7]:5353", "[2001:db8::1]:53"),
    ] {
        assert_eq!(fits(1, local, remote), Some(Fit::AtPort));
    }
    assert_eq!(fits(1, "192.0.2.7:5354", "203.0.113.1:53"), None);
}

#[test]
fn the_closest_socket_is_found_and_all_that_are_as_close() {
    let bound = Entry {
        generation: 11,
        local_v4: Some(Ipv4Addr::new(192, 0, 2, 7)),
        remote_v4: Some(Ipv4Addr::UNSPECIFIED),
        local_port: 5353,
        ..Entry::default()
    };
    let anywhere = |generation| Entry {
        generation,
        local_v4: Some(Ipv4Addr::UNSPECIFIED),
        ..bound.clone()
    };
    let (anywhere, shared) = (anywhere(12), anywhere(13));
    let list = [anywhere, bound, shared];
    let found = |local: &str, at_least| {
        let remote = "203.0.113.1:53".parse().unwrap();
        let found = best(&list, local.parse().unwrap(), remote, at_least);
        found
            .iter()
            .map(|entry| entry.generation)
            .collect::<Vec<_>>()
    };
    assert_eq!(found("192.0.2.7:5353", Fit::AtPort), [11]);
    assert_eq!(found("192.0.2.8:5353", Fit::AtPort), [12, 13]);
    assert!(found("192.0.2.8:5353", Fit::Exact).is_empty());
}

#[test]
fn a_list_of_nothing_is_one_and_a_record_that_is_cut_off_makes_none() {
    assert_eq!(entries(&[header(), header()].concat()), Some(Vec::new()));
    let list = [header(), connection()].concat();
    assert_eq!(entries(&list[..HEADER + 60]), None);
    // A socket without addresses before it.
    let headless = [header(), record(SOCKET, 96, &[])].concat();
    assert_eq!(entries(&headless), None);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>, at in 0..400_usize, byte: u8) {
        entries(&bytes);
        let mut list = [header(), connection(), datagram_socket(), header()].concat();
        if let Some(place) = list.get_mut(at) {
            *place = byte;
        }
        entries(&list);
    }
}
