//! The Internet checksum (RFC 1071): sums of headers and payloads, whole and partial.
//!
//! Everything here works on a running ones' complement [`Sum`], so a pseudo-header, a header and a payload that lies
//! elsewhere add up without being copied together. A *partial* checksum, as a device with checksum offload wants it, is
//! the folded pseudo-header sum, not complemented ([`Sum::fold`]); a complete one is its complement ([`Sum::finish`]).

use std::net::IpAddr;

/// A running ones' complement sum of 16-bit words.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sum(u64);

impl Sum {
    /// The pseudo-header of RFC 9293 section 3.1 and RFC 8200 section 8.1: addresses, protocol, transport length.
    pub(crate) fn pseudo_header(
        source: IpAddr,
        destination: IpAddr,
        protocol: u8,
        length: usize,
    ) -> Self {
        let addresses = match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => Self::default()
                .bytes(&source.octets())
                .bytes(&destination.octets()),
            (source, destination) => Self::default()
                .bytes(&octets(source))
                .bytes(&octets(destination)),
        };
        // A length beyond 16 bits spills into the next word: the sum is the same.
        addresses
            .word(u16::from(protocol))
            .long(u32::try_from(length).unwrap_or(u32::MAX))
    }

    /// Adds bytes. Only the last piece of a message may have an odd length; it is padded with zero.
    pub(crate) fn bytes(self, bytes: &[u8]) -> Self {
        // The sum does not depend on byte order (RFC 1071 section 2B): add native words, swap once at the end.
        let mut native: u64 = 0;
        let mut words = bytes.chunks_exact(4);
        for word in &mut words {
            if let Ok(word) = <[u8; 4]>::try_from(word) {
                native += u64::from(u32::from_ne_bytes(word));
            }
        }
        let mut tail = [0; 4];
        tail[..words.remainder().len()].copy_from_slice(words.remainder());
        native += u64::from(u32::from_ne_bytes(tail));
        Self(self.0 + u64::from(u16::from_be(fold(native))))
    }

    /// Adds bytes that stand at `offset` of the message, which may be odd (RFC 1071 section 2B).
    pub(crate) fn bytes_at(self, offset: usize, bytes: &[u8]) -> Self {
        if offset.is_multiple_of(2) {
            return self.bytes(bytes);
        }
        self.word(Self::default().bytes(bytes).fold().swap_bytes())
    }

    /// Adds one 16-bit word.
    pub(crate) fn word(self, word: u16) -> Self {
        Self(self.0 + u64::from(word))
    }

    /// Adds two 16-bit words.
    pub(crate) fn long(self, long: u32) -> Self {
        Self(self.0 + u64::from(long >> 16) + u64::from(long & 0xffff))
    }

    /// The sum in 16 bits, not complemented: what a device with checksum offload wants in the checksum field.
    pub(crate) fn fold(self) -> u16 {
        fold(self.0)
    }

    /// The checksum: the complement of the sum.
    pub(crate) fn finish(self) -> u16 {
        !self.fold()
    }

    /// The checksum of UDP, where 0 would mean "none" and is sent as 0xffff (RFC 768).
    pub(crate) fn finish_udp(self) -> u16 {
        match self.finish() {
            0 => u16::MAX,
            sum => sum,
        }
    }

    /// Whether a message whose checksum field was summed with the rest is intact.
    pub(crate) fn is_intact(self) -> bool {
        self.fold() == u16::MAX
    }
}

/// Folds carries back in until 16 bits are left. Zero stays zero, anything else becomes 1 to 0xffff.
fn fold(sum: u64) -> u16 {
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    u16::try_from(sum).unwrap_or(u16::MAX)
}

/// The 16 bytes of an IPv6 address, or of an IPv4 address mapped into one.
fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 1071 section 4.1, word by word.
    fn naive(bytes: &[u8]) -> u16 {
        let mut sum: u32 = 0;
        for pair in bytes.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        u16::try_from(sum).unwrap()
    }

    proptest! {
        #[test]
        fn agrees_with_the_word_by_word_sum(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
            prop_assert_eq!(Sum::default().bytes(&bytes).fold(), naive(&bytes));
        }

        #[test]
        fn pieces_add_up_to_the_whole(bytes in prop::collection::vec(any::<u8>(), 2..300), at in 0usize..150) {
            let at = (at * 2).min(bytes.len() & !1);
            let (head, tail) = bytes.split_at(at);
            let whole = Sum::default().bytes(&bytes).fold();
            prop_assert_eq!(Sum::default().bytes(head).bytes(tail).fold(), whole);
        }

        #[test]
        fn pieces_may_be_odd(bytes in prop::collection::vec(any::<u8>(), 2..300), at in 0usize..300) {
            let at = at.min(bytes.len());
            let (head, tail) = bytes.split_at(at);
            let whole = Sum::default().bytes(&bytes).fold();
            prop_assert_eq!(Sum::default().bytes(head).bytes_at(at, tail).fold(), whole);
        }

        #[test]
        fn agrees_with_etherparse_over_a_udp_datagram(
            source: [u8; 16], destination: [u8; 16], payload in prop::collection::vec(any::<u8>(), 0..300)
        ) {
            let header = etherparse::UdpHeader::with_ipv6_checksum(
                1, 2, &etherparse::Ipv6Header { source, destination, ..Default::default() }, &payload,
            ).unwrap();
            let length = u16::try_from(8 + payload.len()).unwrap();
            let ours = Sum::pseudo_header(IpAddr::from(source), IpAddr::from(destination), 17, usize::from(length))
                .word(1).word(2).word(length).bytes(&payload);
            prop_assert_eq!(ours.finish_udp(), header.checksum);
        }
    }

    #[test]
    fn the_example_of_rfc_1071_sums_as_printed() {
        let sum = Sum::default().bytes(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
        assert_eq!(sum.fold(), 0xddf2);
    }
}
