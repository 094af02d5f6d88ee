//! Packets that wait for their flow's verdict: few of each flow, and no more memory for all of them together than a flood of
//! new flows may have.

/// Bytes of one flow's packets.
const OF_A_FLOW: usize = 1 << 20;
/// Bytes of all flows' packets.
const OF_ALL: usize = 32 << 20;

/// What may still wait.
#[derive(Debug)]
pub(super) struct Room(usize);

impl Default for Room {
    fn default() -> Self {
        Self(OF_ALL)
    }
}

/// The packets of one flow, each with what else is known of it.
#[derive(Debug)]
pub(super) struct Waiting<T> {
    packets: Vec<(Vec<u8>, T)>,
    bytes: usize,
}

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        Self {
            packets: Vec::new(),
            bytes: 0,
        }
    }
}

impl<T> Waiting<T> {
    /// Keeps a packet if fewer than `most` wait already and there is room; false if not.
    pub(super) fn push(&mut self, room: &mut Room, most: usize, packet: &[u8], what: T) -> bool {
        let fits = packet.len() <= room.0 && self.bytes + packet.len() <= OF_A_FLOW;
        if !fits || self.packets.len() >= most {
            return false;
        }
        room.0 -= packet.len();
        self.bytes += packet.len();
        self.packets.push((packet.to_vec(), what));
        true
    }

    /// Takes all of them out. To be called before this is dropped: what waits would take room for ever.
    pub(super) fn take(&mut self, room: &mut Room) -> Vec<(Vec<u8>, T)> {
        room.0 += std::mem::take(&mut self.bytes);
        std::mem::take(&mut self.packets)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_wait_in_order_up_to_their_number() {
        let (mut room, mut waiting) = (Room::default(), Waiting::default());
        for number in 0..3 {
            assert!(waiting.push(&mut room, 3, &[number; 10], number));
        }
        assert!(!waiting.push(&mut room, 3, &[], 9));
        let taken: Vec<_> = waiting
            .take(&mut room)
            .into_iter()
            .map(|(_, what)| what)
            .collect();
        assert_eq!(taken, [0, 1, 2]);
        assert!(waiting.is_empty() && room.0 == OF_ALL);
    }

    #[test]
    fn a_flow_does_not_take_all_the_room_and_all_flows_no_more_than_there_is() {
        let packet = vec![0; 60_000];
        let mut room = Room::default();
        let mut flows: Vec<Waiting<()>> = Vec::new();
        for _ in 0..40 {
            let mut waiting = Waiting::default();
            let kept = (0..64)
                .filter(|_| waiting.push(&mut room, 64, &packet, ()))
                .count();
            assert!(kept * packet.len() <= OF_A_FLOW);
            flows.push(waiting);
        }
        let bytes: usize = flows.iter().map(|flow| flow.bytes).sum();
        assert!(bytes <= OF_ALL && bytes + packet.len() > OF_ALL, "{bytes}");
        for flow in &mut flows {
            flow.take(&mut room);
        }
        assert_eq!(room.0, OF_ALL);
    }
}
