//! What a packet that belongs to no flow of ours is.

/// Class of a packet that came out of the device and belongs to no flow of ours, in the order of DESIGN.md section 3.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnknownClass {
    /// A TCP RST: re-emit, never answer.
    Reset,
    /// An ICMP echo reply, or an ICMP error: re-emit.
    EchoReplyOrError,
    /// A service's SYN-ACK: ask for the verdict of direction `in`.
    SynAck,
    /// Any other TCP segment without SYN: of a service or of a connection older than us if its socket is alive, else
    /// answer RST.
    Segment,
    /// A datagram from a port outside the ephemeral range: a service's.
    ServiceDatagram,
    /// Neither TCP, UDP nor ICMP echo: judged by address and protocol.
    OtherProtocol,
}
