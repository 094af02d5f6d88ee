//! Bytes from the program: in order, waiting for upstream, and behind a gap, waiting for what is missing.
//!
//! A queue of chunks again. What comes behind a gap is put where it will be read later, so that nothing is moved when the
//! gap closes; which stretches are there is kept in [`Ranges`].

use std::collections::VecDeque;

use crate::tcp::pool::{Holds, LARGEST, Pool};
use crate::tcp::ranges::{Range, Ranges};
use crate::tcp::sequence::{ahead, distance, is_before, later, length};

/// From so many bytes at once on a flow is taken for one that moves many.
const MUCH: usize = 16 << 10;

/// The queue.
#[derive(Debug, Default)]
pub(crate) struct ReceiveBuffer {
    chunks: VecDeque<Box<[u8]>>,
    /// Bytes of the first chunk that were read.
    head: usize,
    /// Bytes in order and not read.
    len: usize,
    /// Bytes of all chunks.
    capacity: usize,
    /// What lies behind a gap.
    beyond: Ranges,
}

impl ReceiveBuffer {
    /// Bytes in order and not read.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds nothing, in order or behind a gap.
    pub(crate) fn holds_nothing(&self) -> bool {
        self.chunks.is_empty()
    }

    /// What lies behind a gap.
    pub(crate) fn beyond(&self) -> &Ranges {
        &self.beyond
    }

    /// Bytes in order, as many as lie in one piece.
    pub(crate) fn readable(&self) -> &[u8] {
        let first = self.chunks.front().map(|chunk| &**chunk);
        let rest = first.and_then(|chunk| chunk.get(self.head..));
        let rest = rest.unwrap_or_default();
        &rest[..rest.len().min(self.len)]
    }

    /// All bytes in order, piece by piece.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let (mut skip, mut left) = (self.head, self.len);
        self.chunks.iter().map_while(move |chunk| {
            let rest = chunk.get(std::mem::take(&mut skip)..).unwrap_or_default();
            let piece = &rest[..rest.len().min(left)];
            left -= piece.len();
            Some(piece).filter(|piece| !piece.is_empty())
        })
    }

    /// The first `n` bytes in order are read.
    pub(crate) fn consume(&mut self, n: usize, pool: &mut Pool) {
        let n = n.min(self.len);
        self.len -= n;
        self.head += n;
        let is_empty = self.len == 0 && self.beyond.is_empty();
        while let Some(first) = self.chunks.front()
            && (self.head >= first.len() || is_empty)
        {
            self.head = self.head.saturating_sub(first.len());
            if let Some(chunk) = self.chunks.pop_front() {
                self.capacity -= chunk.len();
                pool.put(chunk);
            }
        }
        if is_empty {
            self.head = 0;
        }
    }

    /// Gives every chunk back.
    pub(crate) fn clear(&mut self, pool: &mut Pool) {
        self.beyond.clear();
        self.consume(self.len, pool);
        self.chunks = VecDeque::new();
    }

    /// Takes bytes in that start at `sequence`, not before `rcv_nxt`; says by how much `rcv_nxt` goes on. Bytes that find no
    /// room are as good as lost.
    pub(crate) fn insert(
        &mut self,
        rcv_nxt: u32,
        sequence: u32,
        bytes: &[u8],
        pool: &mut Pool,
    ) -> u32 {
        let at = self.head + self.len + length(ahead(rcv_nxt, sequence));
        self.make_room(at + bytes.len(), bytes.len(), pool);
        let room = self.capacity.saturating_sub(at);
        let bytes = &bytes[..bytes.len().min(room)];
        if bytes.is_empty() {
            return 0;
        }
        let end = sequence.wrapping_add(distance(bytes.len()));
        if sequence == rcv_nxt {
            self.write(at, bytes);
            let advance = ahead(rcv_nxt, self.join(end));
            self.len += length(advance);
            return advance;
        }
        let start = sequence;
        if self.beyond.insert(Range { start, end }) {
            self.write(at, bytes);
        }
        0
    }

    /// Takes out of what lies behind gaps what is in order now that everything before `end` is.
    fn join(&mut self, mut end: u32) -> u32 {
        while let Some(range) = self.beyond.first()
            && !is_before(end, range.start)
        {
            end = later(end, range.end);
            self.beyond.remove_before(range.end);
        }
        end
    }

    /// Adds chunks until there are `wanted` bytes of them, as far as the pool allows; `latest` came at once.
    fn make_room(&mut self, wanted: usize, latest: usize, pool: &mut Pool) {
        while self.capacity < wanted {
            let much = if latest >= MUCH { LARGEST } else { 0 };
            let size = (wanted - self.capacity).max(self.capacity).max(much);
            let holds = if self.chunks.is_empty() {
                Holds::Nothing
            } else {
                Holds::Something
            };
            let Some(chunk) = pool.take(size.min(LARGEST), holds) else {
                return;
            };
            self.capacity += chunk.len();
            self.chunks.push_back(chunk);
        }
    }

    fn write(&mut self, mut at: usize, mut bytes: &[u8]) {
        for chunk in &mut self.chunks {
            let Some(room) = chunk.get_mut(at..).filter(|room| !room.is_empty()) else {
                at -= chunk.len();
                continue;
            };
            let n = room.len().min(bytes.len());
            room[..n].copy_from_slice(&bytes[..n]);
            bytes = &bytes[n..];
            at = 0;
            if bytes.is_empty() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stream(len: usize) -> Vec<u8> {
        (0..len)
            .map(|at| (at * 7 + at / 251).to_le_bytes()[0])
            .collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]
        /// Any segmentation, order and overlap gives the stream, and the pool gets every chunk back.
        #[test]
        fn pieces_in_any_order_give_the_stream(
            isn: u32,
            budget in prop::sample::select(vec![64 << 10, 400 << 10, 64 << 20]),
            pieces in prop::collection::vec((0usize..150_000, 1usize..70_000, 0usize..50_000), 1..80),
        ) {
            const LEN: usize = 150_000;
            let stream = stream(LEN);
            let mut pool = Pool::new(budget, 8 << 20);
            pool.admit();
            let mut buffer = ReceiveBuffer::default();
            let (mut received, mut read) = (0, 0);
            let in_order = (0..LEN).step_by(3_000).map(|start| (start, 3_000, 100_000));
            for (start, len, reads) in pieces.into_iter().chain(in_order.clone()).chain(in_order) {
                let end = (start + len).min(LEN);
                let start = start.max(received).min(end);
                let sequence = isn.wrapping_add(distance(start));
                let rcv_nxt = isn.wrapping_add(distance(received));
                received += length(buffer.insert(rcv_nxt, sequence, &stream[start..end], &mut pool));
                prop_assert!(pool.lent() <= budget);
                prop_assert_eq!(buffer.len(), received - read);
                let unread = buffer.pieces().collect::<Vec<_>>().concat();
                prop_assert!(unread == stream[read..received]);
                let mut left = reads;
                while left > 0 {
                    let readable = buffer.readable();
                    let n = readable.len().min(left);
                    if n == 0 {
                        break;
                    }
                    prop_assert!(readable[..n] == stream[read..read + n]);
                    buffer.consume(n, &mut pool);
                    read += n;
                    left -= n;
                }
            }
            prop_assert_eq!((received, read), (LEN, LEN));
            prop_assert_eq!(pool.lent(), 0, "a drained buffer holds nothing");
        }
    }

    #[test]
    fn bytes_behind_a_gap_hold_memory_until_they_are_read() {
        let mut pool = Pool::new(64 << 20, 8 << 20);
        let mut buffer = ReceiveBuffer::default();
        assert_eq!(buffer.insert(0, 100, &[2; 100], &mut pool), 0);
        assert_eq!(
            buffer.beyond().iter().collect::<Vec<_>>(),
            [Range {
                start: 100,
                end: 200
            }]
        );
        assert_eq!(buffer.insert(0, 0, &[1; 100], &mut pool), 200);
        assert!(buffer.beyond().is_empty());
        assert_eq!(buffer.readable(), [[1; 100], [2; 100]].concat());
        buffer.consume(200, &mut pool);
        assert_eq!(pool.lent(), 0);
    }
}
