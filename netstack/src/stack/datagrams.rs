//! The way back for UDP and echo: heads for payloads that the caller holds.

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::time::Instant;

use super::Stack;
use crate::flow::{FlowId, FlowKey};
use crate::fragment::fragment;
use crate::icmp::{ICMP_HEADER, echo_reply_type, message_sum};
use crate::ip::{Fragmentation, IpHeader, header_len, protocol, u16_at};
use crate::packet::{DropReason, Offload, PacketHead};
use crate::table::FlowKind;
use crate::udp::{self, Answered, Completion, UDP_HEADER};

impl Stack {
    /// The head of a datagram (or, with `segment`, several) from the flow's far end to its program; counts as activity.
    /// Write it and the payload with one call.
    ///
    /// # Errors
    ///
    /// [`DropReason::TooLarge`] if a datagram and its headers exceed the MTU
    /// ([`udp_send_fragmented`](Self::udp_send_fragmented) is for those), or all of them 64 KiB.
    /// [`DropReason::FlowGone`] if this is not a live UDP flow.
    pub fn udp_head(
        &mut self,
        now: Instant,
        flow: FlowId,
        payload: &[u8],
        segment: Option<NonZeroU16>,
    ) -> Result<PacketHead, DropReason> {
        let key = self.udp_answer(now, flow)?;
        let completion = if self.config.segmentation_offload {
            Completion::Device
        } else {
            Completion::Ours
        };
        udp::head(
            key.remote.0,
            key.local.0,
            payload,
            segment,
            self.config.link_mtu(),
            completion,
        )
    }

    /// Fragments one datagram larger than the MTU into packets that [`poll_transmit`](Self::poll_transmit) gives out.
    ///
    /// # Errors
    ///
    /// [`DropReason::TooLarge`] if the datagram exceeds 64 KiB or the queue of answers; [`DropReason::FlowGone`] if this is
    /// not a live UDP flow.
    pub fn udp_send_fragmented(
        &mut self,
        now: Instant,
        flow: FlowId,
        payload: &[u8],
    ) -> Result<(), DropReason> {
        let key = self.udp_answer(now, flow)?;
        let (from, to) = (key.remote.0, key.local.0);
        self.identification = self.identification.wrapping_add(1);
        let [.., high, low] = self.identification.to_be_bytes();
        let header = IpHeader {
            identification: u16::from_be_bytes([high, low]),
            fragmentation: Fragmentation::Allowed,
            ..IpHeader::new(from.ip(), to.ip(), protocol::UDP)
        };
        let mut packet = vec![0; header_len(to.ip())];
        header
            .write(&mut packet, UDP_HEADER + payload.len())
            .ok_or(DropReason::TooLarge)?;
        packet.extend(
            udp::udp_header(from, to, payload, Completion::Ours).ok_or(DropReason::TooLarge)?,
        );
        packet.extend_from_slice(payload);
        if !self.answers.has_room_for(packet.len() * 2) {
            return Err(DropReason::TooLarge);
        }
        let answers = &mut self.answers;
        fragment(
            &packet,
            self.config.link_mtu(),
            self.identification,
            |piece| {
                answers.push(piece, Offload::default());
            },
        )?;
        Ok(())
    }

    /// The far end spoke: the flow lives on.
    fn udp_answer(&mut self, now: Instant, id: FlowId) -> Result<FlowKey, DropReason> {
        let limits = self.config.idle;
        let flow = self.table.get_mut(id).ok_or(DropReason::FlowGone)?;
        let FlowKind::Udp(udp) = &mut flow.kind else {
            return Err(DropReason::FlowGone);
        };
        udp.answered = Answered::Once;
        udp.outstanding = udp.outstanding.saturating_sub(1);
        let key = flow.key;
        let until = now + udp.idle_limit(&key, &limits);
        self.table.touch(now, id, until);
        Ok(key)
    }

    /// The head (IP and ICMP, sums done) of an echo reply from the flow's far end; counts as activity. Write it and the
    /// payload with one call.
    ///
    /// # Errors
    ///
    /// [`DropReason::TooLarge`] if the reply and its headers exceed the MTU, [`DropReason::FlowGone`] if this is not a live
    /// echo flow.
    pub fn echo_reply_head(
        &mut self,
        now: Instant,
        flow: FlowId,
        sequence: u16,
        payload: &[u8],
    ) -> Result<PacketHead, DropReason> {
        let echo = self.table.get(flow).ok_or(DropReason::FlowGone)?;
        let FlowKind::Echo(_) = echo.kind else {
            return Err(DropReason::FlowGone);
        };
        let key = echo.key;
        self.table.touch(now, flow, now + self.config.idle.echo);
        let head =
            echo_head(key.remote.0, key.local.0, sequence, payload).ok_or(DropReason::TooLarge)?;
        if head.len + payload.len() > self.config.link_mtu() {
            Err(DropReason::TooLarge)
        } else {
            Ok(head)
        }
    }
}

/// The head of an echo reply; the identifier is the port of the program's end.
fn echo_head(
    from: SocketAddr,
    to: SocketAddr,
    sequence: u16,
    payload: &[u8],
) -> Option<PacketHead> {
    let icmp = if to.is_ipv4() {
        protocol::ICMP
    } else {
        protocol::ICMPV6
    };
    let length = ICMP_HEADER + payload.len();
    let mut bytes = [0; PacketHead::CAPACITY];
    let at = IpHeader::new(from.ip(), to.ip(), icmp).write(&mut bytes, length)?;
    let message = &mut bytes[at..at + ICMP_HEADER];
    message[0] = echo_reply_type(to.ip());
    message[4..6].copy_from_slice(&to.port().to_be_bytes());
    message[6..8].copy_from_slice(&sequence.to_be_bytes());
    let sum = message_sum(from.ip(), to.ip(), length)
        .bytes(message)
        .bytes(payload)
        .finish();
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    debug_assert_eq!(
        message
            .first_chunk()
            .map(|header: &[u8; ICMP_HEADER]| u16_at(header, 6)),
        Some(sequence)
    );
    Some(PacketHead {
        bytes,
        len: at + ICMP_HEADER,
        offload: Offload::default(),
    })
}
