//! How fast the tables of notes fill: whether a note that is missing may have been there and been pushed out by others.
//!
//! What the kernel drops from a full table it does not tell. So the programs count what they put in, and write down when they
//! did: if a good part of a table's size has come in of late, what is not found may have been there. Each program writes
//! without regard to the others, so the count is the only thing that must be exact.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::bpf::assembler::Condition::{Equal, NotEqual};
use crate::bpf::assembler::Register::{R0, R1, R2, R7, R8, R10};
use crate::bpf::assembler::{Assembler, Helper, Operation, Size};
use crate::sys::bpf::{self, MapKind};

use super::walk::{short, small};

/// A time is written down for the first of so many notes (a power of two),
const EACH: u64 = 64;
const EACH_BITS: i32 = 6;
/// in one of so many places by turns (a power of two).
const PLACES: usize = 128;
/// The number of notes so far, then the times (CLOCK_MONOTONIC).
const TIMES: usize = 8;
const TALLY: usize = TIMES + 8 * PLACES;

/// The tables whose notes are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Table {
    /// Which socket belongs to which process.
    Senders,
    /// What was sent between which addresses.
    Tuples,
}

const TABLES: u32 = 2;

impl Table {
    fn index(self) -> u8 {
        match self {
            Self::Senders => 0,
            Self::Tuples => 1,
        }
    }
}

/// The counts.
#[derive(Debug)]
pub(super) struct Tallies(OwnedFd);

impl AsFd for Tallies {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Tallies {
    pub(super) fn create() -> io::Result<Self> {
        bpf::create_map(MapKind::Array, 4, TALLY, TABLES).map(Self)
    }

    /// Whether `many` notes or more were put into one of the tables within `recent`.
    pub(super) fn are_filling(&self, many: u64, recent: Duration) -> io::Result<bool> {
        let now = Duration::try_from(clock_gettime(ClockId::Monotonic)).unwrap_or_default();
        let since = u64::try_from(now.saturating_sub(recent).as_nanos()).unwrap_or(u64::MAX);
        let mut filling = false;
        for table in [Table::Senders, Table::Tuples] {
            let mut value = [0; TALLY];
            let key = u32::from(table.index()).to_ne_bytes();
            bpf::look_up(self.as_fd(), &key, &mut value)?;
            filling |= is_filling(&value, many, since);
        }
        Ok(filling)
    }
}

/// Whether the note that was put in `many` notes ago is younger than `since`. Rounded so that it is rather said to be.
fn is_filling(value: &[u8; TALLY], many: u64, since: u64) -> bool {
    let number = |at: usize| {
        let bytes = value.get(at..).and_then(<[u8]>::first_chunk);
        bytes.map_or(0, |bytes| u64::from_ne_bytes(*bytes))
    };
    let Some(before) = number(0).checked_sub(many) else {
        return false;
    };
    // The first after it whose time was written down.
    let step = before.div_ceil(EACH);
    let place = usize::try_from(step).unwrap_or(0) % PLACES;
    number(TIMES + 8 * place) >= since
}

/// Counts a note. `key` is a free place on the stack. Destroys R0 to R5, R7 and R8.
pub(super) fn note(program: &mut Assembler, tallies: BorrowedFd<'_>, table: Table, key: i16) {
    let done = program.label();
    program.store(Size::U32, R10, key, i32::from(table.index()));
    program.set_map(R1, tallies);
    program.stack_address(R2, key);
    program.call(Helper::MapLookup);
    program.jump_if(Equal, R0, 0, done);
    program.set(R7, R0);
    program.set(R8, 1);
    program.fetch_and_add(R7, 0, R8);
    program.set(R1, R8);
    program.compute(Operation::And, R1, (1 << EACH_BITS) - 1);
    program.jump_if(NotEqual, R1, 0, done);
    program.compute(Operation::ShiftRight, R8, EACH_BITS);
    program.compute(Operation::And, R8, small(PLACES) - 1);
    program.compute(Operation::ShiftLeft, R8, 3);
    program.add(R7, R8);
    program.call(Helper::MonotonicTime);
    program.store(Size::U64, R7, short(TIMES), R0);
    program.place(done);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After `count` notes, one each nanosecond.
    fn tally(count: u64) -> [u8; TALLY] {
        let mut value = [0; TALLY];
        value[..TIMES].copy_from_slice(&count.to_ne_bytes());
        for number in (0..count).step_by(usize::try_from(EACH).unwrap()) {
            let place = usize::try_from(number / EACH).unwrap() % PLACES;
            value[TIMES + 8 * place..][..8].copy_from_slice(&number.to_ne_bytes());
        }
        value
    }

    #[test]
    fn a_table_fills_if_so_many_notes_are_no_older() {
        for count in [1_000, 1_063, 8_192, 100_001] {
            let value = tally(count);
            let many = 512;
            let oldest = count - many;
            assert!(is_filling(&value, many, oldest), "{count}");
            assert!(!is_filling(&value, many, oldest + EACH), "{count}");
        }
        assert!(!is_filling(&tally(511), 512, 0), "too few in all");
        assert!(is_filling(&tally(512), 512, 0));
    }
}
