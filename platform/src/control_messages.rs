//! Control messages beside a datagram (cmsg(3)). Each has a header (length with header, level, type) and ends at a multiple of
//! the size of a pointer.

/// Level and type of a message.
pub(crate) type Kind = (i32, i32);

const WORD: usize = size_of::<usize>();
const HEADER: usize = WORD + 8;

/// The data of the first message of one of these kinds.
pub(crate) fn find<'m>(mut messages: &'m [u8], wanted: &[Kind]) -> Option<&'m [u8]> {
    loop {
        let length = usize::from_ne_bytes(messages.get(..WORD)?.try_into().ok()?);
        let level = i32::from_ne_bytes(messages.get(WORD..WORD + 4)?.try_into().ok()?);
        let kind = i32::from_ne_bytes(messages.get(WORD + 4..HEADER)?.try_into().ok()?);
        let data = messages.get(HEADER..length)?;
        if wanted.contains(&(level, kind)) {
            return Some(data);
        }
        messages = messages.get(length.checked_next_multiple_of(WORD)?..)?;
    }
}

/// One message that holds a number of 16 bits.
pub(crate) fn one((level, kind): Kind, data: [u8; 2]) -> [u8; HEADER + WORD] {
    let mut message = [0; HEADER + WORD];
    message[..WORD].copy_from_slice(&(HEADER + data.len()).to_ne_bytes());
    message[WORD..WORD + 4].copy_from_slice(&level.to_ne_bytes());
    message[WORD + 4..HEADER].copy_from_slice(&kind.to_ne_bytes());
    message[HEADER..HEADER + data.len()].copy_from_slice(&data);
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_found_behind_another() {
        let messages = [one((1, 2), [3, 4]), one((5, 6), [7, 8])].concat();
        assert_eq!(find(&messages, &[(5, 6)]), Some(&[7, 8][..]));
        assert_eq!(find(&messages, &[(9, 9), (1, 2)]), Some(&[3, 4][..]));
        assert_eq!(find(&messages, &[(1, 6)]), None);
    }
}
