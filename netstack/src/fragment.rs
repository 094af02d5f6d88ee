//! One packet that is larger than the MTU becomes fragments (RFC 791 section 3.2, RFC 8200 section 4.5).

use crate::checksum::Sum;
use crate::ip::{IPV4_HEADER, IPV6_HEADER, protocol, u16_at};
use crate::packet::DropReason;

/// Length of IPv6's fragment header.
const FRAGMENT_HEADER: usize = 8;

/// Cuts `packet` (whole, well-formed, its checksums complete) into fragments of at most `mtu` bytes, each handed to `each`.
/// `identification` ties IPv6 fragments together; IPv4 packets have one already. Says how many there were.
pub(crate) fn fragment(
    packet: &[u8],
    mtu: usize,
    identification: u32,
    mut each: impl FnMut(&[u8]),
) -> Result<usize, DropReason> {
    let is_v4 = packet.first().is_some_and(|first| first >> 4 == 4);
    let head = if is_v4 {
        usize::from(packet[0] & 0x0f) * 4
    } else {
        unfragmentable_len(packet)?
    };
    let overhead = if is_v4 { head } else { head + FRAGMENT_HEADER };
    let (header, payload) = packet.split_at_checked(head).ok_or(DropReason::Truncated)?;
    let room = mtu.saturating_sub(overhead) & !7;
    if room == 0 {
        return Err(DropReason::TooLarge);
    }
    let mut fragment = Vec::with_capacity(mtu);
    let mut offset = 0;
    let mut fragments = 0;
    for piece in payload.chunks(room) {
        let is_last = offset + piece.len() == payload.len();
        fragment.clear();
        fragment.extend_from_slice(header);
        if is_v4 {
            write_v4(&mut fragment, piece.len(), offset, is_last).ok_or(DropReason::TooLarge)?;
        } else {
            write_v6(
                &mut fragment,
                packet,
                piece.len(),
                offset,
                is_last,
                identification,
            )
            .ok_or(DropReason::TooLarge)?;
        }
        fragment.extend_from_slice(piece);
        each(&fragment);
        offset += piece.len();
        fragments += 1;
    }
    Ok(fragments)
}

/// Makes a whole packet's IPv4 header that of a fragment. Options that are not to be copied (RFC 791 section 3.1) stay in
/// the first fragment only.
fn write_v4(header: &mut [u8], payload_len: usize, offset: usize, is_last: bool) -> Option<()> {
    let total_len = u16::try_from(header.len() + payload_len).ok()?;
    let more = if is_last { 0 } else { 0x2000 };
    let offset_field = u16::try_from(offset / 8).ok()? | more;
    if offset > 0 {
        blank_uncopied_options(header.get_mut(IPV4_HEADER..)?);
    }
    header
        .get_mut(2..4)?
        .copy_from_slice(&total_len.to_be_bytes());
    header
        .get_mut(6..8)?
        .copy_from_slice(&offset_field.to_be_bytes());
    header.get_mut(10..12)?.copy_from_slice(&[0, 0]);
    let sum = Sum::default().bytes(header).finish();
    header.get_mut(10..12)?.copy_from_slice(&sum.to_be_bytes());
    Some(())
}

/// Overwrites options without the "copied" bit by "no operation".
fn blank_uncopied_options(mut options: &mut [u8]) {
    const END: u8 = 0;
    const NO_OPERATION: u8 = 1;
    while let [kind, ..] = *options
        && kind != END
    {
        let length = match (kind, options.get(1)) {
            (NO_OPERATION, _) | (_, None) => 1,
            (_, Some(&length)) => usize::from(length).max(1),
        };
        let (option, rest) = options.split_at_mut(length.min(options.len()));
        if kind & 0x80 == 0 {
            option.fill(NO_OPERATION);
        }
        options = rest;
    }
}

/// Appends the fragment header to a copy of the unfragmentable part.
fn write_v6(
    header: &mut Vec<u8>,
    packet: &[u8],
    payload_len: usize,
    offset: usize,
    is_last: bool,
    identification: u32,
) -> Option<()> {
    let at = next_header_field(packet, header.len())?;
    let next = std::mem::replace(header.get_mut(at)?, protocol::FRAGMENT);
    let offset_field = u16::try_from(offset).ok()? | u16::from(!is_last);
    header.extend_from_slice(&[next, 0]);
    header.extend_from_slice(&offset_field.to_be_bytes());
    header.extend_from_slice(&identification.to_be_bytes());
    let length = u16::try_from(header.len() - IPV6_HEADER + payload_len).ok()?;
    header.get_mut(4..6)?.copy_from_slice(&length.to_be_bytes());
    Some(())
}

/// How long the part is that every fragment carries: up to the last hop-by-hop or routing header.
fn unfragmentable_len(packet: &[u8]) -> Result<usize, DropReason> {
    let header: &[u8; IPV6_HEADER] = packet.first_chunk().ok_or(DropReason::Truncated)?;
    let (mut next, mut at, mut unfragmentable) = (header[6], IPV6_HEADER, IPV6_HEADER);
    while let protocol::HOP_BY_HOP | protocol::ROUTING | protocol::DESTINATION_OPTIONS = next {
        let extension: &[u8; 2] = packet
            .get(at..)
            .and_then(|rest| rest.first_chunk())
            .ok_or(DropReason::Truncated)?;
        at += (usize::from(extension[1]) + 1) * 8;
        if next != protocol::DESTINATION_OPTIONS {
            unfragmentable = at;
        }
        next = extension[0];
    }
    debug_assert!(
        u16_at(header, 4) != 0 || packet.len() == IPV6_HEADER,
        "a jumbogram was let in"
    );
    Ok(unfragmentable)
}

/// Where the "next header" byte of the last header before `end` is.
fn next_header_field(packet: &[u8], end: usize) -> Option<usize> {
    let (mut field, mut at) = (6, IPV6_HEADER);
    while at < end {
        field = at;
        at += (usize::from(*packet.get(at + 1)?) + 1) * 8;
    }
    Some(field)
}
