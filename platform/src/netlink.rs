//! A request and its answers over a netlink socket, blocking.
//!
//! Host changes are rare and have to happen in order, so there is no event loop here: a [`Connection`] sends one request
//! and reads until the kernel has said everything it has to say about it. Events are another socket's business
//! (`monitor`), because the kernel gives a connection's own changes back as answers, not as events.

pub(crate) mod attributes;

use std::io;
use std::time::Duration;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader, NetlinkSerializable,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, SocketAddr, protocols};
use thiserror::Error;

/// The kernel answers at once; longer than this is a fault to report, not to wait for.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// How the kernel says that there is nothing of this kind to dump.
const NO_SUCH_TABLE: [i32; 3] = [libc::ENOENT, libc::EAFNOSUPPORT, libc::EOPNOTSUPP];
/// How often a dump that changed under our hands is begun again.
const DUMP_ATTEMPTS: u32 = 8;

/// A netlink request that did not succeed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum NetlinkError {
    /// The socket itself failed.
    #[error("netlink socket: {0}; is netlink allowed here (seccomp, container)?")]
    Socket(#[source] io::Error),
    /// The kernel refused the request.
    #[error("the kernel refused: {error}{}{detail}", if detail.is_empty() { "" } else { ": " })]
    Refused {
        /// The error number it gave.
        #[source]
        error: io::Error,
        /// Its own words, where it had any.
        detail: String,
    },
    /// An answer contradicts the protocol.
    #[error("malformed netlink answer")]
    Malformed,
    /// The tables changed during every attempt to read them.
    #[error(
        "the kernel's tables changed while they were read, {DUMP_ATTEMPTS} times in a row; try again"
    )]
    Unsteady,
}

impl NetlinkError {
    /// The errno of a refusal.
    pub(crate) fn refusal(&self) -> Option<i32> {
        match self {
            Self::Refused { error, .. } => error.raw_os_error(),
            Self::Socket(_) | Self::Malformed | Self::Unsteady => None,
        }
    }
}

/// What becomes of each answer.
type Each<'a> = &'a mut dyn FnMut(&NetlinkHeader, &[u8]) -> Result<(), NetlinkError>;

/// The value of the first attribute of a kind.
macro_rules! attribute {
    ($attributes:expr, $kind:path) => {
        $attributes.iter().find_map(|attribute| {
            if let $kind(value) = attribute {
                Some(value)
            } else {
                None
            }
        })
    };
}
pub(crate) use attribute;

/// A netlink socket for requests.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: Socket,
    sequence: u32,
}

impl Connection {
    /// A connection to the routing tables of the calling thread's network namespace.
    pub(crate) fn route() -> Result<Self, NetlinkError> {
        Self::open(protocols::NETLINK_ROUTE)
    }

    /// A connection to the socket tables of the calling thread's network namespace.
    pub(crate) fn sock_diag() -> Result<Self, NetlinkError> {
        Self::open(protocols::NETLINK_SOCK_DIAG)
    }

    /// A connection to the connection tracking of the calling thread's network namespace.
    pub(crate) fn netfilter() -> Result<Self, NetlinkError> {
        Self::open(protocols::NETLINK_NETFILTER)
    }

    /// A connection to the families of generic netlink in the calling thread's network namespace.
    pub(crate) fn generic() -> Result<Self, NetlinkError> {
        Self::open(protocols::NETLINK_GENERIC)
    }

    fn open(protocol: isize) -> Result<Self, NetlinkError> {
        let open = || {
            let mut socket = Socket::new(protocol)?;
            socket.bind_auto()?;
            socket.connect(&SocketAddr::new(0, 0))?;
            socket.set_ext_ack(true)?;
            socket.set_cap_ack(true)?;
            // Fails on old kernels; a dump is then only less filtered than it might be.
            let _ = socket.set_netlink_get_strict_chk(true);
            socket2::SockRef::from(&socket).set_read_timeout(Some(ANSWER_LIMIT))?;
            Ok(socket)
        };
        Ok(Self {
            socket: open().map_err(NetlinkError::Socket)?,
            sequence: 0,
        })
    }

    /// Asks the kernel to change something and waits until it has.
    pub(crate) fn change(
        &mut self,
        message: &RouteNetlinkMessage,
        flags: u16,
    ) -> Result<(), NetlinkError> {
        self.transact(
            message.message_type(),
            NLM_F_ACK | flags,
            &serialized(message),
            &mut |_, _| Ok(()),
        )
    }

    /// Asks for one thing.
    pub(crate) fn query(
        &mut self,
        message: &RouteNetlinkMessage,
    ) -> Result<Vec<RouteNetlinkMessage>, NetlinkError> {
        self.collect(message, NLM_F_ACK, &|_| true)
    }

    /// Asks for the part of a table that `keep` wants. A table of a family that the kernel lacks, or without its first entry
    /// yet, is empty. An entry that our parser does not know is left out with a warning.
    pub(crate) fn dump(
        &mut self,
        message: &RouteNetlinkMessage,
        keep: &dyn Fn(&RouteNetlinkMessage) -> bool,
    ) -> Result<Vec<RouteNetlinkMessage>, NetlinkError> {
        for _ in 0..DUMP_ATTEMPTS {
            match self.collect(message, NLM_F_DUMP, keep) {
                Err(NetlinkError::Unsteady) => {}
                Err(error)
                    if error
                        .refusal()
                        .is_some_and(|code| NO_SUCH_TABLE.contains(&code)) =>
                {
                    return Ok(Vec::new());
                }
                done => return done,
            }
        }
        Err(NetlinkError::Unsteady)
    }

    fn collect(
        &mut self,
        message: &RouteNetlinkMessage,
        flags: u16,
        keep: &dyn Fn(&RouteNetlinkMessage) -> bool,
    ) -> Result<Vec<RouteNetlinkMessage>, NetlinkError> {
        let mut answers = Vec::new();
        self.transact(
            message.message_type(),
            flags,
            &serialized(message),
            &mut |header, payload| {
                match RouteNetlinkMessage::deserialize(header, payload) {
                    Ok(answer) if keep(&answer) => answers.push(answer),
                    Ok(_) => {}
                    Err(error) => {
                        tracing::warn!(kind = header.message_type, %error, "unknown netlink answer")
                    }
                }
                Ok(())
            },
        )?;
        Ok(answers)
    }

    /// Dumps a table of another protocol: `each` gets the payload of every answer.
    pub(crate) fn dump_raw(
        &mut self,
        kind: u16,
        request: &[u8],
        each: &mut dyn FnMut(&[u8]) -> Result<(), NetlinkError>,
    ) -> Result<(), NetlinkError> {
        self.transact(kind, NLM_F_DUMP, request, &mut |_, payload| each(payload))
    }

    /// Asks for one thing of another protocol: `each` gets the payload of every answer.
    pub(crate) fn query_raw(
        &mut self,
        kind: u16,
        request: &[u8],
        each: &mut dyn FnMut(&[u8]) -> Result<(), NetlinkError>,
    ) -> Result<(), NetlinkError> {
        self.transact(kind, NLM_F_ACK, request, &mut |_, payload| each(payload))
    }

    /// Sends a request of another protocol that is answered with an acknowledgement only.
    pub(crate) fn change_raw(&mut self, kind: u16, request: &[u8]) -> Result<(), NetlinkError> {
        self.transact(kind, NLM_F_ACK, request, &mut |_, _| Ok(()))
    }

    fn transact(
        &mut self,
        kind: u16,
        flags: u16,
        payload: &[u8],
        each: Each<'_>,
    ) -> Result<(), NetlinkError> {
        self.sequence = self.sequence.wrapping_add(1);
        let request = frame(kind, NLM_F_REQUEST | flags, self.sequence, payload)
            .ok_or(NetlinkError::Malformed)?;
        self.socket
            .send(&request, 0)
            .map_err(NetlinkError::Socket)?;
        let mut steady = true;
        loop {
            let (datagram, _) = self.socket.recv_from_full().map_err(NetlinkError::Socket)?;
            for message in messages(&datagram) {
                let (header, payload) = message?;
                if header.sequence_number != self.sequence {
                    continue; // the rest of an earlier request that was given up
                }
                steady &= header.flags & netlink_packet_core::NLM_F_DUMP_INTR == 0;
                match header.message_type {
                    netlink_packet_core::NLMSG_NOOP => {}
                    netlink_packet_core::NLMSG_OVERRUN => return Err(NetlinkError::Malformed),
                    netlink_packet_core::NLMSG_ERROR | netlink_packet_core::NLMSG_DONE => {
                        verdict(payload)?;
                        return if steady {
                            Ok(())
                        } else {
                            Err(NetlinkError::Unsteady)
                        };
                    }
                    _ => each(&header, payload)?,
                }
            }
        }
    }
}

fn serialized(message: &RouteNetlinkMessage) -> Vec<u8> {
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

/// Length of `struct nlmsghdr`.
const HEADER: usize = 16;

fn frame(kind: u16, flags: u16, sequence: u32, payload: &[u8]) -> Option<Vec<u8>> {
    let length = u32::try_from(HEADER + payload.len()).ok()?;
    let mut bytes = Vec::with_capacity(HEADER + payload.len());
    bytes.extend_from_slice(&length.to_ne_bytes());
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(&flags.to_ne_bytes());
    bytes.extend_from_slice(&sequence.to_ne_bytes());
    bytes.extend_from_slice(&0_u32.to_ne_bytes());
    bytes.extend_from_slice(payload);
    Some(bytes)
}

/// Splits a datagram into its messages (RFC 3549 section 2.3.2: each starts on a multiple of 4).
pub(crate) fn messages(
    datagram: &[u8],
) -> impl Iterator<Item = Result<(NetlinkHeader, &[u8]), NetlinkError>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let Some((header, payload, after)) = split_message(rest) else {
            rest = &[];
            return Some(Err(NetlinkError::Malformed));
        };
        rest = after;
        Some(Ok((header, payload)))
    })
}

fn split_message(bytes: &[u8]) -> Option<(NetlinkHeader, &[u8], &[u8])> {
    let (head, _) = bytes.split_first_chunk::<HEADER>()?;
    let [
        l0,
        l1,
        l2,
        l3,
        k0,
        k1,
        f0,
        f1,
        s0,
        s1,
        s2,
        s3,
        p0,
        p1,
        p2,
        p3,
    ] = *head;
    let mut header = NetlinkHeader::default();
    header.length = u32::from_ne_bytes([l0, l1, l2, l3]);
    header.message_type = u16::from_ne_bytes([k0, k1]);
    header.flags = u16::from_ne_bytes([f0, f1]);
    header.sequence_number = u32::from_ne_bytes([s0, s1, s2, s3]);
    header.port_number = u32::from_ne_bytes([p0, p1, p2, p3]);
    let length = usize::try_from(header.length).ok()?;
    let payload = bytes.get(HEADER..length)?;
    let after = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some((header, payload, after))
}

/// What an acknowledgement or the end of a dump says: an error number (0 is success), perhaps with words.
pub(crate) fn verdict(payload: &[u8]) -> Result<(), NetlinkError> {
    // A dump may end with an empty NLMSG_DONE.
    let Some((code, rest)) = payload.split_first_chunk::<4>() else {
        return Ok(());
    };
    let code = i32::from_ne_bytes(*code);
    if code >= 0 {
        return Ok(());
    }
    let error = io::Error::from_raw_os_error(code.saturating_neg());
    // The header of our request comes first, its payload is left out (NETLINK_CAP_ACK); then attributes.
    let detail = rest.get(HEADER..).map(extended_message).unwrap_or_default();
    Err(NetlinkError::Refused { error, detail })
}

/// The text of `NLMSGERR_ATTR_MSG`, empty if there is none.
fn extended_message(mut attributes: &[u8]) -> String {
    const MESSAGE: u16 = 1;
    while let Some(([l0, l1, k0, k1], _)) = attributes.split_first_chunk::<4>() {
        let length = usize::from(u16::from_ne_bytes([*l0, *l1]));
        let Some(value) = attributes.get(4..length) else {
            break;
        };
        if u16::from_ne_bytes([*k0, *k1]) == MESSAGE {
            return String::from_utf8_lossy(value)
                .trim_end_matches('\0')
                .to_owned();
        }
        attributes = attributes
            .get(length.next_multiple_of(4)..)
            .unwrap_or_default();
    }
    String::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_is_split_into_its_messages() {
        let mut datagram = frame(7, 2, 9, &[1, 2, 3]).unwrap();
        datagram.push(0);
        datagram.extend(frame(8, 0, 9, &[]).unwrap());
        let split: Vec<_> = messages(&datagram)
            .map(|message| message.unwrap())
            .collect();
        assert_eq!(split.len(), 2);
        assert_eq!(
            (
                split[0].0.message_type,
                split[0].0.sequence_number,
                split[0].1
            ),
            (7, 9, &[1_u8, 2, 3][..])
        );
        assert_eq!((split[1].0.message_type, split[1].1.len()), (8, 0));
    }

    #[test]
    fn a_length_beyond_the_datagram_or_below_the_header_is_malformed() {
        for length in [0_u32, 15, 17, u32::MAX] {
            let mut datagram = frame(7, 2, 9, &[]).unwrap();
            datagram[..4].copy_from_slice(&length.to_ne_bytes());
            let split: Vec<_> = messages(&datagram).collect();
            assert!(
                matches!(split[..], [Err(NetlinkError::Malformed)]),
                "length {length}: {split:?}"
            );
        }
    }

    #[test]
    fn the_words_of_a_refusal_are_kept() {
        let mut payload = (-libc::EINVAL).to_ne_bytes().to_vec();
        payload.extend([0; HEADER]);
        payload.extend(12_u16.to_ne_bytes());
        payload.extend(1_u16.to_ne_bytes());
        payload.extend(b"no way\0\0");
        let error = verdict(&payload).unwrap_err();
        assert_eq!(error.refusal(), Some(libc::EINVAL));
        assert!(error.to_string().ends_with(": no way"), "{error}");
    }
}
