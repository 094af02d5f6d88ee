//! Small packets that wait for the device: RSTs, ICMP errors, challenge ACKs, fragments.
//!
//! They are made while a packet comes in or a verdict is carried out, when no transmit buffer is at hand, and go out with
//! the next [`Stack::poll_transmit`](crate::Stack::poll_transmit). The queue is bounded: when it is full the packet is
//! lost, as it would be in a router's queue, and its sender asks again. Once warm it does not allocate.

use std::collections::VecDeque;

use crate::output::Transmit;
use crate::packet::Offload;

/// Most bytes that wait.
const MAX_BYTES: usize = 1 << 20;

/// A bounded first-in-first-out queue of packets.
#[derive(Debug, Default)]
pub(crate) struct AnswerQueue {
    bytes: VecDeque<u8>,
    packets: VecDeque<Transmit>,
}

impl AnswerQueue {
    /// Queues a packet, or loses it if the queue is full.
    pub(crate) fn push(&mut self, packet: &[u8], offload: Offload) {
        if !packet.is_empty() && self.bytes.len() + packet.len() <= MAX_BYTES {
            self.bytes.extend(packet);
            self.packets.push_back(Transmit {
                len: packet.len(),
                offload,
            });
        }
    }

    /// Whether a packet of this size still fits.
    pub(crate) fn has_room_for(&self, len: usize) -> bool {
        self.bytes.len() + len <= MAX_BYTES
    }

    /// Moves the oldest packet into `buffer`.
    pub(crate) fn pop(&mut self, buffer: &mut [u8]) -> Option<Transmit> {
        let next = self.packets.pop_front()?;
        for (to, from) in buffer.iter_mut().zip(self.bytes.drain(..next.len)) {
            *to = from;
        }
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_come_out_in_order_and_whole() {
        let mut queue = AnswerQueue::default();
        queue.push(&[1, 2, 3], Offload::default());
        queue.push(&[4, 5], Offload::default());
        let mut buffer = [0; 8];
        assert_eq!(queue.pop(&mut buffer).map(|packet| packet.len), Some(3));
        assert_eq!(buffer[..3], [1, 2, 3]);
        assert_eq!(queue.pop(&mut buffer).map(|packet| packet.len), Some(2));
        assert_eq!(buffer[..2], [4, 5]);
        assert!(queue.pop(&mut buffer).is_none());
    }

    #[test]
    fn a_full_queue_loses_the_newest() {
        let mut queue = AnswerQueue::default();
        let packet = vec![7; 60_000];
        for _ in 0..100 {
            queue.push(&packet, Offload::default());
        }
        let mut buffer = vec![0; 65_600];
        let mut held = 0;
        while queue.pop(&mut buffer).is_some() {
            held += 1;
        }
        assert_eq!(held, MAX_BYTES / packet.len());
    }
}
