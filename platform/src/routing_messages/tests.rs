//! Messages as Darwin lays them out, by hand and by round trip.

use proptest::prelude::*;

use super::*;

/// A default route as `NET_RT_DUMP` gives it: the mask of nothing is an empty address.
#[test]
fn a_default_route_through_a_router_is_read() {
    let mut bytes = vec![0; ROUTE_HEADER];
    bytes[2..4].copy_from_slice(&[VERSION, kind::GET]);
    bytes[4..6].copy_from_slice(&4_u16.to_ne_bytes());
    bytes[8..12].copy_from_slice(&(flag::UP | flag::GATEWAY | flag::STATIC).to_ne_bytes());
    bytes[12..16].copy_from_slice(&0b111_u32.to_ne_bytes());
    bytes.extend([16, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]); // 0.0.0.0
    bytes.extend([16, 2, 0, 0, 192, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0]); // 192.0.2.1
    bytes.extend([0, 0, 0, 0]); // no mask: an empty address takes four bytes
    let length = u16::try_from(bytes.len()).unwrap();
    bytes[0..2].copy_from_slice(&length.to_ne_bytes());

    let read: Vec<_> = messages(&bytes).collect();
    assert_eq!(read, [Some(bytes.as_slice())]);
    let route = RouteMessage::parse(&bytes).unwrap();
    assert_eq!(route.destination, "0.0.0.0/0".parse().ok());
    assert_eq!(
        route.gateway,
        Some(Gateway::Address(Ipv4Addr::new(192, 0, 2, 1).into()))
    );
    assert_eq!((route.index, route.source), (4, None));
}

/// The mask 255.255.128.0 is seven bytes long, of family 255 and fills eight.
#[test]
fn a_mask_that_is_cut_short_is_filled_with_zeros() {
    let mut bytes = vec![0; ROUTE_HEADER];
    bytes[2..4].copy_from_slice(&[VERSION, kind::ADD]);
    bytes[12..16].copy_from_slice(&0b111_u32.to_ne_bytes());
    bytes.extend([16, 2, 0, 0, 10, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let [low, high] = 7_u16.to_ne_bytes();
    bytes.extend([20, 18, low, high]);
    bytes.extend([0; 16]);
    bytes.extend([7, 255, 0, 0, 255, 255, 128, 0]);
    let route = RouteMessage::parse(&bytes).unwrap();
    assert_eq!(route.destination, "10.9.0.0/17".parse().ok());
    assert_eq!(route.gateway, Some(Gateway::Interface(7)));
}

#[test]
fn the_interface_inside_a_link_local_address_is_taken_out() {
    let scoped: IpAddr = "fe80:4::1".parse().unwrap();
    let route = RouteMessage {
        kind: kind::GET,
        destination: "::/0".parse().ok(),
        gateway: Some(Gateway::Address(scoped)),
        ..RouteMessage::default()
    };
    let read = RouteMessage::parse(&route.to_bytes()).unwrap();
    assert_eq!(
        read.gateway,
        Some(Gateway::Address("fe80::1".parse().unwrap()))
    );
}

fn gateways() -> impl Strategy<Value = Gateway> {
    prop_oneof![
        any::<Ipv4Addr>().prop_map(|address| Gateway::Address(address.into())),
        any::<u16>().prop_map(Gateway::Interface),
    ]
}

fn destinations() -> impl Strategy<Value = IpNet> {
    let v4 = (any::<Ipv4Addr>(), 0..=32_u8).prop_map(|(address, length)| (address.into(), length));
    let v6 = (0x2000..0x3fff_u16, any::<u64>(), 0..=128_u8).prop_map(|(first, rest, length)| {
        let bits = (u128::from(first) << 112) | u128::from(rest);
        (IpAddr::from(Ipv6Addr::from_bits(bits)), length)
    });
    prop_oneof![v4, v6].prop_map(|(address, length)| IpNet::new(address, length).unwrap().trunc())
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(
        destination in destinations(),
        gateway in gateways(),
        source in proptest::option::of(any::<Ipv4Addr>()),
        index: u16,
        sequence: i32,
    ) {
        let route = RouteMessage {
            kind: kind::ADD,
            index,
            flags: flag::UP | flag::STATIC | flag::PROTOCOL_3,
            process: 7,
            sequence,
            error: 0,
            destination: Some(destination),
            gateway: Some(gateway),
            source: source.map(IpAddr::from),
        };
        let bytes = route.to_bytes();
        prop_assert_eq!(messages(&bytes).collect::<Vec<_>>(), [Some(bytes.as_slice())]);
        let read = RouteMessage::parse(&bytes).unwrap();
        let derived = flag::GATEWAY | flag::HOST;
        prop_assert_eq!(RouteMessage { flags: read.flags & !derived, ..read }, route);
        prop_assert_eq!(read_flag(&bytes, flag::GATEWAY), matches!(gateway, Gateway::Address(_)));
        prop_assert_eq!(read_flag(&bytes, flag::HOST), is_host(destination));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>, kind in 0..20_u8) {
        let mut message = vec![0; ROUTE_HEADER];
        message[3] = kind;
        message[12..16].copy_from_slice(&u32::MAX.to_ne_bytes());
        message.extend(&bytes);
        RouteMessage::parse(&message);
        let read = messages(&bytes).count();
        prop_assert!(read <= bytes.len());
    }
}

fn read_flag(bytes: &[u8], flag: u32) -> bool {
    RouteMessage::parse(bytes).unwrap().flags & flag != 0
}
