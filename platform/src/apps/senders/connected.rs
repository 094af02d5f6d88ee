//! The part that is for TCP: what is noted when a connection is begun, beside the process that begins it.
//!
//! A socket belongs to whoever holds its file, so that is looked at while it cannot change: the calling process is the only
//! holder if the file has one reference, and one more where the system call itself takes one, which it does if threads share
//! the table of descriptors. Whoever inherits the file later is a new process, and so has an id that is given out later.

use std::os::fd::BorrowedFd;

use crate::bpf::assembler::Condition::{Equal, Greater, NotEqual};
use crate::bpf::assembler::Register::{R0, R1, R2, R3, R4, R6, R7, R8, R9, R10};
use crate::bpf::assembler::{Assembler, Helper, Label, Size};

use super::addressed::{COOKIE, PROCESS_KEY, TASK, WALK};
use super::offsets::ConnectionOffsets;
use super::records::{CONNECTION_ALONE, CONNECTION_NEXT_ID, CONNECTION_TIME};
use super::walk::{follow, read, short};

/// Notes the connection whose context is in R6. Sockets without a file are the kernel's own.
pub(super) fn note(
    program: &mut Assembler,
    offsets: &ConnectionOffsets,
    connections: BorrowedFd<'_>,
    out: Label,
) {
    let shared = program.label();
    program.call(Helper::MonotonicTime);
    program.store(Size::U64, R10, PROCESS_KEY + short(CONNECTION_TIME), R0);
    program.load(Size::U64, R7, R10, TASK);
    // First: a process that is being made has its files before its id.
    next_process_id(program, offsets);
    program.store(Size::U32, R10, PROCESS_KEY + short(CONNECTION_ALONE), 0);
    follow(program, R8, WALK.first, R6, offsets.context_socket);
    follow(program, R8, WALK.first, R8, offsets.socket_socket);
    follow(program, R8, WALK.first, R8, offsets.socket_file);
    program.jump_if(Equal, R8, 0, out);
    require_only_holder(program, offsets, shared);
    program.store(Size::U32, R10, PROCESS_KEY + short(CONNECTION_ALONE), 1);
    program.place(shared);
    program.set_map(R1, connections);
    program.stack_address(R2, COOKIE);
    program.stack_address(R3, PROCESS_KEY);
    program.set(R4, 0);
    program.call(Helper::MapUpdate);
}

/// Notes the id that the next process or thread gets, in the first namespace. The task is in R7.
fn next_process_id(program: &mut Assembler, offsets: &ConnectionOffsets) {
    follow(program, R8, WALK.first, R7, offsets.task_ids);
    follow(program, R8, WALK.first, R8, offsets.ids_first_namespace);
    let to = PROCESS_KEY + short(CONNECTION_NEXT_ID);
    read(program, Size::U32, to, R8, offsets.namespace_next);
}

/// Goes to `shared` unless the task in R7 and its threads are all that hold the file in R8.
fn require_only_holder(program: &mut Assembler, offsets: &ConnectionOffsets, shared: Label) {
    let compare = program.label();
    follow(program, R8, WALK.first, R8, offsets.file_references);
    follow(program, R9, WALK.first, R7, offsets.task_files);
    read(program, Size::U32, WALK.sequence, R9, offsets.files_sharers);
    program.set(R9, offsets.one_reference);
    program.load(Size::U32, R1, R10, WALK.sequence);
    program.jump_if(Equal, R1, 1, compare);
    program.add(R9, 1);
    // Processes may share the table too (CLONE_FILES).
    follow(program, R7, WALK.first, R7, offsets.task_signals);
    let threads = WALK.sequence_after;
    read(program, Size::U32, threads, R7, offsets.signals_threads);
    program.load(Size::U32, R1, R10, WALK.sequence);
    program.load(Size::U32, R2, R10, threads);
    program.jump_if(Greater, R1, R2, shared);
    program.place(compare);
    program.jump_if(NotEqual, R8, R9, shared);
}
