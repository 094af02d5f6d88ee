//! Super-packets that go nowhere: written once to learn whether the kernel takes what it promised.

use std::io;
use std::num::NonZeroU16;

use etherparse::PacketBuilder;

/// Segment size of the trial packets, in bytes.
pub(super) const SEGMENT: NonZeroU16 = NonZeroU16::new(100).unwrap();
const PAYLOAD: [u8; 300] = [0; 300];

// 0.0.0.0/8 is no destination on any host (RFC 1122 section 3.2.1.3), ::1 none outside loopback (RFC 4291 section 2.5.3):
// both are dropped on input, before forwarding.
const SOURCE_V4: [u8; 4] = [192, 0, 2, 1];
const NOWHERE_V4: [u8; 4] = [0, 0, 0, 1];
const SOURCE_V6: [u8; 16] = [0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const NOWHERE_V6: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

/// A TCP super-packet of each family.
pub(super) fn tcp() -> io::Result<[Vec<u8>; 2]> {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    let built = PacketBuilder::ipv4(SOURCE_V4, NOWHERE_V4, 1)
        .tcp(9, 9, 0, 1024)
        .ack(0)
        .write(&mut v4, &PAYLOAD);
    built.map_err(io::Error::other)?;
    let built = PacketBuilder::ipv6(SOURCE_V6, NOWHERE_V6, 1)
        .tcp(9, 9, 0, 1024)
        .ack(0)
        .write(&mut v6, &PAYLOAD);
    built.map_err(io::Error::other)?;
    Ok([v4, v6])
}

/// A UDP super-packet of each family.
pub(super) fn udp() -> io::Result<[Vec<u8>; 2]> {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    let built = PacketBuilder::ipv4(SOURCE_V4, NOWHERE_V4, 1)
        .udp(9, 9)
        .write(&mut v4, &PAYLOAD);
    built.map_err(io::Error::other)?;
    let built = PacketBuilder::ipv6(SOURCE_V6, NOWHERE_V6, 1)
        .udp(9, 9)
        .write(&mut v6, &PAYLOAD);
    built.map_err(io::Error::other)?;
    Ok([v4, v6])
}
