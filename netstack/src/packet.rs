//! Packets at the edge of the stack: what the device says about them, and why one is thrown away.

use std::num::NonZeroU16;

/// What the device says (on receive) or is asked to do (on transmit) about checksum and segmentation.
///
/// The shape of a virtio network header, without its byte layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Offload {
    /// The transport checksum is only the pseudo-header's sum: correct on receive, to be completed on transmit.
    pub partial_checksum: bool,
    /// The device vouches for the transport checksum (receive only).
    pub checksum_valid: bool,
    /// The packet is several segments in one.
    pub segmentation: Option<Segmentation>,
}

/// How a super-packet is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Segmentation {
    /// TCP segments of at most this many payload bytes (TSO / GSO).
    Tcp(NonZeroU16),
    /// UDP datagrams of this many payload bytes, the last may be shorter (USO).
    Udp(NonZeroU16),
}

/// IP and transport header of a packet whose payload the caller holds: write both with one `writev`.
#[derive(Clone, Copy)]
pub struct PacketHead {
    pub(crate) bytes: [u8; Self::CAPACITY],
    pub(crate) len: usize,
    /// What the device has to complete.
    pub offload: Offload,
}

impl PacketHead {
    /// IPv6 and TCP with every option: nothing this crate writes is longer.
    pub const CAPACITY: usize = 40 + 60;

    pub(crate) const EMPTY: Self = Self {
        bytes: [0; Self::CAPACITY],
        len: 0,
        offload: Offload {
            partial_checksum: false,
            checksum_valid: false,
            segmentation: None,
        },
    };
}

impl AsRef<[u8]> for PacketHead {
    fn as_ref(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

impl std::fmt::Debug for PacketHead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PacketHead")
            .field("len", &self.len)
            .field("offload", &self.offload)
            .finish_non_exhaustive()
    }
}

/// Why a packet was thrown away. A value to count, not an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DropReason {
    /// Shorter than its own headers say.
    Truncated,
    /// Neither IPv4 nor IPv6.
    NotIp,
    /// A header contradicts itself or the protocol's rules.
    Malformed,
    /// The IPv4 header's sum is wrong.
    BadHeaderChecksum,
    /// The transport's sum is wrong.
    BadTransportChecksum,
    /// A source or destination that no host may use on a wire (RFC 1122 section 3.2.1.3, RFC 4291).
    ImpossibleAddress,
    /// A source route that is not yet at its end: neither the real destination nor the ports can be judged.
    SourceRoute,
    /// Fragments overlap (RFC 5722).
    FragmentOverlap,
    /// A datagram of too many fragments, or larger than a packet can be.
    FragmentTableFull,
    /// The rest of a datagram's fragments did not come in time, or before newer datagrams needed the room.
    Incomplete,
    /// No room for another flow.
    FlowTableFull,
    /// Too many flows wait for a verdict or an upstream connection.
    TooManyHalfOpen,
    /// More answers of this kind than the rate limit lets out.
    RateLimited,
    /// The flow is being refused by silence.
    Silenced,
    /// Too large for what it has to be put into.
    TooLarge,
    /// The flow that it was for is gone, or is of another kind.
    FlowGone,
}

impl DropReason {
    /// The reason in words, for counters and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Truncated => "truncated",
            Self::NotIp => "not IP",
            Self::Malformed => "malformed",
            Self::BadHeaderChecksum => "bad header checksum",
            Self::BadTransportChecksum => "bad transport checksum",
            Self::ImpossibleAddress => "impossible address",
            Self::SourceRoute => "source route",
            Self::FragmentOverlap => "fragments overlap",
            Self::FragmentTableFull => "fragment table full",
            Self::Incomplete => "fragments without the rest",
            Self::FlowTableFull => "flow table full",
            Self::TooManyHalfOpen => "too many half-open flows",
            Self::RateLimited => "rate limited",
            Self::Silenced => "silenced",
            Self::TooLarge => "too large",
            Self::FlowGone => "flow gone",
        }
    }
}
