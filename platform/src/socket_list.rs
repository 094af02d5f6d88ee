//! Darwin's lists of sockets, `net.inet.tcp.pcblist_n` and `net.inet.udp.pcblist_n`, from bytes.
//!
//! A list begins and ends with a header. Between them each socket is a run of records, whose first bytes are their length and
//! kind: the addresses first, then the socket with its user and processes, then buffers and, for TCP, the connection. Records
//! grow from one version of macOS to the next, so they are walked by their own length and fields are read at the offsets of
//! `xinpcb_n`, `xsocket_n` and `xtcpcb_n` (netinet/in_pcb.h, sys/socketvar.h, netinet/tcp_var.h), which have stayed.
//!
//! Pure functions over bytes, so every system tests them; only macOS has such lists.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::routing_messages::without_scope;

#[cfg(test)]
mod tests;

/// Which sockets.
#[cfg(target_os = "macos")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Table {
    Tcp,
    Udp,
}

#[cfg(target_os = "macos")]
impl Table {
    /// The name for sysctl(3).
    pub(crate) fn name(self) -> &'static std::ffi::CStr {
        match self {
            Self::Tcp => c"net.inet.tcp.pcblist_n",
            Self::Udp => c"net.inet.udp.pcblist_n",
        }
    }
}

/// One socket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Names this socket and no later one (`inp_gencnt`).
    pub(crate) generation: u64,
    /// Its ports; 0 for none.
    pub(crate) local_port: u16,
    pub(crate) remote_port: u16,
    /// Its addresses in each family that it speaks; unspecified for any.
    pub(crate) local_v4: Option<Ipv4Addr>,
    pub(crate) remote_v4: Option<Ipv4Addr>,
    pub(crate) local_v6: Option<Ipv6Addr>,
    pub(crate) remote_v6: Option<Ipv6Addr>,
    /// Who made it.
    pub(crate) user: u32,
    /// The process that used it last.
    pub(crate) last_process: Option<u32>,
    /// The process on whose behalf it is, where that is another one (`so_e_pid`).
    pub(crate) effective_process: Option<u32>,
    /// State of its connection, for TCP.
    pub(crate) state: Option<State>,
}

/// States of TCP (netinet/tcp_fsm.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Closed,
    Listen,
    SynSent,
    SynReceived,
    Established,
    CloseWait,
    FinWait,
    LastAck,
    TimeWait,
}

/// How well a socket fits a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fit {
    /// It takes part in this flow and no other.
    Exact,
    /// It is bound to the flow's local address and has no peer.
    AtAddress,
    /// It is bound to the flow's local port at any address and has no peer.
    AtPort,
}

/// `struct xinpgen`: what is no longer than it is the header at the end.
const HEADER: usize = 24;
/// Kinds of records (`XSO_*`).
const SOCKET: u32 = 0x1;
const ADDRESSES: u32 = 0x10;
const CONNECTION: u32 = 0x20;
/// Families that a socket speaks (`INP_IPV4`, `INP_IPV6`).
const IPV4: u8 = 0x1;
const IPV6: u8 = 0x2;

/// Where fields stand in `xinpcb_n`.
mod addresses {
    pub(super) const REMOTE_PORT: usize = 16;
    pub(super) const LOCAL_PORT: usize = 18;
    pub(super) const GENERATION: usize = 28;
    pub(super) const FAMILIES: usize = 44;
    pub(super) const REMOTE: usize = 48;
    pub(super) const LOCAL: usize = 64;
    /// An IPv4 address stands at the end of the room for one of IPv6.
    pub(super) const V4: usize = 12;
}

/// Where fields stand in `xsocket_n`.
mod socket {
    pub(super) const USER: usize = 64;
    pub(super) const LAST_PROCESS: usize = 68;
    pub(super) const EFFECTIVE_PROCESS: usize = 72;
}

/// Where the state stands in `xtcpcb_n`.
const STATE: usize = 36;

/// All sockets of a list; `None` if it contradicts the format.
pub(crate) fn entries(list: &[u8]) -> Option<Vec<Entry>> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut rest = list.get(rounded(length(list)?)..)?;
    while let Some(record) = length(rest).filter(|length| *length > HEADER) {
        let record = rest.get(..record)?;
        match u32::from_ne_bytes(at(record, 4)?) {
            ADDRESSES => entries.push(Entry::parse(record)?),
            SOCKET => entries.last_mut()?.add_socket(record)?,
            CONNECTION => entries.last_mut()?.state = State::parse(record),
            _ => {}
        }
        rest = rest.get(rounded(record.len())..).unwrap_or_default();
    }
    Some(entries)
}

/// The sockets that fit best, of those that fit well enough.
pub(crate) fn best(
    entries: &[Entry],
    local: SocketAddr,
    remote: SocketAddr,
    at_least: Fit,
) -> Vec<&Entry> {
    let fitting = entries
        .iter()
        .filter_map(|entry| Some((entry.fits(local, remote)?, entry)))
        .filter(|(fit, _)| *fit <= at_least);
    let mut best: Vec<_> = fitting.collect();
    let closest = best.iter().map(|(fit, _)| *fit).min();
    best.retain(|(fit, _)| Some(*fit) == closest);
    best.into_iter().map(|(_, entry)| entry).collect()
}

impl Entry {
    fn parse(record: &[u8]) -> Option<Self> {
        let [families] = at(record, addresses::FAMILIES)?;
        let v4 = |place: usize| -> Option<Ipv4Addr> {
            let bytes: [u8; 4] = at(record, place + addresses::V4)?;
            (families & IPV4 != 0).then(|| bytes.into())
        };
        let v6 = |place: usize| -> Option<Ipv6Addr> {
            let bytes: [u8; 16] = at(record, place)?;
            (families & IPV6 != 0).then(|| without_scope(bytes.into()))
        };
        Some(Self {
            generation: u64::from_ne_bytes(at(record, addresses::GENERATION)?),
            local_port: u16::from_be_bytes(at(record, addresses::LOCAL_PORT)?),
            remote_port: u16::from_be_bytes(at(record, addresses::REMOTE_PORT)?),
            local_v4: v4(addresses::LOCAL),
            remote_v4: v4(addresses::REMOTE),
            local_v6: v6(addresses::LOCAL),
            remote_v6: v6(addresses::REMOTE),
            ..Self::default()
        })
    }

    fn add_socket(&mut self, record: &[u8]) -> Option<()> {
        let process = |place| {
            let id = i32::from_ne_bytes(at(record, place)?);
            Some(u32::try_from(id).ok().filter(|id| *id != 0))
        };
        self.user = u32::from_ne_bytes(at(record, socket::USER)?);
        self.last_process = process(socket::LAST_PROCESS)?;
        self.effective_process =
            process(socket::EFFECTIVE_PROCESS)?.filter(|id| Some(*id) != self.last_process);
        Some(())
    }

    /// Whether and how well this is the socket of a flow between these addresses.
    fn fits(&self, local: SocketAddr, remote: SocketAddr) -> Option<Fit> {
        let (own, peer): (IpAddr, IpAddr) = match local {
            SocketAddr::V4(_) => (self.local_v4?.into(), self.remote_v4?.into()),
            SocketAddr::V6(_) => (self.local_v6?.into(), self.remote_v6?.into()),
        };
        let here = own == local.ip();
        let without_peer = self.remote_port == 0 && peer.is_unspecified();
        if self.local_port != local.port() {
            None
        } else if here && self.remote_port == remote.port() && peer == remote.ip() {
            Some(Fit::Exact)
        } else if here && without_peer {
            Some(Fit::AtAddress)
        } else if own.is_unspecified() && without_peer {
            Some(Fit::AtPort)
        } else {
            None
        }
    }
}

impl State {
    fn parse(record: &[u8]) -> Option<Self> {
        match i32::from_ne_bytes(at(record, STATE)?) {
            0 => Some(Self::Closed),
            1 => Some(Self::Listen),
            2 => Some(Self::SynSent),
            3 => Some(Self::SynReceived),
            4 => Some(Self::Established),
            5 => Some(Self::CloseWait),
            // FIN_WAIT_1, CLOSING, FIN_WAIT_2
            6 | 7 | 9 => Some(Self::FinWait),
            8 => Some(Self::LastAck),
            10 => Some(Self::TimeWait),
            _ => None,
        }
    }
}

fn length(bytes: &[u8]) -> Option<usize> {
    usize::try_from(u32::from_ne_bytes(at(bytes, 0)?)).ok()
}

/// Records begin at multiples of eight.
fn rounded(length: usize) -> usize {
    length.next_multiple_of(8)
}

fn at<const N: usize>(bytes: &[u8], place: usize) -> Option<[u8; N]> {
    bytes.get(place..)?.first_chunk().copied()
}
