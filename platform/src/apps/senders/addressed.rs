//! The program that runs when a socket is given an address: by `connect`, or by the address in `sendto`. It runs within that
//! system call, so the current process is the one that made the flow.
//!
//! What costs (walking from the executable up to the root, for the process and its ancestors) is done once for each process
//! and executable. After that a send takes two look-ups.

use std::os::fd::BorrowedFd;

use crate::bpf::assembler::Condition::{AnyBit, Equal, Greater, NotEqual};
use crate::bpf::assembler::Register::{R0, R1, R2, R3, R4, R6, R7, R8, R9, R10};
use crate::bpf::assembler::{Assembler, Helper, Label, Operation, Size};

use super::connected;
use super::offsets::{ConnectionOffsets, Offsets};
use super::records::{
    ARGUMENTS, DETAILS, DETAILS_ANCESTORS, DETAILS_ARGUMENTS, DETAILS_ARGUMENTS_LENGTH,
    DETAILS_GROUP, DETAILS_GROUP_LENGTH, IMAGE, MOST_ANCESTORS, PATH, PATH_DEVICE, PATH_INODE,
    PATH_MOUNTS, PATH_TEXT,
};
use super::tally::{self, Table};
use super::walk::{self, Places, follow, read, short, small};

/// Members of `struct bpf_sock_addr`.
const CONTEXT_PROTOCOL: i16 = 36;
const CONTEXT_SOCKET: i16 = 64;
/// Member of `struct bpf_sock`.
const SOCKET_MARK: i16 = 16;
const IPPROTO_TCP: i32 = 6;
const IPPROTO_UDP: i32 = 17;

/// A program must not write where another that interrupts it writes too, so each takes a desk of its own: a word that tells
/// whether it is taken, room for an executable, room for a process.
pub(super) const DESKS: i16 = 16;
const DESK_PATH: usize = 8;
const DESK_DETAILS: usize = DESK_PATH + PATH;
pub(super) const DESK: usize = DESK_DETAILS + DETAILS;

// Places on the stack.
/// The process, and behind it what else is noted of a connection.
pub(super) const PROCESS_KEY: i16 = -48;
pub(super) const COOKIE: i16 = -56;
pub(super) const TASK: i16 = -64;
const GENERATION: i16 = -72;
const IMAGE_KEY: i16 = -96;
const MEMORY: i16 = -104;
const DESK_INDEX: i16 = -108;
const LEADER: i16 = -120;
const MEMORY_AFTER: i16 = -128;
pub(super) const WALK: Places = Places {
    steps: -136,
    first: -144,
    second: -152,
    sequence: -156,
    sequence_after: -160,
};

/// The maps that it writes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Maps<'a> {
    pub(super) desks: BorrowedFd<'a>,
    pub(super) senders: BorrowedFd<'a>,
    pub(super) connections: BorrowedFd<'a>,
    pub(super) processes: BorrowedFd<'a>,
    pub(super) paths: BorrowedFd<'a>,
    pub(super) tallies: BorrowedFd<'a>,
}

/// Which sockets it notes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scope {
    /// Those of this network namespace,
    pub(super) network_cookie: u64,
    /// without this mark.
    pub(super) without_mark: u32,
}

/// Writes the program; without `connections` nothing is noted of TCP. `None` if it is too long.
pub(super) fn program(
    offsets: &Offsets,
    connections: Option<&ConnectionOffsets>,
    maps: Maps<'_>,
    scope: Scope,
) -> Option<Vec<u64>> {
    let program = &mut Assembler::default();
    let (connection, process, out) = (program.label(), program.label(), program.label());
    program.set(R6, R1);
    program.load(Size::U32, R1, R6, CONTEXT_PROTOCOL);
    let wanted = program.label();
    program.jump_if(Equal, R1, IPPROTO_UDP, wanted);
    if connections.is_some() {
        program.jump_if(Equal, R1, IPPROTO_TCP, wanted);
    }
    program.jump(out);
    program.place(wanted);
    require_scope(program, scope, out);
    identify(program, offsets);
    if let Some(connections) = connections {
        program.load(Size::U32, R1, R6, CONTEXT_PROTOCOL);
        program.jump_if(Equal, R1, IPPROTO_TCP, connection);
        note_sender(program, maps, process);
        program.jump(process);
        program.place(connection);
        connected::note(program, connections, maps.connections, out);
    } else {
        note_sender(program, maps, process);
    }
    program.place(process);
    require_unknown(program, maps, out);
    note_process(program, offsets, maps, out);
    program.place(out);
    // Let it pass: these programs only watch.
    program.set(R0, 1);
    program.exit();
    std::mem::take(program).finish()
}

fn require_scope(program: &mut Assembler, scope: Scope, out: Label) {
    program.load(Size::U64, R7, R6, CONTEXT_SOCKET);
    program.jump_if(Equal, R7, 0, out);
    program.load(Size::U32, R1, R7, SOCKET_MARK);
    program.set_wide(R2, scope.without_mark.into());
    program.jump_if(AnyBit, R1, R2, out);
    program.set(R1, R6);
    program.call(Helper::NetworkCookie);
    program.set_wide(R1, scope.network_cookie);
    program.jump_if(NotEqual, R0, R1, out);
    program.set(R1, R6);
    program.call(Helper::SocketCookie);
    program.store(Size::U64, R10, COOKIE, R0);
}

/// Writes the key of the current process.
fn identify(program: &mut Assembler, offsets: &Offsets) {
    program.call(Helper::CurrentTask);
    program.store(Size::U64, R10, TASK, R0);
    image_key(program, offsets, PROCESS_KEY);
    program.call(Helper::CurrentControlGroup);
    program.store(Size::U64, R10, PROCESS_KEY + 24, R0);
}

/// Writes the key of the image that the task at [`TASK`] runs.
fn image_key(program: &mut Assembler, offsets: &Offsets, to: i16) {
    program.load(Size::U64, R7, R10, TASK);
    follow(program, R8, LEADER, R7, offsets.task_leader);
    read(program, Size::U64, to, R8, offsets.task_started);
    read(program, Size::U64, to + 8, R7, offsets.task_execs);
    read(program, Size::U32, to + 16, R8, offsets.task_id);
    program.store(Size::U32, R10, to + 20, 0);
}

/// Notes whose socket this is, or goes to `known`.
fn note_sender(program: &mut Assembler, maps: Maps<'_>, known: Label) {
    let update = program.label();
    program.set_map(R1, maps.senders);
    program.stack_address(R2, COOKIE);
    program.call(Helper::MapLookup);
    program.jump_if(Equal, R0, 0, update);
    for at in [0, 8, 16, 24] {
        program.load(Size::U64, R1, R0, at);
        program.load(Size::U64, R2, R10, PROCESS_KEY + at);
        program.jump_if(NotEqual, R1, R2, update);
    }
    program.jump(known);
    program.place(update);
    program.set_map(R1, maps.senders);
    program.stack_address(R2, COOKIE);
    program.stack_address(R3, PROCESS_KEY);
    program.set(R4, 0);
    program.call(Helper::MapUpdate);
    tally::note(program, maps.tallies, Table::Senders, DESK_INDEX);
}

/// Goes out if all is known of the current process.
fn require_unknown(program: &mut Assembler, maps: Maps<'_>, out: Label) {
    program.set_map(R1, maps.processes);
    program.stack_address(R2, PROCESS_KEY);
    program.call(Helper::MapLookup);
    program.jump_if(NotEqual, R0, 0, out);
}

/// Notes the current process, its executable and those of its ancestors.
fn note_process(program: &mut Assembler, offsets: &Offsets, maps: Maps<'_>, out: Label) {
    let leave = program.label();
    take_desk(program, maps, out);
    note_images(program, offsets, maps, leave);
    copy_arguments(program, offsets);
    note_control_group(program, offsets, leave);
    program.set_map(R1, maps.processes);
    program.stack_address(R2, PROCESS_KEY);
    program.set(R3, R6);
    program.add(R3, small(DESK_DETAILS));
    program.set(R4, 0);
    program.call(Helper::MapUpdate);
    program.place(leave);
    program.store(Size::U64, R6, 0, 0);
}

/// R6 = a desk that nobody works at.
fn take_desk(program: &mut Assembler, maps: Maps<'_>, none: Label) {
    let taken = program.label();
    for index in 0..DESKS {
        let next = program.label();
        program.store(Size::U32, R10, DESK_INDEX, i32::from(index));
        program.set_map(R1, maps.desks);
        program.stack_address(R2, DESK_INDEX);
        program.call(Helper::MapLookup);
        program.jump_if(Equal, R0, 0, none);
        program.set(R6, R0);
        program.set(R0, 0);
        program.set(R1, 1);
        program.compare_and_exchange(R6, 0, R1);
        program.jump_if(Equal, R0, 0, taken);
        program.jump(next);
        program.place(next);
    }
    program.jump(none);
    program.place(taken);
}

/// Notes the executable of the task at [`TASK`] and of its ancestors, and their keys on the desk.
fn note_images(program: &mut Assembler, offsets: &Offsets, maps: Maps<'_>, fail: Label) {
    let (head, known, next, done) = (
        program.label(),
        program.label(),
        program.label(),
        program.label(),
    );
    program.store(Size::U64, R10, GENERATION, 0);
    program.place(head);
    image_key(program, offsets, IMAGE_KEY);
    follow(program, R1, MEMORY, R7, offsets.task_memory);
    // The kernel's own, or ended.
    program.jump_if(Equal, R1, 0, done);
    program.set_map(R1, maps.paths);
    program.stack_address(R2, IMAGE_KEY);
    program.call(Helper::MapLookup);
    program.jump_if(NotEqual, R0, 0, known);
    // What has no path that can be noted ends the ancestors.
    note_path(program, offsets, maps, done);
    program.place(known);
    forget(program);

    // Generation 0 is the process itself.
    program.load(Size::U64, R7, R10, GENERATION);
    program.jump_if(Equal, R7, 0, next);
    program.jump_if(Greater, R7, small(MOST_ANCESTORS), done);
    program.set(R1, R7);
    program.add(R1, -1);
    program.compute(Operation::Multiply, R1, small(IMAGE));
    program.add(R1, R6);
    for at in [0, 8, 16] {
        program.load(Size::U64, R2, R10, IMAGE_KEY + at);
        program.store(
            Size::U64,
            R1,
            short(DESK_DETAILS + DETAILS_ANCESTORS) + at,
            R2,
        );
    }
    program.place(next);
    program.store(Size::U32, R6, short(DESK_DETAILS), R7);
    program.add(R7, 1);
    program.store(Size::U64, R10, GENERATION, R7);
    program.load(Size::U64, R8, R10, LEADER);
    follow(program, R1, TASK, R8, offsets.task_parent);
    program.jump_if(Greater, R7, small(MOST_ANCESTORS), done);
    program.jump(head);

    program.place(done);
    forget(program);
    // A process without an executable is none.
    program.load(Size::U64, R1, R10, GENERATION);
    program.jump_if(Equal, R1, 0, fail);
}

/// Clears what a walk leaves behind. The verifier follows every way through the loops, and gives up one that has met another
/// only if all is the same there: this makes loading several times faster.
fn forget(program: &mut Assembler) {
    for place in [WALK.steps, WALK.first, WALK.second, MEMORY_AFTER] {
        program.store(Size::U64, R10, place, 0);
    }
    for place in [WALK.sequence, WALK.sequence_after] {
        program.store(Size::U32, R10, place, 0);
    }
    for register in [R7, R8, R9] {
        program.set(register, 0);
    }
}

/// Notes the executable of the task at [`TASK`], whose memory is at [`MEMORY`].
fn note_path(program: &mut Assembler, offsets: &Offsets, maps: Maps<'_>, fail: Label) {
    program.load(Size::U64, R7, R10, MEMORY);
    follow(program, R9, WALK.first, R7, offsets.memory_executable);
    program.jump_if(Equal, R9, 0, fail);
    follow(program, R8, WALK.first, R9, offsets.file_mount);
    program.add(R8, -i32::from(offsets.mount_public));
    follow(program, R7, WALK.first, R9, offsets.file_entry);
    note_place(program, offsets);
    walk::path(program, offsets, WALK, small(DESK_PATH + PATH_TEXT), fail);
    program.store(Size::U32, R6, short(DESK_PATH), R9);
    // What ends or becomes another program gives up its memory first: then all of this may have been somebody else's.
    program.load(Size::U64, R7, R10, TASK);
    follow(program, R1, MEMORY_AFTER, R7, offsets.task_memory);
    program.load(Size::U64, R2, R10, MEMORY);
    program.jump_if(NotEqual, R1, R2, fail);
    program.set_map(R1, maps.paths);
    program.stack_address(R2, IMAGE_KEY);
    program.set(R3, R6);
    program.add(R3, small(DESK_PATH));
    program.set(R4, 0);
    program.call(Helper::MapUpdate);
}

/// Notes which file the directory entry in R7 is of, and in whose mounts the mount in R8 is, which may be none. Destroys R9.
fn note_place(program: &mut Assembler, offsets: &Offsets) {
    let (wide, narrow) = (WALK.second, WALK.sequence);
    let at = |member: usize| short(DESK_PATH + member);
    follow(program, R9, WALK.first, R8, offsets.mount_namespace);
    read(program, Size::U32, narrow, R9, offsets.mounts_number);
    program.load(Size::U32, R1, R10, narrow);
    program.store(Size::U32, R6, at(PATH_MOUNTS), R1);
    follow(program, R9, WALK.first, R7, offsets.entry_inode);
    read(program, Size::U64, wide, R9, offsets.inode_number);
    program.load(Size::U64, R1, R10, wide);
    program.store(Size::U64, R6, at(PATH_INODE), R1);
    follow(program, R9, WALK.first, R9, offsets.inode_file_system);
    read(program, Size::U32, narrow, R9, offsets.file_system_device);
    program.load(Size::U32, R1, R10, narrow);
    program.store(Size::U32, R6, at(PATH_DEVICE), R1);
}

/// Copies the command line of the current process to the desk, as much as there is room for.
fn copy_arguments(program: &mut Assembler, offsets: &Offsets) {
    let (cut, copied) = (program.label(), program.label());
    program.call(Helper::CurrentTask);
    follow(program, R7, MEMORY, R0, offsets.task_memory);
    follow(program, R8, WALK.first, R7, offsets.memory_arguments);
    follow(program, R9, WALK.second, R7, offsets.memory_arguments_end);
    program.compute(Operation::Subtract, R9, R8);
    program.jump_if(Greater, R9, small(ARGUMENTS), cut);
    let copy = program.label();
    program.jump(copy);
    program.place(cut);
    program.set(R9, small(ARGUMENTS));
    program.place(copy);
    program.set(R1, R6);
    program.add(R1, small(DESK_DETAILS + DETAILS_ARGUMENTS));
    program.set(R2, R9);
    program.set(R3, R8);
    program.call(Helper::ReadUser);
    program.jump_if(Equal, R0, 0, copied);
    program.set(R9, 0);
    program.place(copied);
    program.store(
        Size::U32,
        R6,
        short(DESK_DETAILS + DETAILS_ARGUMENTS_LENGTH),
        R9,
    );
}

/// Copies the names of the current process's control group to the desk.
fn note_control_group(program: &mut Assembler, offsets: &Offsets, fail: Label) {
    program.call(Helper::CurrentTask);
    follow(program, R7, WALK.first, R0, offsets.task_groups);
    follow(program, R7, WALK.first, R7, offsets.groups_unified);
    follow(program, R7, WALK.first, R7, offsets.group_node);
    let text = small(DESK_DETAILS + DETAILS_GROUP);
    walk::control_group(program, offsets, WALK, text, fail);
    program.store(
        Size::U32,
        R6,
        short(DESK_DETAILS + DETAILS_GROUP_LENGTH),
        R9,
    );
}
