//! Reading a packet from a program that is given one (`struct __sk_buff`), in R6. It begins with its IP header.

use crate::bpf::assembler::Condition::NotEqual;
use crate::bpf::assembler::Register::{R0, R1, R2, R3, R4, R6, R10};
use crate::bpf::assembler::{Assembler, Helper, Label, Operand, Operation, Register, Size};

/// Member of `struct __sk_buff`: the protocol, as [`ipv4`] or [`ipv6`] has it.
pub(super) const CONTEXT_PROTOCOL: i16 = 16;
/// Length of an IPv4 header without options, of an IPv6 header, and of two ports.
pub(super) const HEADER_V4: i32 = 20;
pub(super) const HEADER_V6: i32 = 40;
pub(super) const PORTS: i32 = 4;

/// The loopback device has this index in every network namespace; what it carries is not captured.
pub(super) const LOOPBACK: i32 = 1;

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;

pub(super) fn ipv4() -> i32 {
    i32::from(ETHERTYPE_IPV4.to_be())
}

pub(super) fn ipv6() -> i32 {
    i32::from(ETHERTYPE_IPV6.to_be())
}

/// Copies bytes of the packet to the stack; `at` is a register or a number.
pub(super) fn load(
    program: &mut Assembler,
    at: impl Into<Operand>,
    to: i16,
    length: i32,
    out: Label,
) {
    program.set(R2, at);
    program.set(R1, R6);
    program.stack_address(R3, to);
    program.set(R4, length);
    program.call(Helper::LoadPacketBytes);
    program.jump_if(NotEqual, R0, 0, out);
}

/// Writes the IPv4 address at `from` on the stack as an IPv6 address to `to`.
pub(super) fn mapped(program: &mut Assembler, to: i16, from: i16) {
    program.store(Size::U64, R10, to, 0);
    // ::ffff:0:0/96 (RFC 4291 section 2.5.5.2), the same in either byte order.
    program.store(Size::U16, R10, to + 8, 0);
    program.store(Size::U16, R10, to + 10, -1);
    program.load(Size::U32, R1, R10, from);
    program.store(Size::U32, R10, to + 12, R1);
}

/// Length in bytes of the IPv4 header at `header` on the stack: it stands in the first byte, in words.
pub(super) fn header_length(program: &mut Assembler, into: Register, header: i16) {
    program.load(Size::U8, into, R10, header);
    program.compute(Operation::And, into, 15);
    program.compute(Operation::ShiftLeft, into, 2);
}
