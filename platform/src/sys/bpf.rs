//! The system call `bpf(2)`: maps, programs and their attachments, each a descriptor. What a descriptor stands for ends
//! when the last one is closed; nothing is pinned.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

// Commands, in the order of `enum bpf_cmd` (linux/bpf.h).
const MAP_CREATE: libc::c_long = 0;
const MAP_LOOKUP_ELEM: libc::c_long = 1;
const MAP_UPDATE_ELEM: libc::c_long = 2;
const PROG_LOAD: libc::c_long = 5;
const LINK_CREATE: libc::c_long = 28;

/// Shown by tools that list maps and programs; at most 15 bytes and a zero.
const NAME: [u8; 16] = *b"tidegate\0\0\0\0\0\0\0\0";
/// The verifier lets only programs under a licence compatible with the GPL read kernel memory.
const LICENSE: &std::ffi::CStr = c"Dual MIT/GPL";
/// Room for the verifier's reasons.
const LOG: usize = 1 << 20;

/// Of asm-generic/socket.h.
const SO_NETNS_COOKIE: libc::c_int = 71;

/// Kinds of maps (`enum bpf_map_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MapKind {
    /// All entries are there from the start; keys are numbers below the size.
    Array,
    /// When it is full, entries that were not used for long make room.
    LruHash,
}

impl MapKind {
    fn number(self) -> u32 {
        match self {
            Self::Array => 2,
            Self::LruHash => 9,
        }
    }
}

/// Where a program is called (`enum bpf_attach_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hook {
    /// A socket is about to receive a packet.
    Ingress,
    /// A packet of a socket is about to leave.
    Egress,
    /// `connect` to an IPv4 address.
    Connect4,
    /// `connect` to an IPv6 address.
    Connect6,
    /// A datagram is sent to an IPv4 address that was given with it.
    SendMessage4,
    /// The same with an IPv6 address.
    SendMessage6,
}

impl Hook {
    fn attach_type(self) -> u32 {
        match self {
            Self::Ingress => 0,
            Self::Egress => 1,
            Self::Connect4 => 10,
            Self::Connect6 => 11,
            Self::SendMessage4 => 14,
            Self::SendMessage6 => 15,
        }
    }

    fn program_type(self) -> u32 {
        match self {
            Self::Ingress | Self::Egress => 8, // BPF_PROG_TYPE_CGROUP_SKB
            Self::Connect4 | Self::Connect6 | Self::SendMessage4 | Self::SendMessage6 => 18, // …_CGROUP_SOCK_ADDR
        }
    }
}

// The members of `union bpf_attr`, as far as they are used. The kernel takes what is left out for zero.

#[repr(C)]
struct MapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
    inner_map_fd: u32,
    numa_node: u32,
    map_name: [u8; 16],
}

#[repr(C)]
struct MapElement {
    map_fd: i32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
struct ProgramLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
}

#[repr(C)]
struct LinkCreate {
    prog_fd: i32,
    target_fd: i32,
    attach_type: u32,
    flags: u32,
}

/// # Safety
/// `attributes` is the member of `union bpf_attr` that `command` takes, and the addresses in it are of memory as long as the
/// command says.
unsafe fn bpf<T>(command: libc::c_long, attributes: &mut T) -> io::Result<libc::c_long> {
    // SAFETY: the caller answers for the attributes; their length is given.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_mut(attributes),
            size_of::<T>(),
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

fn owned(descriptor: libc::c_long) -> io::Result<OwnedFd> {
    let descriptor = libc::c_int::try_from(descriptor).map_err(io::Error::other)?;
    // SAFETY: the kernel just gave this descriptor to us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

fn address<T>(of: &[T]) -> u64 {
    of.as_ptr().addr().try_into().unwrap_or_default()
}

fn length(of: usize) -> io::Result<u32> {
    u32::try_from(of).map_err(io::Error::other)
}

/// Makes a map. Sizes are in bytes.
///
/// # Errors
/// `EPERM` without CAP_BPF, else the system's.
pub(crate) fn create_map(
    kind: MapKind,
    key_size: usize,
    value_size: usize,
    entries: u32,
) -> io::Result<OwnedFd> {
    let mut attributes = MapCreate {
        map_type: kind.number(),
        key_size: length(key_size)?,
        value_size: length(value_size)?,
        max_entries: entries,
        map_flags: 0,
        inner_map_fd: 0,
        numa_node: 0,
        map_name: NAME,
    };
    // SAFETY: MAP_CREATE takes this structure, which holds no address.
    owned(unsafe { bpf(MAP_CREATE, &mut attributes) }?)
}

/// Copies the value of `key` into `value`; false if the map has no such key. Both must have the length that the map was
/// made with.
///
/// # Errors
/// `EPERM` without CAP_BPF where the kernel is older than 5.19, else the system's.
pub(crate) fn look_up(map: BorrowedFd<'_>, key: &[u8], value: &mut [u8]) -> io::Result<bool> {
    let mut attributes = MapElement {
        map_fd: map.as_raw_fd(),
        padding: 0,
        key: address(key),
        value: address(value),
        flags: 0,
    };
    // SAFETY: the key is read and the value written within the map's sizes, which the caller gave to both slices.
    match unsafe { bpf(MAP_LOOKUP_ELEM, &mut attributes) } {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Sets the value of `key`. Both must have the length that the map was made with.
///
/// # Errors
/// `EPERM` without CAP_BPF where the kernel is older than 5.19, else the system's.
pub(crate) fn update(map: BorrowedFd<'_>, key: &[u8], value: &[u8]) -> io::Result<()> {
    let mut attributes = MapElement {
        map_fd: map.as_raw_fd(),
        padding: 0,
        key: address(key),
        value: address(value),
        flags: 0,
    };
    // SAFETY: the key and the value are read within the map's sizes, which the caller gave to both slices.
    unsafe { bpf(MAP_UPDATE_ELEM, &mut attributes) }.map(drop)
}

/// Has the kernel verify and compile a program for a hook.
///
/// # Errors
/// The system's, and the end of what the verifier said.
pub(crate) fn load_program(
    hook: Hook,
    instructions: &[u64],
) -> Result<OwnedFd, (io::Error, String)> {
    let load = |log: &mut [u8]| {
        let mut attributes = ProgramLoad {
            prog_type: hook.program_type(),
            insn_cnt: length(instructions.len())?,
            insns: address(instructions),
            license: LICENSE.as_ptr().addr().try_into().unwrap_or_default(),
            log_level: u32::from(!log.is_empty()),
            log_size: length(log.len())?,
            log_buf: if log.is_empty() { 0 } else { address(log) },
            kern_version: 0,
            prog_flags: 0,
            prog_name: NAME,
            prog_ifindex: 0,
            expected_attach_type: hook.attach_type(),
        };
        // SAFETY: PROG_LOAD takes this structure: it reads the instructions and the licence up to its zero, and writes the
        // log, each within the length given.
        owned(unsafe { bpf(PROG_LOAD, &mut attributes) }?)
    };
    // A log takes memory and time, so only a refusal is asked for its reasons.
    load(&mut []).or_else(|first| {
        let mut log = vec![0; LOG];
        load(&mut log).map_err(|_| {
            let text = log.split(|byte| *byte == 0).next().unwrap_or_default();
            (first, String::from_utf8_lossy(text).into_owned())
        })
    })
}

/// Attaches a program to a control group, and all beneath it, beside those that are attached there already. Closing the
/// descriptor detaches it.
///
/// # Errors
/// The system's.
pub(crate) fn attach(
    program: BorrowedFd<'_>,
    control_group: BorrowedFd<'_>,
    hook: Hook,
) -> io::Result<OwnedFd> {
    let mut attributes = LinkCreate {
        prog_fd: program.as_raw_fd(),
        target_fd: control_group.as_raw_fd(),
        attach_type: hook.attach_type(),
        flags: 0,
    };
    // SAFETY: LINK_CREATE takes this structure, which holds no address.
    owned(unsafe { bpf(LINK_CREATE, &mut attributes) }?)
}

/// Names the network namespace of a socket, for as long as the system runs.
///
/// # Errors
/// `ENOPROTOOPT` before Linux 5.14.
pub(crate) fn network_cookie(socket: BorrowedFd<'_>) -> io::Result<u64> {
    let mut cookie = 0_u64;
    let mut length = libc::socklen_t::try_from(size_of_val(&cookie)).map_err(io::Error::other)?;
    // SAFETY: the option is a number of the length given, and both places outlive the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    if result == 0 {
        Ok(cookie)
    } else {
        Err(io::Error::last_os_error())
    }
}
