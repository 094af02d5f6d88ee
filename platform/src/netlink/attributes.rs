//! Attributes of netlink messages (RFC 3549, section 2.2), written and found by their kinds.

/// Set in the kind of an attribute that holds others.
pub(crate) const NESTED: u16 = 0x8000;
/// The rest of an attribute's kind.
const KIND: u16 = 0x3fff;

/// An attribute is its length, its kind and its value, padded to 4 bytes.
pub(crate) fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = 4 + value.len();
    let mut bytes = Vec::with_capacity(length.next_multiple_of(4));
    bytes.extend(u16::try_from(length).unwrap_or(u16::MAX).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(length.next_multiple_of(4), 0);
    bytes
}

/// The value of the first attribute of a kind.
pub(crate) fn find(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    while let Some(([l0, l1, k0, k1], _)) = attributes.split_first_chunk::<4>() {
        let length = usize::from(u16::from_ne_bytes([*l0, *l1]));
        let value = attributes.get(4..length)?;
        if u16::from_ne_bytes([*k0, *k1]) & KIND == wanted {
            return Some(value);
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
    None
}
