//! Just enough of the ELF format (64-bit, little-endian) to tell whether an executable is static.

/// Type of the program header that names the dynamic loader.
const PT_INTERP: u32 = 3;

/// Whether this executable asks for no dynamic loader. `None` when it is no 64-bit little-endian ELF file.
pub(crate) fn is_static(file: &[u8]) -> Option<bool> {
    if file.get(..6)? != [0x7f, b'E', b'L', b'F', 2, 1] {
        return None;
    }
    let table = usize::try_from(u64::from_le_bytes(file.get(32..40)?.try_into().ok()?)).ok()?;
    let entry_size = usize::from(u16::from_le_bytes(file.get(54..56)?.try_into().ok()?));
    let entries = usize::from(u16::from_le_bytes(file.get(56..58)?.try_into().ok()?));
    for index in 0..entries {
        let start = table.checked_add(index * entry_size)?;
        let kind = u32::from_le_bytes(file.get(start..start.checked_add(4)?)?.try_into().ok()?);
        if kind == PT_INTERP {
            return Some(false);
        }
    }
    Some(true)
}

#[cfg(test)]
mod tests {
    use super::is_static;

    #[test]
    fn this_test_itself_is_dynamic() {
        let own = std::fs::read("/proc/self/exe").expect("own executable");
        assert_eq!(is_static(&own), Some(false));
    }

    #[test]
    fn a_header_without_program_headers_is_static() {
        let mut file = vec![0; 64];
        file[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1]);
        assert_eq!(is_static(&file), Some(true));
    }

    #[test]
    fn a_script_and_a_cut_file_are_no_elf() {
        assert_eq!(is_static(b"#!/bin/sh\n"), None);
        assert_eq!(is_static(&[0x7f, b'E', b'L', b'F', 2, 1]), None);
    }
}
