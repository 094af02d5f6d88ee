//! The program that runs for each packet that a socket receives: it notes which socket a peer has spoken to unasked.
//!
//! What the device brings was asked for: it answers a flow of ours. A datagram that comes by any other way was sent to the
//! socket's own address and port, and what the socket sends there must leave from them. Only ports that clients get too are
//! noted: about others there is no doubt.

use std::io;
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, OwnedFd};

use crate::bpf::assembler::Condition::{AnyBit, Equal, Greater, NotEqual};
use crate::bpf::assembler::Register::{R0, R1, R2, R3, R4, R6, R7, R8, R10};
use crate::bpf::assembler::{Assembler, Helper, Label, Operation, Size};
use crate::sys::bpf::{self, MapKind};

use super::addressed::Scope;
use super::offsets::ArrivalOffsets;
use super::packet::{self, HEADER_V4, HEADER_V6, PORTS};
use super::records::{ARRIVAL, TUPLE, TUPLE_PORTS, TUPLE_REMOTE};
use super::walk::{follow, read, short};

/// Members of `struct __sk_buff`.
const CONTEXT_DEVICE: i16 = 40;
const CONTEXT_SOCKET: i16 = 168;
/// Members of `struct bpf_sock`.
const SOCKET_PROTOCOL: i16 = 12;
const SOCKET_MARK: i16 = 16;
const IPPROTO_UDP: i32 = 17;

// Places on the stack.
const KEY: i16 = -40;
const HEADER: i16 = -80;
const COOKIE: i16 = -88;
const WALK: i16 = -96;
const INDEX: i16 = -100;

/// Most answers that are known as such. A flood of datagrams from ever new peers pushes older notes out.
const NOTES: u32 = 16_384;

/// What the program writes and reads.
#[derive(Debug)]
pub(super) struct Arrivals {
    /// By the addresses of an answer: the cookie of the socket that the peer has spoken to.
    notes: OwnedFd,
    /// Index of the device whose packets are left out.
    device: OwnedFd,
}

impl Arrivals {
    pub(super) fn create() -> io::Result<Self> {
        Ok(Self {
            notes: bpf::create_map(MapKind::LruHash, TUPLE, ARRIVAL, NOTES)?,
            device: bpf::create_map(MapKind::Array, 4, 4, 1)?,
        })
    }

    /// Packets that come by this device are not noted from now on.
    pub(super) fn leave_out(&self, device: u32) -> io::Result<()> {
        bpf::update(self.device.as_fd(), &[0; 4], &device.to_ne_bytes())
    }

    /// The socket whose answer a datagram with these addresses is.
    pub(super) fn socket(&self, tuple: &[u8; TUPLE]) -> io::Result<Option<u64>> {
        let mut cookie = [0; ARRIVAL];
        let found = bpf::look_up(self.notes.as_fd(), tuple, &mut cookie)?;
        Ok(found.then(|| u64::from_ne_bytes(cookie)))
    }
}

/// Writes the program for datagrams to these `ports`. `None` if it is too long.
pub(super) fn program(
    offsets: &ArrivalOffsets,
    maps: &Arrivals,
    scope: Scope,
    ports: &RangeInclusive<u16>,
) -> Option<Vec<u64>> {
    let program = &mut Assembler::default();
    let (ipv6, keyed, out) = (program.label(), program.label(), program.label());
    program.set(R6, R1);
    require_datagram_socket(program, scope, out);
    require_other_device(program, maps, out);
    program.load(Size::U32, R1, R6, packet::CONTEXT_PROTOCOL);
    program.jump_if(Equal, R1, packet::ipv6(), ipv6);
    key_v4(program, out);
    program.jump(keyed);
    program.place(ipv6);
    key_v6(program, out);
    program.place(keyed);
    key_ports(program, ports, out);
    require_network(program, offsets, scope, out);
    note(program, maps, out);
    program.place(out);
    // Let it pass: these programs only watch.
    program.set(R0, 1);
    program.exit();
    std::mem::take(program).finish()
}

/// Goes out unless a UDP socket without the mark receives this.
fn require_datagram_socket(program: &mut Assembler, scope: Scope, out: Label) {
    program.load(Size::U64, R1, R6, CONTEXT_SOCKET);
    program.jump_if(Equal, R1, 0, out);
    program.call(Helper::FullSocket);
    program.jump_if(Equal, R0, 0, out);
    program.load(Size::U32, R1, R0, SOCKET_PROTOCOL);
    program.jump_if(NotEqual, R1, IPPROTO_UDP, out);
    program.load(Size::U32, R1, R0, SOCKET_MARK);
    program.set_wide(R2, scope.without_mark.into());
    program.jump_if(AnyBit, R1, R2, out);
}

fn require_other_device(program: &mut Assembler, maps: &Arrivals, out: Label) {
    program.load(Size::U32, R7, R6, CONTEXT_DEVICE);
    program.jump_if(Equal, R7, packet::LOOPBACK, out);
    program.store(Size::U32, R10, INDEX, 0);
    program.set_map(R1, maps.device.as_fd());
    program.stack_address(R2, INDEX);
    program.call(Helper::MapLookup);
    program.jump_if(Equal, R0, 0, out);
    program.load(Size::U32, R1, R0, 0);
    program.jump_if(Equal, R1, R7, out);
}

/// The helper that names a packet's network namespace is younger (Linux 6.16) than what else is used here.
fn require_network(program: &mut Assembler, offsets: &ArrivalOffsets, scope: Scope, out: Label) {
    follow(program, R8, WALK, R6, offsets.buffer_socket);
    follow(program, R8, WALK, R8, offsets.socket_network);
    read(program, Size::U64, WALK, R8, offsets.network_cookie);
    program.load(Size::U64, R1, R10, WALK);
    program.set_wide(R2, scope.network_cookie);
    program.jump_if(NotEqual, R1, R2, out);
}

// The key is that of the answer: what was the destination is local.

fn key_v4(program: &mut Assembler, out: Label) {
    packet::load(program, 0, HEADER, HEADER_V4, out);
    packet::mapped(program, KEY, HEADER + 16);
    packet::mapped(program, KEY + short(TUPLE_REMOTE), HEADER + 12);
    packet::header_length(program, R7, HEADER);
    packet::load(program, R7, HEADER, PORTS, out);
}

fn key_v6(program: &mut Assembler, out: Label) {
    packet::load(program, 0, HEADER, HEADER_V6, out);
    // Nothing may stand between the header and the ports.
    program.load(Size::U8, R1, R10, HEADER + 6);
    program.jump_if(NotEqual, R1, IPPROTO_UDP, out);
    for (to, from) in [(0, 24), (8, 32), (16, 8), (24, 16)] {
        program.load(Size::U64, R1, R10, HEADER + from);
        program.store(Size::U64, R10, KEY + to, R1);
    }
    packet::load(program, HEADER_V6, HEADER, PORTS, out);
}

fn key_ports(program: &mut Assembler, ports: &RangeInclusive<u16>, out: Label) {
    program.load(Size::U8, R1, R10, HEADER + 2);
    program.compute(Operation::ShiftLeft, R1, 8);
    program.load(Size::U8, R2, R10, HEADER + 3);
    program.add(R1, R2);
    program.jump_if(Greater, R1, i32::from(*ports.end()), out);
    program.set(R2, i32::from(*ports.start()));
    program.jump_if(Greater, R2, R1, out);
    for (to, from) in [(0, 2), (2, 0)] {
        program.load(Size::U16, R1, R10, HEADER + from);
        program.store(Size::U16, R10, KEY + short(TUPLE_PORTS) + to, R1);
    }
    program.store(Size::U32, R10, KEY + short(TUPLE_PORTS) + 4, 0);
}

fn note(program: &mut Assembler, maps: &Arrivals, out: Label) {
    let update = program.label();
    program.set(R1, R6);
    program.call(Helper::SocketCookie);
    program.store(Size::U64, R10, COOKIE, R0);
    program.set(R7, R0);
    program.set_map(R1, maps.notes.as_fd());
    program.stack_address(R2, KEY);
    program.call(Helper::MapLookup);
    program.jump_if(Equal, R0, 0, update);
    program.load(Size::U64, R1, R0, 0);
    program.jump_if(Equal, R1, R7, out);
    program.place(update);
    program.set_map(R1, maps.notes.as_fd());
    program.stack_address(R2, KEY);
    program.stack_address(R3, COOKIE);
    program.set(R4, 0);
    program.call(Helper::MapUpdate);
}
