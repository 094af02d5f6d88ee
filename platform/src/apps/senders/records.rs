//! What the programs in the kernel write and this one reads: the layout of keys and values, and their meaning.
//!
//! All numbers are the machine's, except for ports, which stand as in packets. Names (of folders, of control groups) stand
//! innermost first, each with a final zero.

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::ffi::OsStringExt;

use crate::apps::{FileId, NotedPath};

/// One life of a process under one executable: when its process was forked (nanoseconds since boot), how many `exec`s came
/// before, its id. Names an executable for good.
pub(super) const IMAGE: usize = 24;
/// The same and its control group.
pub(super) const PROCESS: usize = 32;
pub(super) const PROCESS_ID: usize = 16;
/// Both addresses in 16 bytes, IPv4 ones mapped; both ports; 4 bytes of zeros.
pub(super) const TUPLE: usize = 40;
pub(super) const TUPLE_REMOTE: usize = 16;
pub(super) const TUPLE_PORTS: usize = 32;

/// One send: the process, the socket's cookie, the time (CLOCK_MONOTONIC), the socket's owner.
pub(super) const SEND: usize = 56;
pub(super) const SEND_COOKIE: usize = 32;
pub(super) const SEND_TIME: usize = 40;
pub(super) const SEND_USER: usize = 48;
/// The last send, and the last one before it that came from another socket or process.
pub(super) const SENDS: usize = 2 * SEND;

/// What a peer spoke to unasked: the cookie of the socket.
pub(super) const ARRIVAL: usize = 8;

/// A connection that was begun: the process, the time (CLOCK_MONOTONIC), the id to be given to the next process or thread,
/// whether nobody else held the socket.
pub(super) const CONNECTION: usize = 48;
pub(super) const CONNECTION_TIME: usize = 32;
pub(super) const CONNECTION_NEXT_ID: usize = 40;
pub(super) const CONNECTION_ALONE: usize = 44;

/// The longest name within a path or of a control group, its zero included.
pub(super) const NAME: usize = 256;
/// Names of this length together still leave room for one more.
pub(super) const PATH_NAMES: usize = 768;
pub(super) const GROUP_NAMES: usize = 256;
/// An executable: the length of its names, the number of the namespace whose mounts it is opened in, its file's device and, at
/// 16, inode; the names.
pub(super) const PATH_MOUNTS: usize = 4;
pub(super) const PATH_DEVICE: usize = 8;
pub(super) const PATH_INODE: usize = 16;
pub(super) const PATH_TEXT: usize = 24;
pub(super) const PATH: usize = PATH_TEXT + PATH_NAMES + NAME;

/// Of a device as the kernel has it: the rest is its major number (`MINORBITS`, linux/kdev_t.h).
const MINOR_BITS: u32 = 20;

/// How far up ancestors are noted.
pub(super) const MOST_ANCESTORS: usize = 16;
/// How many bytes of a command line are kept.
pub(super) const ARGUMENTS: usize = 512;
/// A process: the number of its ancestors, the length of its arguments, of its control group's names, 4 bytes of zeros, then
/// these three.
pub(super) const DETAILS_ARGUMENTS_LENGTH: usize = 4;
pub(super) const DETAILS_GROUP_LENGTH: usize = 8;
pub(super) const DETAILS_ANCESTORS: usize = 16;
pub(super) const DETAILS_ARGUMENTS: usize = DETAILS_ANCESTORS + MOST_ANCESTORS * IMAGE;
pub(super) const DETAILS_GROUP: usize = DETAILS_ARGUMENTS + ARGUMENTS;
pub(super) const DETAILS: usize = DETAILS_GROUP + GROUP_NAMES + NAME;

/// Key of an image.
pub(super) type ImageKey = [u8; IMAGE];
/// Key of a process.
pub(super) type ProcessKey = [u8; PROCESS];

/// A send that the kernel noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Send {
    pub(super) process: ProcessKey,
    pub(super) cookie: u64,
    /// Nanoseconds of CLOCK_MONOTONIC.
    pub(super) at: u64,
    pub(super) uid: u32,
}

/// A connection whose beginning the kernel noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Connection {
    pub(super) process: ProcessKey,
    /// Nanoseconds of CLOCK_MONOTONIC.
    pub(super) at: u64,
    pub(super) next_id: u32,
    /// Nobody but the process held the socket.
    pub(super) alone: bool,
}

/// What else is known of a process that sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Details {
    /// The parent first.
    pub(super) ancestors: Vec<ImageKey>,
    pub(super) command_line: Vec<u8>,
    /// As a line of `/proc/PID/cgroup`.
    pub(super) control_group: String,
}

pub(super) fn tuple(local: SocketAddr, remote: SocketAddr) -> [u8; TUPLE] {
    let mut key = [0; TUPLE];
    key[..TUPLE_REMOTE].copy_from_slice(&wide(local.ip()));
    key[TUPLE_REMOTE..TUPLE_PORTS].copy_from_slice(&wide(remote.ip()));
    key[TUPLE_PORTS..TUPLE_PORTS + 2].copy_from_slice(&local.port().to_be_bytes());
    key[TUPLE_PORTS + 2..TUPLE_PORTS + 4].copy_from_slice(&remote.port().to_be_bytes());
    key
}

fn wide(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// The last send, and the one before it if there was one.
pub(super) fn sends(value: &[u8; SENDS]) -> (Send, Option<Send>) {
    let (last, before) = value.split_at(SEND);
    let before = send(before);
    (send(last), (before.at != 0).then_some(before))
}

fn send(bytes: &[u8]) -> Send {
    Send {
        process: chunk(bytes, 0),
        cookie: u64::from_ne_bytes(chunk(bytes, SEND_COOKIE)),
        at: u64::from_ne_bytes(chunk(bytes, SEND_TIME)),
        uid: u32::from_ne_bytes(chunk(bytes, SEND_USER)),
    }
}

pub(super) fn connection(value: &[u8; CONNECTION]) -> Connection {
    Connection {
        process: chunk(value, 0),
        at: u64::from_ne_bytes(chunk(value, CONNECTION_TIME)),
        next_id: u32::from_ne_bytes(chunk(value, CONNECTION_NEXT_ID)),
        alone: u32::from_ne_bytes(chunk(value, CONNECTION_ALONE)) != 0,
    }
}

/// When the process was forked, in nanoseconds since boot; of a process's or an executable's key.
pub(super) fn started(process: &[u8]) -> u64 {
    u64::from_ne_bytes(chunk(process, 0))
}

/// Id of the process, of either key.
pub(super) fn process_id(process: &[u8]) -> u32 {
    u32::from_ne_bytes(chunk(process, PROCESS_ID))
}

/// The executable of a process.
pub(super) fn image(process: &ProcessKey) -> ImageKey {
    chunk(process, 0)
}

/// The path of an executable, and its file. `None` if nothing was noted.
pub(super) fn path(value: &[u8; PATH]) -> Option<NotedPath> {
    let names = text(value, 0, PATH_TEXT);
    let device = u32::from_ne_bytes(chunk(value, PATH_DEVICE));
    (!names.is_empty()).then(|| NotedPath {
        path: OsString::from_vec(outermost_first(names)).into(),
        file: FileId {
            major: device >> MINOR_BITS,
            minor: device & ((1 << MINOR_BITS) - 1),
            inode: u64::from_ne_bytes(chunk(value, PATH_INODE)),
        },
        mounts: u32::from_ne_bytes(chunk(value, PATH_MOUNTS)).into(),
    })
}

pub(super) fn details(value: &[u8; DETAILS]) -> Details {
    let count = usize::try_from(u32::from_ne_bytes(chunk(value, 0))).unwrap_or(0);
    let ancestors =
        (0..count.min(MOST_ANCESTORS)).map(|index| chunk(value, DETAILS_ANCESTORS + index * IMAGE));
    let group = outermost_first(text(value, DETAILS_GROUP_LENGTH, DETAILS_GROUP));
    Details {
        ancestors: ancestors.collect(),
        command_line: text(value, DETAILS_ARGUMENTS_LENGTH, DETAILS_ARGUMENTS).to_vec(),
        control_group: format!("0::{}", String::from_utf8_lossy(&group)),
    }
}

fn chunk<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let chunk = bytes.get(at..).and_then(<[u8]>::first_chunk);
    chunk.copied().unwrap_or([0; N])
}

/// The text at `at` whose length stands at `length`.
fn text(value: &[u8], length: usize, at: usize) -> &[u8] {
    let length = usize::try_from(u32::from_ne_bytes(chunk(value, length))).unwrap_or(0);
    value
        .get(at..)
        .and_then(|text| text.get(..length))
        .unwrap_or_default()
}

/// `c\0b\0a\0` as `/a/b/c`; without names, the root.
fn outermost_first(names: &[u8]) -> Vec<u8> {
    let names = names.strip_suffix(b"\0").unwrap_or(names);
    let mut path = Vec::with_capacity(names.len() + 1);
    for name in names.rsplit(|byte| *byte == 0) {
        path.push(b'/');
        path.extend(name);
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn noted(names: &[u8]) -> [u8; PATH] {
        let mut value = [0; PATH];
        value[..4].copy_from_slice(&u32::try_from(names.len()).unwrap().to_ne_bytes());
        value[PATH_TEXT..PATH_TEXT + names.len()].copy_from_slice(names);
        value
    }

    #[test]
    fn names_are_turned_round() {
        let path_of =
            |names: &[u8]| path(&noted(names)).map(|noted| noted.path.display().to_string());
        assert_eq!(
            path_of(b"curl\0bin\0usr\0").as_deref(),
            Some("/usr/bin/curl")
        );
        assert_eq!(path_of(b"memfd:x\0").as_deref(), Some("/memfd:x"));
        assert_eq!(path_of(b""), None);
        assert_eq!(outermost_first(b""), b"/");
    }

    #[test]
    fn a_device_is_told_as_programs_know_it() {
        let mut value = noted(b"a\0");
        let device: u32 = 8 << MINOR_BITS | 257;
        value[PATH_MOUNTS..PATH_DEVICE].copy_from_slice(&5_u32.to_ne_bytes());
        value[PATH_DEVICE..PATH_DEVICE + 4].copy_from_slice(&device.to_ne_bytes());
        value[PATH_INODE..PATH_TEXT].copy_from_slice(&(1_u64 << 40).to_ne_bytes());
        let noted = path(&value).unwrap();
        let FileId {
            major,
            minor,
            inode,
        } = noted.file;
        assert_eq!((major, minor, inode), (8, 257, 1 << 40));
        assert_eq!(noted.mounts, 5);
    }

    #[test]
    fn a_tuple_is_keyed_as_the_packet_has_it() {
        let key = tuple(
            "192.0.2.1:258".parse().unwrap(),
            "[2001:db8::1]:53".parse().unwrap(),
        );
        assert_eq!(key[8..16], [0, 0, 0xff, 0xff, 192, 0, 2, 1]);
        assert_eq!(key[16..20], [0x20, 1, 0xd, 0xb8]);
        assert_eq!(key[32..], [1, 2, 0, 53, 0, 0, 0, 0]);
    }

    #[test]
    fn a_first_send_has_none_before() {
        let mut value = [0; SENDS];
        value[PROCESS_ID] = 7;
        value[SEND_TIME] = 1;
        value[SEND_USER] = 9;
        let (last, before) = sends(&value);
        assert_eq!(
            (process_id(&last.process), last.uid, before),
            (
                u32::from_ne_bytes([7, 0, 0, 0]),
                u32::from_ne_bytes([9, 0, 0, 0]),
                None
            )
        );
        value[SEND + SEND_TIME] = 1;
        assert!(sends(&value).1.is_some());
    }

    proptest! {
        #[test]
        fn no_lengths_panic(numbers: [u32; 3], byte: u8) {
            let mut value = [byte; DETAILS];
            for (index, number) in numbers.into_iter().enumerate() {
                value[index * 4..index * 4 + 4].copy_from_slice(&number.to_ne_bytes());
            }
            let details = details(&value);
            prop_assert!(details.ancestors.len() <= MOST_ANCESTORS);
            let mut value = [byte; PATH];
            value[..4].copy_from_slice(&numbers[0].to_ne_bytes());
            path(&value);
        }
    }
}
