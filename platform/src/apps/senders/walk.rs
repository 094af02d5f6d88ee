//! Reading kernel memory from a program, and following chains of names there: folders up to the root, control groups up to
//! theirs.
//!
//! The helpers that read never fault: what cannot be read is zero. A chain that is longer than its bounds, or that changes
//! while it is read, gives nothing rather than something wrong.

use crate::bpf::assembler::Condition::{AnyBit, Equal, Greater, NotEqual};
use crate::bpf::assembler::Register::{R0, R1, R2, R3, R6, R7, R8, R9, R10};
use crate::bpf::assembler::{Assembler, Helper, Label, Register, Size};

use super::offsets::Offsets;
use super::records::{GROUP_NAMES, NAME, PATH_NAMES};

/// Most folders and mounts, or control groups, on the way up. A program must have an end that the verifier sees, which follows
/// every step for every ancestor: loading takes the longer, the more there may be.
const MOST_STEPS: i32 = 40;

/// Places on the stack that a walk uses.
#[derive(Clone, Copy, Debug)]
pub(super) struct Places {
    pub(super) steps: i16,
    pub(super) first: i16,
    pub(super) second: i16,
    pub(super) sequence: i16,
    pub(super) sequence_after: i16,
}

/// Copies kernel memory at `base + offset` to the stack. Destroys R0 to R5.
pub(super) fn read(program: &mut Assembler, size: Size, to: i16, base: Register, offset: i16) {
    program.set(R3, base);
    program.add(R3, i32::from(offset));
    program.stack_address(R1, to);
    program.set(R2, size.bytes());
    program.call(Helper::ReadKernel);
}

/// The same, and loads it into `into`.
pub(super) fn follow(
    program: &mut Assembler,
    into: Register,
    through: i16,
    base: Register,
    offset: i16,
) {
    read(program, Size::U64, through, base, offset);
    program.load(Size::U64, into, R10, through);
}

/// Copies the name whose address stands at `name` on the stack behind the R9 bytes that are there already, and adds its
/// length to R9. `text` is the offset from R6 where the names begin.
fn append(program: &mut Assembler, name: i16, text: i32, room: usize, fail: Label) {
    program.set(R1, R6);
    program.add(R1, text);
    program.add(R1, R9);
    program.set(R2, small(NAME));
    program.load(Size::U64, R3, R10, name);
    program.call(Helper::ReadKernelString);
    // Errors are negative, and so greater than everything.
    program.jump_if(Greater, R0, small(NAME), fail);
    program.add(R9, R0);
    program.jump_if(Greater, R9, small(room), fail);
}

/// R9 = 0, but only we know: for the verifier it is any length that leaves room. So all steps look alike to it, and it follows
/// each once. `text` is the offset from R6 where the names begin.
fn begin(program: &mut Assembler, places: Places, text: i32, room: usize, fail: Label) {
    program.set(R1, R6);
    program.add(R1, text);
    program.store(Size::U64, R1, 0, 0);
    program.load(Size::U64, R9, R1, 0);
    program.jump_if(Greater, R9, small(room), fail);
    program.store(Size::U64, R10, places.steps, 0);
}

/// Begins a step of a loop; no more than [`MOST_STEPS`].
fn step(program: &mut Assembler, places: Places, fail: Label) {
    program.load(Size::U64, R1, R10, places.steps);
    program.jump_if(Greater, R1, MOST_STEPS, fail);
    program.add(R1, 1);
    program.store(Size::U64, R10, places.steps, R1);
}

/// Writes the names of the directory entry in R7, on the mount in R8, and of all above it to R6 + `text`. R9 is their length
/// afterwards. Destroys R7 and R8.
pub(super) fn path(
    program: &mut Assembler,
    offsets: &Offsets,
    places: Places,
    text: i32,
    fail: Label,
) {
    let (head, same_mount, done) = (program.label(), program.label(), program.label());
    begin(program, places, text, PATH_NAMES, fail);
    program.place(head);
    step(program, places, fail);
    follow(program, R1, places.first, R8, offsets.mount_root);
    program.jump_if(NotEqual, R1, R7, same_mount);

    // The root of this mount: go on where it is mounted, if it is not the topmost.
    follow(program, R1, places.first, R8, offsets.mount_parent);
    program.jump_if(Equal, R1, R8, done);
    follow(program, R7, places.second, R8, offsets.mount_place);
    program.load(Size::U64, R8, R10, places.first);
    program.jump(head);

    program.place(same_mount);
    read(
        program,
        Size::U32,
        places.sequence,
        R7,
        offsets.entry_sequence,
    );
    follow(program, R1, places.second, R7, offsets.entry_parent);
    read(program, Size::U64, places.first, R7, offsets.entry_name);
    append(program, places.first, text, PATH_NAMES, fail);
    // Odd or changed: renamed meanwhile.
    read(
        program,
        Size::U32,
        places.sequence_after,
        R7,
        offsets.entry_sequence,
    );
    program.load(Size::U32, R1, R10, places.sequence);
    program.jump_if(AnyBit, R1, 1, fail);
    program.load(Size::U32, R2, R10, places.sequence_after);
    program.jump_if(NotEqual, R1, R2, fail);
    program.load(Size::U64, R1, R10, places.second);
    // Its own parent: a file that never had a place, as memfd_create makes.
    program.jump_if(Equal, R1, R7, done);
    program.set(R7, R1);
    program.jump(head);
    program.place(done);
}

/// Writes the names of the control group whose node is in R7, without the root's, to R6 + `text`. R9 is their length
/// afterwards. Destroys R7.
pub(super) fn control_group(
    program: &mut Assembler,
    offsets: &Offsets,
    places: Places,
    text: i32,
    fail: Label,
) {
    let (head, done) = (program.label(), program.label());
    begin(program, places, text, GROUP_NAMES, fail);
    program.place(head);
    step(program, places, fail);
    follow(program, R1, places.second, R7, offsets.node_parent);
    program.jump_if(Equal, R1, 0, done);
    read(program, Size::U64, places.first, R7, offsets.node_name);
    append(program, places.first, text, GROUP_NAMES, fail);
    program.load(Size::U64, R7, R10, places.second);
    program.jump(head);
    program.place(done);
}

/// A size of a record, all of which are small.
pub(super) fn small(size: usize) -> i32 {
    i32::try_from(size).unwrap_or(i32::MAX)
}

/// An offset within a record.
pub(super) fn short(offset: usize) -> i16 {
    i16::try_from(offset).unwrap_or(i16::MAX)
}
