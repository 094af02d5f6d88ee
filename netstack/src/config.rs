//! Limits and habits of a stack.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::tcp::congestion::CongestionControl;

/// Smallest MTU that IPv6 allows on a link (RFC 8200 section 5).
const MIN_MTU: u16 = 1_280;

/// Limits and habits of a [`Stack`](crate::Stack).
#[derive(Clone, Debug)]
pub struct StackConfig {
    /// Largest IP packet that goes into the device unsegmented, in bytes. Less than 1,280 is taken as 1,280 (RFC 8200
    /// section 5).
    pub mtu: u16,
    /// The device takes TCP super-packets and completes checksums (`IFF_VNET_HDR` with TSO).
    pub segmentation_offload: bool,
    /// Local UDP ports that programs get without asking (`ip_local_port_range`). Datagrams from other ports belong to
    /// services and are [`Input::Unknown`](crate::Input::Unknown). `None`: every datagram is a program's own (exec
    /// capture).
    pub ephemeral_ports: Option<RangeInclusive<u16>>,
    /// Further local UDP ports that belong to services: of sockets that waited for datagrams before we started.
    pub service_ports: Vec<u16>,
    /// Most flows of all kinds at once; at most 16,777,216.
    pub max_flows: usize,
    /// Most TCP flows that wait for a verdict or their upstream connection.
    pub max_half_open: usize,
    /// Most bytes of TCP buffers in all, and of the windows that programs are promised in all.
    pub buffer_budget: usize,
    /// Bytes that may wait in the device until they are read, before it drops any: busy TCP flows share it as their windows.
    pub device_queue: usize,
    /// Most bytes of one TCP flow that wait for the program to acknowledge them.
    pub send_buffer: usize,
    /// Largest window that the program of one TCP flow is promised; it starts with 64 KiB at most.
    pub receive_window: usize,
    /// Congestion control towards programs, where [`TcpFlow`](crate::TcpFlow) does not choose another.
    pub congestion: CongestionControl,
    /// Most RSTs and ICMP errors to strangers per second.
    pub answers_per_second: u32,
    /// Makes initial sequence numbers unpredictable; from the operating system's random source.
    pub seed: u64,
    /// How long flows may idle.
    pub idle: IdleLimits,
}

impl StackConfig {
    /// The MTU, within what a link may have.
    pub(crate) fn link_mtu(&self) -> usize {
        usize::from(self.mtu.max(MIN_MTU))
    }
}

impl Default for StackConfig {
    /// An Ethernet-sized link without offload, 65,536 flows, 1 GiB of TCP buffers of which a flow gets up to 1 MiB each way, a
    /// device that holds 16 MiB. `seed` is 0:
    /// set it, or sequence numbers can be guessed.
    fn default() -> Self {
        Self {
            mtu: 1_500,
            segmentation_offload: false,
            ephemeral_ports: None,
            service_ports: Vec::new(),
            max_flows: 65_536,
            max_half_open: 4_096,
            buffer_budget: 1 << 30,
            device_queue: 16 << 20,
            send_buffer: 1 << 20,
            receive_window: 1 << 20,
            congestion: CongestionControl::None,
            answers_per_second: 1_000,
            seed: 0,
            idle: IdleLimits::default(),
        }
    }
}

/// How long flows may idle before they are forgotten.
#[derive(Clone, Copy, Debug)]
pub struct IdleLimits {
    /// TCP, established; the program is reset.
    pub tcp: Duration,
    /// UDP without an answer yet.
    pub udp_unanswered: Duration,
    /// UDP that was answered.
    pub udp_answered: Duration,
    /// UDP to port 443.
    pub quic: Duration,
    /// UDP to port 53 with every question answered.
    pub dns_answered: Duration,
    /// ICMP echo.
    pub echo: Duration,
    /// A flow handed to [`Stack::pass`](crate::Stack::pass): afterwards its packets are unknown again.
    pub passed: Duration,
}

impl Default for IdleLimits {
    /// UDP as DESIGN.md section 4 says (RFC 4787 section 4.3 asks for two minutes at least); TCP a day, for its
    /// keep-alives may be two hours apart (RFC 5382 section 5).
    fn default() -> Self {
        Self {
            tcp: Duration::from_secs(24 * 60 * 60),
            udp_unanswered: Duration::from_secs(30),
            udp_answered: Duration::from_secs(120),
            quic: Duration::from_secs(300),
            dns_answered: Duration::from_secs(2),
            echo: Duration::from_secs(30),
            passed: Duration::from_secs(300),
        }
    }
}
