//! Bytes on their way to the program: from where upstream's bytes are received into to where the device takes them from.
//!
//! A queue of chunks. What is received fills the last chunk, or one that joins the queue when it is known how much came:
//! little is copied into a small chunk, much is taken over as it lies. What the program acknowledged leaves in front, and
//! a chunk that nothing is left of goes back to the pool.

use std::collections::VecDeque;

use crate::tcp::pool::{Holds, LARGEST, Pool};

/// Room in the last chunk from which on it is worth being received into.
const WORTHWHILE: usize = 16 << 10;
/// Most bytes that are copied into a smaller chunk.
const LITTLE: usize = 16 << 10;

/// The queue.
#[derive(Debug, Default)]
pub(crate) struct SendBuffer {
    chunks: VecDeque<Chunk>,
    /// Bytes of the first chunk that are acknowledged.
    head: usize,
    len: usize,
}

#[derive(Debug)]
struct Chunk {
    bytes: Box<[u8]>,
    filled: usize,
}

/// What was lent to be received into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    Nothing,
    /// The rest of the last chunk, up to so many bytes.
    Tail(usize),
    /// The pool's spare chunk, up to so many bytes.
    Spare(usize),
}

impl SendBuffer {
    /// Bytes that are not acknowledged.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Where up to `most` bytes may be received.
    pub(crate) fn room(&self, most: usize, pool: &Pool) -> Room {
        if most == 0 {
            return Room::Nothing;
        }
        let tail = self
            .chunks
            .back()
            .map_or(0, |chunk| chunk.bytes.len() - chunk.filled);
        if tail >= WORTHWHILE.min(most) {
            return Room::Tail(tail.min(most));
        }
        match pool.largest(self.holds()).max(tail) {
            0 => Room::Nothing,
            largest => Room::Spare(largest.min(most)),
        }
    }

    /// The room that [`room`](Self::room) found.
    pub(crate) fn lend<'b>(&'b mut self, room: Room, pool: &'b mut Pool) -> &'b mut [u8] {
        match room {
            Room::Nothing => &mut [],
            Room::Tail(len) => self
                .chunks
                .back_mut()
                .and_then(|chunk| chunk.bytes.get_mut(chunk.filled..chunk.filled + len))
                .unwrap_or_default(),
            Room::Spare(len) => pool.spare().get_mut(..len).unwrap_or_default(),
        }
    }

    /// Takes over the first `n` bytes of the room that was lent.
    pub(crate) fn commit(&mut self, room: Room, n: usize, pool: &mut Pool) {
        match room {
            Room::Nothing => {}
            Room::Tail(len) => {
                let n = n.min(len);
                if let Some(chunk) = self.chunks.back_mut() {
                    chunk.filled += n;
                    self.len += n;
                }
            }
            Room::Spare(len) if n <= LITTLE || pool.largest(self.holds()) < LARGEST => {
                let spare = pool.lift_spare();
                self.copy(spare.get(..n.min(len)).unwrap_or_default(), pool);
                pool.lay_back(spare);
            }
            Room::Spare(len) => {
                let (bytes, filled) = (pool.take_spare(), n.min(len));
                self.chunks.push_back(Chunk { bytes, filled });
                self.len += filled;
            }
        }
    }

    /// Appends as much as there is room for.
    fn copy(&mut self, mut bytes: &[u8], pool: &mut Pool) {
        loop {
            if let Some(chunk) = self.chunks.back_mut()
                && let Some(room) = chunk.bytes.get_mut(chunk.filled..)
            {
                let n = room.len().min(bytes.len());
                room[..n].copy_from_slice(&bytes[..n]);
                chunk.filled += n;
                self.len += n;
                bytes = &bytes[n..];
            }
            if bytes.is_empty() {
                return;
            }
            let Some(fresh) = pool.take(bytes.len(), self.holds()) else {
                return;
            };
            self.chunks.push_back(Chunk {
                bytes: fresh,
                filled: 0,
            });
        }
    }

    fn holds(&self) -> Holds {
        if self.chunks.is_empty() {
            Holds::Nothing
        } else {
            Holds::Something
        }
    }

    /// The program has the first `n` bytes.
    pub(crate) fn acknowledge(&mut self, n: usize, pool: &mut Pool) {
        let n = n.min(self.len);
        self.len -= n;
        self.head += n;
        while let Some(first) = self.chunks.front()
            && (self.head >= first.filled || self.len == 0)
        {
            self.head = self.head.saturating_sub(first.filled);
            if let Some(chunk) = self.chunks.pop_front() {
                pool.put(chunk.bytes);
            }
        }
        if self.len == 0 {
            self.head = 0;
        }
    }

    /// Gives every chunk back.
    pub(crate) fn clear(&mut self, pool: &mut Pool) {
        self.acknowledge(self.len, pool);
        self.chunks = VecDeque::new();
    }

    /// Up to `len` bytes from `offset` on, as far as they lie in two chunks.
    pub(crate) fn slices(&self, offset: usize, len: usize) -> [&[u8]; 2] {
        let mut at = self.head + offset;
        let mut chunks = self.chunks.iter().map(|chunk| {
            let bytes = chunk.bytes.get(..chunk.filled);
            bytes.unwrap_or_default()
        });
        let first = loop {
            match chunks.next() {
                None => return [&[], &[]],
                Some(bytes) if at >= bytes.len() => at -= bytes.len(),
                Some(bytes) => break &bytes[at..],
            }
        };
        if let Some(whole) = first.get(..len) {
            return [whole, &[]];
        }
        let second = chunks.next().unwrap_or_default();
        [first, &second[..second.len().min(len - first.len())]]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn byte(at: usize) -> u8 {
        (at * 7 + at / 251).to_le_bytes()[0]
    }

    /// Writes `n` bytes of the stream; says how many went in.
    fn write(buffer: &mut SendBuffer, pool: &mut Pool, at: usize, n: usize, most: usize) -> usize {
        let room = buffer.room(most, pool);
        let lent = buffer.lend(room, pool);
        let n = n.min(lent.len());
        for (k, to) in lent[..n].iter_mut().enumerate() {
            *to = byte(at + k);
        }
        let before = buffer.len();
        buffer.commit(room, n, pool);
        assert_eq!(buffer.len() - before, n, "what was lent is taken over");
        n
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn what_goes_in_comes_out_until_it_is_acknowledged(
            budget in prop::sample::select(vec![40 << 10, 300 << 10, 1 << 20, 64 << 20]),
            steps in prop::collection::vec((0usize..300_000, 0usize..300_000, 0usize..400_000, any::<bool>()), 1..20),
        ) {
            let mut pool = Pool::new(budget, 8 << 20);
            pool.admit();
            let mut buffer = SendBuffer::default();
            let (mut written, mut acked) = (0, 0);
            for (put, take, offset, little) in steps {
                let put = if little { put % 2_000 } else { put };
                written += write(&mut buffer, &mut pool, written, put, 1 << 20);
                prop_assert!(pool.lent() <= budget);
                let offset = offset % (buffer.len() + 1);
                let [first, second] = buffer.slices(offset, take);
                let all = take.min(buffer.len() - offset);
                prop_assert!((1..=all).contains(&(first.len() + second.len())) || all == 0);
                for (k, got) in first.iter().chain(second).enumerate() {
                    prop_assert_eq!(*got, byte(acked + offset + k));
                }
                let take = take.min(buffer.len());
                buffer.acknowledge(take, &mut pool);
                acked += take;
                prop_assert_eq!(buffer.len(), written - acked);
                prop_assert!(buffer.len() > 0 || pool.lent() == 0, "an empty buffer holds nothing");
            }
            buffer.clear(&mut pool);
            prop_assert_eq!(pool.lent(), 0);
        }
    }

    #[test]
    fn little_takes_a_little_chunk_and_much_is_not_copied() {
        let mut pool = Pool::new(64 << 20, 8 << 20);
        let mut buffer = SendBuffer::default();
        for n in 0..40 {
            write(&mut buffer, &mut pool, n * 100, 100, 1 << 20);
        }
        assert_eq!(pool.lent(), 4 << 10);
        write(&mut buffer, &mut pool, 4_000, 200_000, 1 << 20);
        assert_eq!(pool.lent(), (4 << 10) + LARGEST);
        assert_eq!(buffer.room(1 << 20, &pool), Room::Tail(LARGEST - 200_000));
    }
}
