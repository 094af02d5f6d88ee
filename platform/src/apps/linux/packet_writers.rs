//! Sockets that write packets as they are: one that left without a socket of its own may be of any of these.

use super::super::{DiagError, SocketInfo, SocketState};
use super::own_sockets::is_own;
use super::{AppFinder, table_info};

impl AppFinder {
    /// Sockets other than this gateway's that can write any packet into the device: packet sockets (packet(7)) that listen to
    /// it or to none, and raw sockets that include the header (raw(7), `IPPROTO_RAW`). The kernel does not tell which of
    /// them sent a packet.
    ///
    /// # Errors
    /// [`DiagError::Table`].
    pub fn packet_writers(&self) -> Result<Vec<SocketInfo>, DiagError> {
        let text = self.tables.text("packet")?;
        let mut writers: Vec<SocketInfo> = text
            .lines()
            .filter_map(row)
            .filter(|row| row.device == 0 || row.device == self.device)
            .map(|row| row.info)
            .collect();
        for table in ["raw", "raw6"] {
            let raw = self.tables.raw_with_headers(table)?;
            writers.extend(raw.iter().map(table_info));
        }
        writers.retain(|writer| !is_own(writer.inode));
        Ok(writers)
    }
}

/// A packet socket, and the interface that it listens to; 0 for none or all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Row {
    device: u32,
    info: SocketInfo,
}

/// Columns of `/proc/net/packet`: address, references, type, protocol, interface, running, memory, user, inode. A line that
/// is not of this form (the heading) is passed over.
fn row(line: &str) -> Option<Row> {
    let mut columns = line.split_ascii_whitespace();
    let device = columns.nth(4)?.parse().ok()?;
    let uid = columns.nth(2)?.parse().ok()?;
    let inode = columns.next()?.parse().ok()?;
    Some(Row {
        device,
        info: SocketInfo {
            uid,
            inode,
            cookie: 0,
            state: SocketState::Unconnected,
            mark: None,
            device: (device != 0).then_some(device),
        },
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use socket2::{Domain, Socket, Type};

    use std::fs;

    use super::*;
    use crate::apps::DiagSocket;
    use crate::sys::test_network::in_new_network;

    #[test]
    fn a_row_is_read_and_the_heading_is_passed_over() {
        assert_eq!(
            row("sk       RefCnt Type Proto  Iface R Rmem   User   Inode"),
            None
        );
        let read = row("0000000000000000 3      3    0003   7     1 0      1000   4711  ").unwrap();
        assert_eq!(
            (read.device, read.info.uid, read.info.inode),
            (7, 1000, 4711)
        );
    }

    #[test]
    fn the_gateway_s_own_are_left_out() {
        in_new_network(|| {
            let finder = AppFinder::new(
                DiagSocket::open().unwrap(),
                1,
                "/proc/thread-self/net".into(),
                std::sync::Arc::default(),
            );
            let socket = Socket::new(Domain::PACKET, Type::RAW, None).unwrap();
            let table = fs::read_to_string("/proc/thread-self/net/packet").unwrap();
            assert_eq!(table.lines().filter_map(row).count(), 1, "{table}");
            assert_eq!(finder.packet_writers().unwrap(), []);
            drop(socket);
        });
    }

    proptest! {
        #[test]
        fn no_line_panics(line: String) {
            let _ = row(&line);
        }
    }
}
