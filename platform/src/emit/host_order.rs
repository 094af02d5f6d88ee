//! The IPv4 header as Darwin's raw sockets want it: total length and fragment offset in host byte order (ip(4)).

/// Bytes up to and with the fragment offset.
const HEAD: usize = 8;

/// The first bytes of the packet with these two fields in host order, and the rest of it; `None` if it is shorter.
pub(crate) fn header(packet: &[u8]) -> Option<([u8; HEAD], &[u8])> {
    let (head, rest) = packet.split_first_chunk::<HEAD>()?;
    let [version, service, l0, l1, i0, i1, o0, o1] = *head;
    let [l0, l1] = u16::from_be_bytes([l0, l1]).to_ne_bytes();
    let [o0, o1] = u16::from_be_bytes([o0, o1]).to_ne_bytes();
    Some(([version, service, l0, l1, i0, i1, o0, o1], rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn length_and_offset_change_their_order_and_nothing_else() {
        let packet = [0x45, 0x10, 0x05, 0xdc, 0x12, 0x34, 0x20, 0xb9, 64, 17];
        let (head, rest) = header(&packet).unwrap();
        assert_eq!(u16::from_ne_bytes([head[2], head[3]]), 1500);
        assert_eq!(u16::from_ne_bytes([head[6], head[7]]), 0x20b9);
        assert_eq!((&head[..2], &head[4..6]), (&packet[..2], &packet[4..6]));
        assert_eq!(rest, &packet[8..]);
    }

    proptest! {
        #[test]
        fn no_packet_loses_a_byte(packet: Vec<u8>) {
            match header(&packet) {
                Some((head, rest)) => prop_assert_eq!(head.len() + rest.len(), packet.len()),
                None => prop_assert!(packet.len() < HEAD),
            }
        }
    }
}
