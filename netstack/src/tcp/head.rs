//! The head of a segment from us to the program: IP and TCP header, options, checksum.

use std::num::NonZeroU16;

use crate::checksum::Sum;
use crate::flow::FlowKey;
use crate::ip::{IpHeader, header_len, protocol};
use crate::packet::{Offload, PacketHead, Segmentation};
use crate::tcp::ranges::Range;
use crate::tcp::segment::{TCP_HEADER, option};

/// Largest IP packet, by the width of its length field.
const MAX_PACKET: usize = 65_535;
/// Most SACK blocks that fit beside no other option (RFC 2018 section 3).
pub(crate) const MOST_BLOCKS: usize = 4;
/// Longest options of a TCP header.
const MAX_OPTIONS: usize = 40;

/// The device that segments go into.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    /// Largest IP packet that goes in unsegmented.
    pub(crate) mtu: usize,
    pub(crate) offloads: Offloads,
}

/// What the device does for us on transmit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offloads {
    /// It cuts super-packets and completes checksums.
    Segmentation,
    /// Nothing.
    None,
}

impl Link {
    /// Most payload bytes of a packet without options to an address of `key`'s family.
    pub(crate) fn segment_room(self, key: &FlowKey) -> usize {
        self.mtu
            .saturating_sub(header_len(key.local.ip()) + TCP_HEADER)
    }

    /// Most payload bytes of what is given to the device at once, where segments take `mss`: whole segments.
    pub(crate) fn most_at_once(self, key: &FlowKey, mss: usize) -> usize {
        match self.offloads {
            Offloads::Segmentation => {
                let room = MAX_PACKET - header_len(key.local.ip()) - TCP_HEADER;
                (room / mss).max(1) * mss
            }
            Offloads::None => mss,
        }
    }
}

/// TCP options as they are written, padded to whole words.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    bytes: [u8; MAX_OPTIONS],
    len: usize,
}

impl Options {
    pub(crate) const NONE: Self = Self {
        bytes: [option::NO_OPERATION; MAX_OPTIONS],
        len: 0,
    };

    fn push(&mut self, bytes: &[u8]) {
        if let Some(room) = self.bytes.get_mut(self.len..self.len + bytes.len()) {
            room.copy_from_slice(bytes);
            self.len += bytes.len();
        }
    }

    /// The options of a SYN-ACK (RFC 9293 section 3.7.1, RFC 7323 section 2.2, RFC 2018 section 2).
    pub(crate) fn syn_ack(mss: u16, window_scale: Option<u8>, sack: bool) -> Self {
        let mut options = Self::NONE;
        let [high, low] = mss.to_be_bytes();
        options.push(&[option::MSS, 4, high, low]);
        if let Some(shift) = window_scale {
            options.push(&[option::NO_OPERATION, option::WINDOW_SCALE, 3, shift]);
        }
        if sack {
            let padding = option::NO_OPERATION;
            options.push(&[padding, padding, option::SACK_PERMITTED, 2]);
        }
        options
    }

    /// SACK blocks, [`MOST_BLOCKS`] at most; the first is the one that came last (RFC 2018 section 4).
    pub(crate) fn sack(blocks: impl Iterator<Item = Range>) -> Self {
        let mut options = Self::NONE;
        let padding = option::NO_OPERATION;
        options.push(&[padding, padding, option::SACK, 2]);
        for block in blocks.take(MOST_BLOCKS) {
            options.push(&block.start.to_be_bytes());
            options.push(&block.end.to_be_bytes());
            options.bytes[3] += 8;
        }
        options
    }

    fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// What a head says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    pub(crate) sequence: u32,
    pub(crate) acknowledgement: u32,
    pub(crate) flags: u8,
    pub(crate) window: u16,
    pub(crate) options: Options,
}

impl Head {
    /// Writes the head of a packet to the program of `key` before `payload`; a payload beyond `segment_size` is to be cut by
    /// the device.
    pub(crate) fn write(
        &self,
        key: &FlowKey,
        payload: [&[u8]; 2],
        segment_size: NonZeroU16,
        offloads: Offloads,
    ) -> PacketHead {
        let (source, destination) = (key.remote.ip(), key.local.ip());
        let options = self.options.as_slice();
        let header_len = TCP_HEADER + options.len();
        let payload_len = payload[0].len() + payload[1].len();
        let mut bytes = [0; PacketHead::CAPACITY];
        let ip = IpHeader::new(source, destination, protocol::TCP);
        let at = ip.write(&mut bytes, header_len + payload_len).unwrap_or(0);
        let header = &mut bytes[at..at + header_len];
        header[..2].copy_from_slice(&key.remote.0.port().to_be_bytes());
        header[2..4].copy_from_slice(&key.local.0.port().to_be_bytes());
        header[4..8].copy_from_slice(&self.sequence.to_be_bytes());
        header[8..12].copy_from_slice(&self.acknowledgement.to_be_bytes());
        header[12] = u8::try_from(header_len / 4).unwrap_or(0) << 4;
        header[13] = self.flags;
        header[14..16].copy_from_slice(&self.window.to_be_bytes());
        header[TCP_HEADER..].copy_from_slice(options);
        let length = header_len + payload_len;
        let sum = Sum::pseudo_header(source, destination, protocol::TCP, length);
        let (sum, offload) = match offloads {
            Offloads::None => {
                let sum = sum.bytes(header).bytes(payload[0]);
                (
                    sum.bytes_at(payload[0].len(), payload[1]).finish(),
                    Offload::default(),
                )
            }
            Offloads::Segmentation => {
                let is_several = payload_len > usize::from(segment_size.get());
                let offload = Offload {
                    partial_checksum: true,
                    checksum_valid: false,
                    segmentation: is_several.then_some(Segmentation::Tcp(segment_size)),
                };
                (sum.fold(), offload)
            }
        };
        header[16..18].copy_from_slice(&sum.to_be_bytes());
        PacketHead {
            bytes,
            len: at + header_len,
            offload,
        }
    }
}
