//! Any packet through the emitter: no panic, no packet beyond the MTU, no payload lost.
#![no_main]

use std::num::NonZeroU16;

use libfuzzer_sys::fuzz_target;
use tidegate_netstack::emit::{Segments, reset_in_place_of};
use tidegate_netstack::{Offload, Segmentation};

fuzz_target!(|input: (Vec<u8>, bool, Option<NonZeroU16>, bool, u16)| {
    let (mut packet, partial_checksum, size, is_tcp, mtu) = input;
    complete_header_sum(&mut packet);
    let segmentation = size.map(if is_tcp {
        Segmentation::Tcp
    } else {
        Segmentation::Udp
    });
    let offload = Offload {
        partial_checksum,
        checksum_valid: false,
        segmentation,
    };
    let mtu = usize::from(mtu);
    let mut scratch = Vec::new();
    let _ = reset_in_place_of(&packet);
    let Ok(mut segments) = Segments::new(&packet, offload, mtu, &mut scratch) else {
        return;
    };
    let mut bytes = 0;
    while let Some(segment) = segments.next_packet() {
        assert!(segment.len() <= mtu, "{} > {mtu}", segment.len());
        bytes += segment.len();
    }
    let total = match packet[0] >> 4 {
        4 => usize::from(u16::from_be_bytes([packet[2], packet[3]])),
        _ => 40 + usize::from(u16::from_be_bytes([packet[4], packet[5]])),
    };
    // Headers are repeated, or pieces given up because a checksum has no place: never silently less than the payload.
    assert!(bytes >= total || partial_checksum, "{bytes} < {total}");
});

/// Makes an IPv4 header's sum right, or nothing would get behind it.
fn complete_header_sum(packet: &mut [u8]) {
    let header = packet
        .first()
        .map_or(0, |first| usize::from(first & 0x0f) * 4);
    if header < 20 || packet.len() < header || packet[0] >> 4 != 4 {
        return;
    }
    packet[10..12].fill(0);
    let mut sum: u32 = packet[..header]
        .chunks(2)
        .map(|word| u32::from(word[0]) << 8 | u32::from(word[1]))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let sum = !u16::try_from(sum).expect("folded");
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
}
