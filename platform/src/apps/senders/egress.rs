//! The program that runs for each packet of a socket that leaves: it notes whose socket sent a datagram with these addresses.
//!
//! The packet is what the TUN device will give, so its addresses are the flow's, and the socket's cookie leads to the process
//! that gave it an address. That may be another process than the current one: a packet may be held up on its way.

use std::os::fd::BorrowedFd;

use crate::bpf::assembler::Condition::{AnyBit, Equal, NotEqual};
use crate::bpf::assembler::Register::{R0, R1, R2, R3, R4, R6, R7, R8, R10};
use crate::bpf::assembler::{Assembler, Helper, Label, Size};

use super::packet::{self, HEADER_V4, HEADER_V6, PORTS};
use super::records::{
    PROCESS, SEND, SEND_COOKIE, SEND_TIME, SEND_USER, SENDS, TUPLE_PORTS, TUPLE_REMOTE,
};
use super::tally::{self, Table};
use super::walk::short;

/// Members of `struct __sk_buff`.
const CONTEXT_MARK: i16 = 8;
const CONTEXT_DEVICE: i16 = 40;
const IPPROTO_UDP: i32 = 17;

// Places on the stack.
const KEY: i16 = -40;
const SEND_VALUE: i16 = -152;
const HEADER: i16 = -192;
const COOKIE: i16 = -200;
const TALLY_KEY: i16 = -204;

/// The maps that it reads and writes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Maps<'a> {
    pub(super) senders: BorrowedFd<'a>,
    pub(super) tuples: BorrowedFd<'a>,
    pub(super) tallies: BorrowedFd<'a>,
}

/// Writes the program. `None` if it is too long.
pub(super) fn program(maps: Maps<'_>, without_mark: u32) -> Option<Vec<u64>> {
    let program = &mut Assembler::default();
    let (ipv4, ipv6, keyed, out) = (
        program.label(),
        program.label(),
        program.label(),
        program.label(),
    );
    program.set(R6, R1);
    program.load(Size::U32, R1, R6, CONTEXT_MARK);
    program.set_wide(R2, without_mark.into());
    program.jump_if(AnyBit, R1, R2, out);
    // Nobody asks who sent what never leaves, and a flood of it costs nothing.
    program.load(Size::U32, R1, R6, CONTEXT_DEVICE);
    program.jump_if(Equal, R1, packet::LOOPBACK, out);
    program.load(Size::U32, R1, R6, packet::CONTEXT_PROTOCOL);
    program.jump_if(Equal, R1, packet::ipv4(), ipv4);
    program.jump_if(Equal, R1, packet::ipv6(), ipv6);
    program.jump(out);
    program.place(ipv4);
    key_v4(program, out);
    program.jump(keyed);
    program.place(ipv6);
    key_v6(program, out);
    program.place(keyed);
    program.store(Size::U32, R10, KEY + short(TUPLE_PORTS) + 4, 0);
    note(program, maps, out);
    program.place(out);
    // Let it pass: these programs only watch.
    program.set(R0, 1);
    program.exit();
    std::mem::take(program).finish()
}

fn key_v4(program: &mut Assembler, out: Label) {
    packet::load(program, 0, HEADER, HEADER_V4, out);
    program.load(Size::U8, R1, R10, HEADER + 9);
    program.jump_if(NotEqual, R1, IPPROTO_UDP, out);
    packet::mapped(program, KEY, HEADER + 12);
    packet::mapped(program, KEY + short(TUPLE_REMOTE), HEADER + 16);
    packet::header_length(program, R7, HEADER);
    packet::load(program, R7, KEY + short(TUPLE_PORTS), PORTS, out);
}

fn key_v6(program: &mut Assembler, out: Label) {
    packet::load(program, 0, HEADER, HEADER_V6, out);
    program.load(Size::U8, R1, R10, HEADER + 6);
    program.jump_if(NotEqual, R1, IPPROTO_UDP, out);
    for at in [0, 8, 16, 24] {
        program.load(Size::U64, R1, R10, HEADER + 8 + at);
        program.store(Size::U64, R10, KEY + at, R1);
    }
    packet::load(program, HEADER_V6, KEY + short(TUPLE_PORTS), PORTS, out);
}

fn note(program: &mut Assembler, maps: Maps<'_>, out: Label) {
    let (forget, replace, store) = (program.label(), program.label(), program.label());
    program.set(R1, R6);
    program.call(Helper::SocketCookie);
    program.store(Size::U64, R10, COOKIE, R0);
    program.set_map(R1, maps.senders);
    program.stack_address(R2, COOKIE);
    program.call(Helper::MapLookup);
    program.jump_if(Equal, R0, 0, forget);
    program.set(R7, R0);
    program.set_map(R1, maps.tuples);
    program.stack_address(R2, KEY);
    program.call(Helper::MapLookup);
    program.set(R8, R0);
    describe_send(program);
    program.jump_if(Equal, R8, 0, store);

    // The same socket and process as the last time: only the time is new.
    for at in (0..short(PROCESS)).step_by(8).chain([short(SEND_COOKIE)]) {
        program.load(Size::U64, R1, R8, at);
        program.load(Size::U64, R2, R10, SEND_VALUE + at);
        program.jump_if(NotEqual, R1, R2, replace);
    }
    program.load(Size::U64, R1, R10, SEND_VALUE + short(SEND_TIME));
    program.store(Size::U64, R8, short(SEND_TIME), R1);
    program.jump(out);

    program.place(replace);
    for at in (0..short(SEND)).step_by(8) {
        program.load(Size::U64, R1, R8, at);
        program.store(Size::U64, R10, SEND_VALUE + short(SEND) + at, R1);
    }
    program.place(store);
    program.set_map(R1, maps.tuples);
    program.stack_address(R2, KEY);
    program.stack_address(R3, SEND_VALUE);
    program.set(R4, 0);
    program.call(Helper::MapUpdate);
    program.jump_if(NotEqual, R8, 0, out);
    tally::note(program, maps.tallies, Table::Tuples, TALLY_KEY);
    program.jump(out);

    // Nobody knows whose socket this is, so the last note about these addresses is no longer true.
    program.place(forget);
    for forget in [Helper::MapLookup, Helper::MapDelete] {
        program.set_map(R1, maps.tuples);
        program.stack_address(R2, KEY);
        program.call(forget);
        // Looking takes no lock, and nearly always there is none.
        program.jump_if(Equal, R0, 0, out);
    }
}

/// Writes this send, with none before it. R7 is the sender's key.
fn describe_send(program: &mut Assembler) {
    for at in (0..short(SENDS)).step_by(8) {
        program.store(Size::U64, R10, SEND_VALUE + at, 0);
    }
    for at in (0..short(PROCESS)).step_by(8) {
        program.load(Size::U64, R1, R7, at);
        program.store(Size::U64, R10, SEND_VALUE + at, R1);
    }
    program.load(Size::U64, R1, R10, COOKIE);
    program.store(Size::U64, R10, SEND_VALUE + short(SEND_COOKIE), R1);
    program.set(R1, R6);
    program.call(Helper::SocketUser);
    program.store(Size::U32, R10, SEND_VALUE + short(SEND_USER), R0);
    program.call(Helper::MonotonicTime);
    program.store(Size::U64, R10, SEND_VALUE + short(SEND_TIME), R0);
}
