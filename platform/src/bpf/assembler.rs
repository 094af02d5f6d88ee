//! Instructions of the kernel's virtual machine (RFC 9669), written one method each, with labels for jumps.
//!
//! Registers: `R0` holds results, `R1` to `R5` arguments, which a call destroys (no function
//! called here takes five); `R6` to `R9` survive calls; `R10` is the
//! end of a stack of 512 bytes, which is addressed by negative offsets.

use std::os::fd::{AsRawFd, BorrowedFd};

/// A register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Register {
    R0,
    R1,
    R2,
    R3,
    R4,
    R6,
    R7,
    R8,
    R9,
    /// Read-only.
    R10,
}

/// How much is loaded or stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    U8,
    U16,
    U32,
    U64,
}

/// What is computed, 64 bits wide: the left operand and result is a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Add,
    Subtract,
    Multiply,
    And,
    ShiftLeft,
    ShiftRight,
    Set,
}

/// When a jump is taken; numbers are unsigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    Equal,
    NotEqual,
    Greater,
    /// The operands have a bit in common.
    AnyBit,
}

/// The right operand of a computation or comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operand {
    Register(Register),
    Number(i32),
}

/// Functions of the kernel (`enum bpf_func_id`, linux/bpf.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Helper {
    MapLookup,
    MapUpdate,
    MapDelete,
    MonotonicTime,
    LoadPacketBytes,
    CurrentTask,
    SocketCookie,
    SocketUser,
    CurrentControlGroup,
    FullSocket,
    ReadUser,
    ReadKernel,
    ReadKernelString,
    NetworkCookie,
}

/// A place to jump to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Label(usize);

/// A program that grows.
#[derive(Debug, Default)]
pub(crate) struct Assembler {
    instructions: Vec<Instruction>,
    /// Where each label stands.
    labels: Vec<Option<usize>>,
    /// Jumps and their targets.
    jumps: Vec<(usize, Label)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Instruction {
    code: u8,
    destination: u8,
    source: u8,
    offset: i16,
    number: i32,
}

// Classes and modes of operation codes (RFC 9669 section 3).
const LOAD_WIDE: u8 = 0x18;
const MEMORY: u8 = 0x60;
const ATOMIC: u8 = 0xc0;
const LOAD: u8 = 0x01;
const STORE_NUMBER: u8 = 0x02;
const STORE: u8 = 0x03;
const JUMP: u8 = 0x05;
const COMPUTE: u8 = 0x07;
/// The right operand is a register.
const FROM_REGISTER: u8 = 0x08;
const CALL: u8 = 0x80;
const EXIT: u8 = 0x90;
/// `BPF_PSEUDO_MAP_FD`: the number is a map's descriptor.
const MAP: u8 = 1;
/// `BPF_CMPXCHG`: compares with `R0`, stores if equal, gives the old value in `R0`.
const COMPARE_AND_EXCHANGE: i32 = 0xf1;
/// `BPF_ADD | BPF_FETCH`: adds, gives the old value in the register.
const FETCH_AND_ADD: i32 = 0x01;

impl From<Register> for Operand {
    fn from(register: Register) -> Self {
        Self::Register(register)
    }
}

impl From<i32> for Operand {
    fn from(number: i32) -> Self {
        Self::Number(number)
    }
}

impl Register {
    fn number(self) -> u8 {
        match self {
            Self::R0 => 0,
            Self::R1 => 1,
            Self::R2 => 2,
            Self::R3 => 3,
            Self::R4 => 4,
            Self::R6 => 6,
            Self::R7 => 7,
            Self::R8 => 8,
            Self::R9 => 9,
            Self::R10 => 10,
        }
    }
}

impl Size {
    /// In bytes.
    pub(crate) fn bytes(self) -> i32 {
        match self {
            Self::U8 => 1,
            Self::U16 => 2,
            Self::U32 => 4,
            Self::U64 => 8,
        }
    }

    fn code(self) -> u8 {
        match self {
            Self::U32 => 0x00,
            Self::U16 => 0x08,
            Self::U8 => 0x10,
            Self::U64 => 0x18,
        }
    }
}

impl Operation {
    fn code(self) -> u8 {
        match self {
            Self::Add => 0x00,
            Self::Subtract => 0x10,
            Self::Multiply => 0x20,
            Self::And => 0x50,
            Self::ShiftLeft => 0x60,
            Self::ShiftRight => 0x70,
            Self::Set => 0xb0,
        }
    }
}

impl Condition {
    fn code(self) -> u8 {
        match self {
            Self::Equal => 0x10,
            Self::Greater => 0x20,
            Self::AnyBit => 0x40,
            Self::NotEqual => 0x50,
        }
    }
}

impl Helper {
    fn number(self) -> i32 {
        match self {
            Self::MapLookup => 1,
            Self::MapUpdate => 2,
            Self::MapDelete => 3,
            Self::MonotonicTime => 5,
            Self::LoadPacketBytes => 26,
            Self::CurrentTask => 35,
            Self::SocketCookie => 46,
            Self::SocketUser => 47,
            Self::CurrentControlGroup => 80,
            Self::FullSocket => 95,
            Self::ReadUser => 112,
            Self::ReadKernel => 113,
            Self::ReadKernelString => 115,
            Self::NetworkCookie => 122,
        }
    }
}

impl Instruction {
    fn encoded(self) -> u64 {
        // Two fields of four bits, whose order is the machine's.
        let registers = if cfg!(target_endian = "little") {
            self.source << 4 | self.destination
        } else {
            self.destination << 4 | self.source
        };
        let [o0, o1] = self.offset.to_ne_bytes();
        let [n0, n1, n2, n3] = self.number.to_ne_bytes();
        u64::from_ne_bytes([self.code, registers, o0, o1, n0, n1, n2, n3])
    }
}

impl Assembler {
    fn push(&mut self, code: u8, destination: Register, source: Operand, offset: i16) {
        let (code, source, number) = match source {
            Operand::Register(register) => (code | FROM_REGISTER, register.number(), 0),
            Operand::Number(number) => (code, 0, number),
        };
        self.instructions.push(Instruction {
            code,
            destination: destination.number(),
            source,
            offset,
            number,
        });
    }

    /// `left = left operation right`.
    pub(crate) fn compute(
        &mut self,
        operation: Operation,
        left: Register,
        right: impl Into<Operand>,
    ) {
        self.push(COMPUTE | operation.code(), left, right.into(), 0);
    }

    /// `to = from`.
    pub(crate) fn set(&mut self, to: Register, from: impl Into<Operand>) {
        self.compute(Operation::Set, to, from);
    }

    /// `to += number`.
    pub(crate) fn add(&mut self, to: Register, number: impl Into<Operand>) {
        self.compute(Operation::Add, to, number);
    }

    /// `to` = address of a place on the stack.
    pub(crate) fn stack_address(&mut self, to: Register, at: i16) {
        self.set(to, Register::R10);
        self.add(to, i32::from(at));
    }

    fn wide(&mut self, to: Register, source: u8, low: i32, high: i32) {
        self.instructions.push(Instruction {
            code: LOAD_WIDE,
            destination: to.number(),
            source,
            offset: 0,
            number: low,
        });
        self.instructions.push(Instruction {
            code: 0,
            destination: 0,
            source: 0,
            offset: 0,
            number: high,
        });
    }

    /// `to` = a number of 64 bits.
    pub(crate) fn set_wide(&mut self, to: Register, number: u64) {
        let half = |shift: u32| {
            let [a, b, c, d, ..] = (number >> shift).to_le_bytes();
            i32::from_le_bytes([a, b, c, d])
        };
        self.wide(to, 0, half(0), half(32));
    }

    /// `to` = a map, as helpers take it.
    pub(crate) fn set_map(&mut self, to: Register, map: BorrowedFd<'_>) {
        self.wide(to, MAP, map.as_raw_fd(), 0);
    }

    /// `to = *(from + offset)`.
    pub(crate) fn load(&mut self, size: Size, to: Register, from: Register, offset: i16) {
        self.instructions.push(Instruction {
            code: LOAD | MEMORY | size.code(),
            destination: to.number(),
            source: from.number(),
            offset,
            number: 0,
        });
    }

    /// `*(to + offset) = what`.
    pub(crate) fn store(
        &mut self,
        size: Size,
        to: Register,
        offset: i16,
        what: impl Into<Operand>,
    ) {
        let (class, source, number) = match what.into() {
            Operand::Register(register) => (STORE, register.number(), 0),
            Operand::Number(number) => (STORE_NUMBER, 0, number),
        };
        self.instructions.push(Instruction {
            code: class | MEMORY | size.code(),
            destination: to.number(),
            source,
            offset,
            number,
        });
    }

    /// `if *to == R0 { *to = new }`, in one step; `R0` = what was there. 64 bits.
    pub(crate) fn compare_and_exchange(&mut self, to: Register, offset: i16, new: Register) {
        self.atomic(to, offset, new, COMPARE_AND_EXCHANGE);
    }

    /// Adds `by` to `*(to + offset)`, whose old value is in `by` afterwards. In one go, 64 bits wide.
    pub(crate) fn fetch_and_add(&mut self, to: Register, offset: i16, by: Register) {
        self.atomic(to, offset, by, FETCH_AND_ADD);
    }

    fn atomic(&mut self, to: Register, offset: i16, with: Register, what: i32) {
        self.instructions.push(Instruction {
            code: STORE | ATOMIC | Size::U64.code(),
            destination: to.number(),
            source: with.number(),
            offset,
            number: what,
        });
    }

    /// A label that stands nowhere yet.
    pub(crate) fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() - 1)
    }

    /// The label stands before the next instruction.
    pub(crate) fn place(&mut self, label: Label) {
        let here = self.instructions.len();
        if let Some(place) = self.labels.get_mut(label.0) {
            *place = Some(here);
        }
    }

    /// Jumps.
    pub(crate) fn jump(&mut self, to: Label) {
        self.jumps.push((self.instructions.len(), to));
        self.push(JUMP, Register::R0, Operand::Number(0), 0);
    }

    /// Jumps if `left condition right`, 64 bits wide.
    pub(crate) fn jump_if(
        &mut self,
        condition: Condition,
        left: Register,
        right: impl Into<Operand>,
        to: Label,
    ) {
        self.jumps.push((self.instructions.len(), to));
        self.push(JUMP | condition.code(), left, right.into(), 0);
    }

    /// Calls a function of the kernel: arguments in `R1` to `R4`, result in `R0`.
    pub(crate) fn call(&mut self, helper: Helper) {
        self.push(
            JUMP | CALL,
            Register::R0,
            Operand::Number(helper.number()),
            0,
        );
    }

    /// Ends the program; `R0` is its result.
    pub(crate) fn exit(&mut self) {
        self.push(JUMP | EXIT, Register::R0, Operand::Number(0), 0);
    }

    /// The program as the kernel takes it. `None` if a label stands nowhere, or too far from a jump to it.
    pub(crate) fn finish(mut self) -> Option<Vec<u64>> {
        for (jump, label) in std::mem::take(&mut self.jumps) {
            let target = i64::try_from(self.labels.get(label.0).copied()??).ok()?;
            let next = i64::try_from(jump).ok()? + 1;
            self.instructions.get_mut(jump)?.offset = i16::try_from(target - next).ok()?;
        }
        Some(
            self.instructions
                .into_iter()
                .map(Instruction::encoded)
                .collect(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Register::{R0, R1, R2, R6, R10};

    fn assembled(write: impl FnOnce(&mut Assembler)) -> Vec<[u8; 8]> {
        let mut program = Assembler::default();
        write(&mut program);
        let words = program.finish().unwrap();
        words.into_iter().map(u64::to_ne_bytes).collect()
    }

    /// The bytes are those that `llvm-mc -triple=bpfel` gives for the line in the comment.
    #[test]
    #[cfg(target_endian = "little")]
    fn instructions_have_the_encoding_of_the_standard() {
        let bytes = assembled(|program| {
            program.set(R0, 1); // r0 = 1
            program.set(R6, R1); // r6 = r1
            program.stack_address(R2, -8); // r2 = r10; r2 += -8
            program.load(Size::U32, R1, R6, 36); // r1 = *(u32 *)(r6 + 36)
            program.store(Size::U64, R10, -8, R1); // *(u64 *)(r10 - 8) = r1
            program.store(Size::U16, R10, -2, 7); // *(u16 *)(r10 - 2) = 7
            program.compute(Operation::And, R1, 15); // r1 &= 15
            program.compute(Operation::ShiftLeft, R1, 2); // r1 <<= 2
            program.compute(Operation::ShiftRight, R1, 2); // r1 >>= 2
            program.compute(Operation::Subtract, R1, R2); // r1 -= r2
            program.set_wide(R1, 0x1122_3344_5566_7788); // r1 = 0x1122334455667788 ll
            program.compare_and_exchange(R6, 8, R1); // r0 = cmpxchg_64(r6 + 8, r0, r1)
            program.fetch_and_add(R6, 8, R1); // r1 = atomic_fetch_add((u64 *)(r6 + 8), r1)
            program.call(Helper::MapLookup); // call 1
            program.exit(); // exit
        });
        let expected = [
            [0xb7, 0, 0, 0, 1, 0, 0, 0],
            [0xbf, 0x16, 0, 0, 0, 0, 0, 0],
            [0xbf, 0xa2, 0, 0, 0, 0, 0, 0],
            [0x07, 0x02, 0, 0, 0xf8, 0xff, 0xff, 0xff],
            [0x61, 0x61, 36, 0, 0, 0, 0, 0],
            [0x7b, 0x1a, 0xf8, 0xff, 0, 0, 0, 0],
            [0x6a, 0x0a, 0xfe, 0xff, 7, 0, 0, 0],
            [0x57, 0x01, 0, 0, 15, 0, 0, 0],
            [0x67, 0x01, 0, 0, 2, 0, 0, 0],
            [0x77, 0x01, 0, 0, 2, 0, 0, 0],
            [0x1f, 0x21, 0, 0, 0, 0, 0, 0],
            [0x18, 0x01, 0, 0, 0x88, 0x77, 0x66, 0x55],
            [0, 0, 0, 0, 0x44, 0x33, 0x22, 0x11],
            [0xdb, 0x16, 8, 0, 0xf1, 0, 0, 0],
            [0xdb, 0x16, 8, 0, 0x01, 0, 0, 0],
            [0x85, 0, 0, 0, 1, 0, 0, 0],
            [0x95, 0, 0, 0, 0, 0, 0, 0],
        ];
        assert_eq!(bytes, expected);
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn jumps_count_from_the_next_instruction_in_both_directions() {
        let bytes = assembled(|program| {
            let (start, end) = (program.label(), program.label());
            program.place(start);
            program.jump_if(Condition::Equal, R0, 0, end);
            program.jump_if(Condition::AnyBit, R1, R2, start);
            program.jump(start);
            program.place(end);
            program.exit();
        });
        let expected = [
            [0x15, 0, 2, 0, 0, 0, 0, 0],
            [0x4d, 0x21, 0xfe, 0xff, 0, 0, 0, 0],
            [0x05, 0, 0xfd, 0xff, 0, 0, 0, 0],
            [0x95, 0, 0, 0, 0, 0, 0, 0],
        ];
        assert_eq!(bytes, expected);
    }

    #[test]
    fn a_label_that_stands_nowhere_is_no_program() {
        let mut program = Assembler::default();
        let nowhere = program.label();
        program.jump(nowhere);
        assert_eq!(program.finish(), None);
    }
}
