//! Small packets that wait for the device: RSTs, ICMP errors, challenge ACKs, fragments.
//!
//! They are made while a packet comes in or a verdict is carried out, when no transmit buffer is at hand, and go out with
//! the next [`Stack::poll_transmit`](crate::Stack::poll_transmit). The queue is bounded: when it is full the packet is
//! lost, as it would be in a router's queue, and its sender asks again. Once warm it does not allocate.

use std::collections::VecDeque;

use crate::output::Transmit;
use crate::packet::{Offload, PacketHead};

/// Most bytes that wait.
const MAX_BYTES: usize = 1 << 20;

/// A bounded first-in-first-out queue of packets.
#[derive(Debug, Default)]
pub(crate) struct AnswerQueue {
    bytes: VecDeque<u8>,
    packets: VecDeque<(usize, Offload)>,
    /// Bytes in front that were lent out: gone with the next call.
    lent: usize,
}

impl AnswerQueue {
    /// Queues a packet, or loses it if the queue is full.
    pub(crate) fn push(&mut self, packet: &[u8], offload: Offload) {
        if !packet.is_empty() && self.bytes.len() + packet.len() <= MAX_BYTES {
            self.bytes.extend(packet);
            self.packets.push_back((packet.len(), offload));
        }
    }

    /// Whether a packet of this size still fits.
    pub(crate) fn has_room_for(&self, len: usize) -> bool {
        self.bytes.len() + len <= MAX_BYTES
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// The oldest packet, which leaves the queue.
    pub(crate) fn pop(&mut self) -> Option<Transmit<'_>> {
        self.bytes.drain(..std::mem::take(&mut self.lent));
        let (len, offload) = self.packets.pop_front()?;
        self.lent = len;
        let mut head = PacketHead {
            offload,
            ..PacketHead::EMPTY
        };
        let (first, second) = self.bytes.as_slices();
        let first = &first[..first.len().min(len)];
        let second = &second[..len - first.len()];
        if len > PacketHead::CAPACITY {
            let payload = [first, second];
            return Some(Transmit { head, payload });
        }
        // Most answers are nothing but a head, which is to lie in one piece.
        head.bytes[..first.len()].copy_from_slice(first);
        head.bytes[first.len()..len].copy_from_slice(second);
        head.len = len;
        let payload = [&[][..], &[]];
        Some(Transmit { head, payload })
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
        assert_eq!(queue.pop().unwrap().parts().concat(), [1, 2, 3]);
        queue.push(&[6; 7], Offload::default());
        assert_eq!(queue.pop().unwrap().parts().concat(), [4, 5]);
        assert_eq!(queue.pop().unwrap().parts().concat(), [6; 7]);
        assert!(queue.pop().is_none());
    }

    #[test]
    fn a_full_queue_loses_the_newest() {
        let mut queue = AnswerQueue::default();
        let packet = vec![7; 60_000];
        for _ in 0..100 {
            queue.push(&packet, Offload::default());
        }
        let mut held = 0;
        while queue.pop().is_some() {
            held += 1;
        }
        assert_eq!(held, MAX_BYTES / packet.len());
    }
}
