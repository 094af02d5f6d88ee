//! UNIX sockets that others can reach by a path, from the text of `/proc/net/unix`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// `__SO_ACCEPTCON` in the flags column: the socket listens.
const LISTENS: u32 = 0x1_0000;
/// `SOCK_DGRAM` in the type column: takes datagrams without listening.
const DATAGRAM: u32 = 2;

/// Absolute paths of the sockets that take connections or datagrams, sorted, each once. A line that is not of the
/// kernel's form is passed over.
pub(super) fn reachable_paths(table: &[u8]) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = table
        .split(|byte| *byte == b'\n')
        .filter_map(reachable_path)
        .collect();
    paths.sort_unstable();
    paths.dedup();
    paths
}

/// Columns: slot, reference count, protocol, flags, type, state, inode, path; numbers are hexadecimal but the inode.
fn reachable_path(line: &[u8]) -> Option<PathBuf> {
    let mut rest = line;
    let mut columns = [&[][..]; 7];
    for column in &mut columns {
        rest = rest.trim_ascii_start();
        let end = rest.iter().position(|byte| *byte == b' ')?;
        (*column, rest) = rest.split_at_checked(end)?;
    }
    let hexadecimal =
        |column: &[u8]| u32::from_str_radix(std::str::from_utf8(column).ok()?, 16).ok();
    let [_, _, _, flags, kind, _, _] = columns;
    let takes_strangers = hexadecimal(flags)? & LISTENS != 0 || hexadecimal(kind)? == DATAGRAM;
    let path = Path::new(OsStr::from_bytes(rest.strip_prefix(b" ")?));
    (takes_strangers && path.is_absolute()).then(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TABLE: &str = "\
Num       RefCount Protocol Flags    Type St Inode Path
0000000000000000: 00000002 00000000 00010000 0001 01 17350 /run/dbus/system_bus_socket
0000000000000000: 00000003 00000000 00000000 0001 03 17351 /run/dbus/system_bus_socket
0000000000000000: 00000002 00000000 00000000 0002 01 17352 /dev/log
0000000000000000: 00000002 00000000 00010000 0005 01 17353 /home/a user/with space.sock
0000000000000000: 00000002 00000000 00010000 0001 01 17354 @abstract
0000000000000000: 00000002 00000000 00010000 0001 01 17355 relative.sock
0000000000000000: 00000003 00000000 00000000 0001 03 17356
";

    #[test]
    fn listening_and_datagram_sockets_with_an_absolute_path_are_found() {
        let expected = [
            "/dev/log",
            "/home/a user/with space.sock",
            "/run/dbus/system_bus_socket",
        ];
        assert_eq!(
            reachable_paths(TABLE.as_bytes()),
            expected.map(PathBuf::from)
        );
    }

    proptest! {
        #[test]
        fn no_text_panics(table in proptest::collection::vec(any::<u8>(), 0..400)) {
            for path in reachable_paths(&table) {
                prop_assert!(path.is_absolute());
            }
        }
    }
}
