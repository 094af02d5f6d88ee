//! What is broken on purpose, to see that the simulation notices.

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;

/// A fault of the stack, played by swallowing what it sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// Every fiftieth acknowledgement without payload is missing: a sound stack gets over it.
    FiftiethAcks,
    /// FIN is never sent.
    Fins,
    /// Nothing is sent twice.
    Retransmissions,
}

/// Plays the fault.
pub(crate) struct Saboteur {
    fault: Fault,
    acks: u64,
    /// The sequence number after everything sent so far.
    next: Option<u32>,
}

impl Saboteur {
    pub(crate) fn new(fault: Fault) -> Self {
        Self {
            fault,
            acks: 0,
            next: None,
        }
    }

    /// Whether this packet to the program is to go missing.
    pub(crate) fn swallows(&mut self, packet: &[u8]) -> bool {
        let at = if packet[0] >> 4 == 4 { 20 } else { 40 };
        let tcp = &packet[at..];
        let flags = tcp[13];
        let payload = tcp.len() - usize::from(tcp[12] >> 4) * 4;
        let control = u32::from(flags & FIN != 0) + u32::from(flags & SYN != 0);
        let length = u32::try_from(payload).unwrap() + control;
        match self.fault {
            Fault::None => false,
            Fault::FiftiethAcks => {
                self.acks += u64::from(length == 0);
                length == 0 && self.acks.is_multiple_of(50)
            }
            Fault::Fins => flags & FIN != 0,
            Fault::Retransmissions => {
                let end = u32::from_be_bytes(tcp[4..8].try_into().unwrap()).wrapping_add(length);
                let is_new = self
                    .next
                    .is_none_or(|next| end.wrapping_sub(next).wrapping_sub(1) < 1 << 31);
                if is_new {
                    self.next = Some(end);
                }
                length > 0 && !is_new
            }
        }
    }
}
