//! Sequence numbers: 32 bits that wrap, so that "before" means "less than half of the space before" (RFC 9293 section 3.4).

/// Whether `a` comes before `b`.
pub(crate) fn is_before(a: u32, b: u32) -> bool {
    a != b && b.wrapping_sub(a) < 1 << 31
}

/// The one that comes first.
pub(crate) fn earlier(a: u32, b: u32) -> u32 {
    if is_before(b, a) { b } else { a }
}

/// The one that comes last.
pub(crate) fn later(a: u32, b: u32) -> u32 {
    if is_before(a, b) { b } else { a }
}

/// How far `to` is ahead of `from`; 0 if it is not.
pub(crate) fn ahead(from: u32, to: u32) -> u32 {
    if is_before(from, to) {
        to.wrapping_sub(from)
    } else {
        0
    }
}

/// A length as a distance in sequence space. Nothing here is longer than a window, which has 30 bits.
pub(crate) fn distance(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

/// A distance in sequence space as a length.
pub(crate) fn length(distance: u32) -> usize {
    usize::try_from(distance).unwrap_or(usize::MAX)
}
