//! The kernel's tables of sockets that it cannot be asked for one by one: those of pings, and raw ones.
//!
//! They are as long as programs make them, so a worker reads a short one only ([`LatePings`]). A long one is read by
//! a thread that may take its time, once for all who ask ([`PingSockets`]).

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustc_hash::FxHashSet;

use super::own_sockets::is_own;
use super::{row_matches, table_info};
use crate::apps::inet_table::{self, TableRow};
use crate::apps::{DiagError, SocketInfo, canonical};

/// Protocol numbers of ICMP as they stand in `/proc/net/raw`.
pub(super) const IPPROTO_ICMP: u16 = 1;
pub(super) const IPPROTO_ICMPV6: u16 = 58;
/// Has sockets of its own, with ports, which `sock_diag` does not look up.
const UDP_LITE: u16 = 136;
/// Sends any protocol.
pub(super) const IPPROTO_RAW: u16 = 255;
/// A longer table takes longer to read than a worker may stand still: this one has 250 sockets.
const SHORT: u64 = 32 << 10;
/// Most sockets that are kept of a long one.
const MOST_WANTED: usize = 65_536;
/// So old a table still tells whether a socket is another's by now: a program that takes an identifier over needs longer.
const LATE: Duration = Duration::from_millis(5);

/// The tables of one network namespace.
#[derive(Clone, Debug)]
pub(super) struct Tables {
    /// E.g. `/proc/self/net`.
    folder: PathBuf,
}

impl Tables {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// A raw socket shows its protocol and perhaps addresses, and no identifier: only if there is just one, it is the one.
    pub(super) fn find_raw(
        &self,
        protocol: u16,
        local: IpAddr,
        remote: IpAddr,
    ) -> Result<Option<SocketInfo>, DiagError> {
        let mut sockets = raw_sockets(self.short(raw_table(local))?, protocol, local, remote);
        if protocol == UDP_LITE {
            // A socket of IPv6 may send over IPv4. Kernels without the protocol have no tables of it.
            for table in ["udplite", "udplite6"] {
                let rows = match self.short(table) {
                    Err(DiagError::Table { source, .. })
                        if source.kind() == io::ErrorKind::NotFound =>
                    {
                        continue;
                    }
                    rows => rows?,
                };
                let fitting = rows.into_iter();
                sockets.extend(fitting.filter(|row| row_matches(row, local, remote)));
            }
        }
        the_only_one(&sockets)
    }

    fn short(&self, name: &str) -> Result<Vec<TableRow>, DiagError> {
        let mut text = String::new();
        let file = self.open(name)?;
        let read = file.take(SHORT + 1).read_to_string(&mut text);
        let length = read.map_err(|source| self.unreadable(name, source))?;
        match u64::try_from(length) {
            Ok(length) if length <= SHORT => Ok(inet_table::rows(&text).collect()),
            _ => Err(DiagError::TooLong),
        }
    }

    /// Raw sockets that include the IP header: they can send what looks like anybody's.
    pub(super) fn raw_with_headers(&self, table: &str) -> Result<Vec<TableRow>, DiagError> {
        self.long(table, |row| row.local_port == IPPROTO_RAW)
    }

    /// A whole table of another form.
    pub(super) fn text(&self, name: &str) -> Result<String, DiagError> {
        let mut text = String::new();
        let read = self.open(name)?.read_to_string(&mut text);
        read.map_err(|source| self.unreadable(name, source))?;
        Ok(text)
    }

    /// Those of a table that are `wanted`, however long it is.
    fn long(
        &self,
        name: &str,
        wanted: impl Fn(&TableRow) -> bool,
    ) -> Result<Vec<TableRow>, DiagError> {
        let mut rows = Vec::new();
        for line in BufReader::with_capacity(64 << 10, self.open(name)?).lines() {
            let line = line.map_err(|source| self.unreadable(name, source))?;
            rows.extend(inet_table::rows(&line).filter(&wanted));
            if rows.len() > MOST_WANTED {
                return Err(DiagError::TooLong);
            }
        }
        Ok(rows)
    }

    fn open(&self, name: &str) -> Result<File, DiagError> {
        File::open(self.folder.join(name)).map_err(|source| self.unreadable(name, source))
    }

    fn unreadable(&self, name: &str, source: io::Error) -> DiagError {
        DiagError::Table {
            table: self.folder.join(name).display().to_string(),
            source,
        }
    }
}

/// Finds the sockets of pings where the tables are short, and keeps for a moment what it has read.
#[derive(Debug, Default)]
pub(super) struct LatePings {
    v4: Option<(Instant, Family)>,
    v6: Option<(Instant, Family)>,
}

impl LatePings {
    /// The socket that sends echo requests with the identifier that `local` has for a port.
    pub(super) fn find(
        &mut self,
        tables: &Tables,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> Result<Option<SocketInfo>, DiagError> {
        *self.of(local.ip()) = None;
        self.find_late(Instant::now(), tables, local, remote)
    }

    /// The same, as it was a moment ago, but not before the last one was found.
    pub(super) fn find_late(
        &mut self,
        now: Instant,
        tables: &Tables,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> Result<Option<SocketInfo>, DiagError> {
        let kept = self.of(local.ip());
        let is_late = |(read, _): &(Instant, Family)| now.saturating_duration_since(*read) < LATE;
        let family = kept.take().filter(is_late);
        let (_, family) = kept.insert(family.unwrap_or_else(|| (now, Family::default())));
        let pings = || tables.short(ping_table(local.ip()));
        let raw = || tables.short(raw_table(local.ip()));
        family.find(pings, raw, local, remote)
    }

    fn of(&mut self, local: IpAddr) -> &mut Option<(Instant, Family)> {
        match local {
            IpAddr::V4(_) => &mut self.v4,
            IpAddr::V6(_) => &mut self.v6,
        }
    }
}

/// Finds the sockets of pings where the tables may be long.
#[derive(Clone, Debug)]
pub struct PingSockets {
    pub(super) tables: Tables,
}

impl PingSockets {
    /// The socket of each ping, which goes from the first address, whose port is its identifier, to the second one. Reads
    /// each table once.
    ///
    /// # Errors
    /// [`DiagError`], of each.
    pub fn find(
        &self,
        pings: &[(SocketAddr, SocketAddr)],
    ) -> Vec<Result<Option<SocketInfo>, DiagError>> {
        let mut v4 = Family::default();
        let mut v6 = Family::default();
        let found = pings.iter().map(|(local, remote)| {
            let (local, remote) = (canonical(*local), canonical(*remote));
            let family = match local.ip() {
                IpAddr::V4(_) => &mut v4,
                IpAddr::V6(_) => &mut v6,
            };
            let read_pings = || {
                let identifiers: FxHashSet<u16> =
                    pings.iter().map(|(local, _)| local.port()).collect();
                let wanted = |row: &TableRow| identifiers.contains(&row.local_port);
                self.tables.long(ping_table(local.ip()), wanted)
            };
            let read_raw = || self.tables.long(raw_table(local.ip()), |_| true);
            family.find(read_pings, read_raw, local, remote)
        });
        found.collect()
    }
}

/// What was read of one family's tables, or why it was not: that is not tried again for each ping.
#[derive(Debug, Default)]
struct Family {
    pings: Option<Result<Vec<TableRow>, DiagError>>,
    raw: Option<Result<Vec<TableRow>, DiagError>>,
}

impl Family {
    fn find(
        &mut self,
        read_pings: impl FnOnce() -> Result<Vec<TableRow>, DiagError>,
        read_raw: impl FnOnce() -> Result<Vec<TableRow>, DiagError>,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> Result<Option<SocketInfo>, DiagError> {
        let rows = self.pings.get_or_insert_with(read_pings);
        let rows = rows.as_ref().map_err(repeated)?;
        if let Some(socket) = ping_socket(rows, local, remote)? {
            return Ok(Some(socket));
        }
        let raw = self.raw.get_or_insert_with(read_raw);
        let raw = raw.as_ref().map_err(repeated)?;
        let protocol = icmp_number(local.ip());
        the_only_one(&raw_sockets(raw.clone(), protocol, local.ip(), remote.ip()))
    }
}

/// The error of a table, told once more.
fn repeated(error: &DiagError) -> DiagError {
    if let DiagError::Table { table, source } = error {
        let again = |code| io::Error::from_raw_os_error(code);
        return DiagError::Table {
            table: table.clone(),
            source: source
                .raw_os_error()
                .map_or_else(|| source.kind().into(), again),
        };
    }
    // Nothing else comes of reading one.
    DiagError::TooLong
}

fn ping_table(local: IpAddr) -> &'static str {
    if local.is_ipv4() { "icmp" } else { "icmp6" }
}

fn raw_table(local: IpAddr) -> &'static str {
    if local.is_ipv4() { "raw" } else { "raw6" }
}

fn icmp_number(local: IpAddr) -> u16 {
    if local.is_ipv4() {
        IPPROTO_ICMP
    } else {
        IPPROTO_ICMPV6
    }
}

/// Several may share an identifier where all of them say so (`SO_REUSEADDR`): then nobody knows which one sent.
fn ping_socket(
    rows: &[TableRow],
    local: SocketAddr,
    remote: SocketAddr,
) -> Result<Option<SocketInfo>, DiagError> {
    let fits = |row: &&TableRow| {
        row.local_port == local.port() && row_matches(row, local.ip(), remote.ip())
    };
    let fitting: Vec<TableRow> = rows.iter().filter(fits).copied().collect();
    match fitting.as_slice() {
        [] => Ok(None),
        [row] => Ok(Some(table_info(row))),
        _ => Err(DiagError::Shared),
    }
}

fn raw_sockets(
    mut sockets: Vec<TableRow>,
    protocol: u16,
    local: IpAddr,
    remote: IpAddr,
) -> Vec<TableRow> {
    sockets.retain(|row| {
        let fits = row.local_port == IPPROTO_RAW || row.local_port == protocol;
        fits && row_matches(row, local, remote)
    });
    // Through these this gateway passes on what others have sent.
    sockets.retain(|row| row.local_port != IPPROTO_RAW || !is_own(row.inode));
    if sockets.len() > 1 {
        // Nor are its others the program's.
        sockets.retain(|row| !is_own(row.inode));
    }
    sockets
}

fn the_only_one(sockets: &[TableRow]) -> Result<Option<SocketInfo>, DiagError> {
    match sockets {
        [] => Ok(None),
        [row] => Ok(Some(table_info(row))),
        _ => Err(DiagError::Ambiguous),
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::fs;

    use super::*;

    const REMOTE: &str = "203.0.113.10:0";

    /// Tables of a namespace in which each of these identifiers has a ping socket, whose number is its place.
    fn tables(name: &str, identifiers: impl Iterator<Item = u16>) -> Tables {
        let folder = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let mut text = "  sl  local_address rem_address   st ...\n".to_owned();
        for (place, identifier) in (1..).zip(identifiers) {
            writeln!(
                text,
                "    0: 00000000:{identifier:04X} 00000000:0000 07 00000000:00000000 00:00000000 \
                 00000000  1000        0 {place} 2 0000000000000000 0"
            )
            .unwrap();
        }
        fs::write(folder.join("icmp"), text).unwrap();
        fs::write(folder.join("raw"), "").unwrap();
        Tables::new(folder)
    }

    fn ping(identifier: u16) -> (SocketAddr, SocketAddr) {
        let local = SocketAddr::from(([192, 0, 2, 1], identifier));
        (local, REMOTE.parse().unwrap())
    }

    #[test]
    fn a_short_table_is_read_at_once_and_a_long_one_only_by_who_has_time() {
        let few = tables("few-pings", 1..=100);
        let (local, remote) = ping(7);
        let found = LatePings::default().find(&few, local, remote).unwrap();
        assert_eq!(found.map(|socket| socket.inode), Some(7));
        let many = tables("many-pings", 1..=20_000);
        let refused = LatePings::default().find(&many, local, remote);
        assert!(matches!(refused, Err(DiagError::TooLong)), "{refused:?}");
        let sockets = PingSockets {
            tables: many.clone(),
        };
        let found = sockets.find(&[ping(20_000), ping(7), ping(30_000)]);
        let inodes = found
            .into_iter()
            .map(|found| found.unwrap().map(|socket| socket.inode));
        assert_eq!(inodes.collect::<Vec<_>>(), [Some(20_000), Some(7), None]);
        for tables in [few, many] {
            fs::remove_dir_all(tables.folder).unwrap();
        }
    }

    #[test]
    fn a_table_that_cannot_be_read_is_not_read_again_for_each_ping() {
        let tables = &tables("no-pings", [7].into_iter());
        let table = tables.folder.join("icmp");
        let text = fs::read(&table).unwrap();
        fs::remove_file(&table).unwrap();
        let mut family = Family::default();
        let (local, remote) = ping(7);
        let mut find = || {
            let read = |table| move || tables.long(table, |_| true);
            family.find(read("icmp"), read("raw"), local, remote)
        };
        let is_missing = |found| match found {
            Err(DiagError::Table { source, .. }) => source.kind() == io::ErrorKind::NotFound,
            _ => false,
        };
        assert!(is_missing(find()));
        fs::write(&table, text).unwrap();
        assert!(is_missing(find()));
        fs::remove_dir_all(&tables.folder).unwrap();
    }

    #[test]
    fn a_table_serves_for_a_moment_and_a_new_flow_reads_it_anew() {
        let tables = tables("late-pings", [7].into_iter());
        let (local, remote) = ping(7);
        let mut late = LatePings::default();
        let start = Instant::now();
        let mut inode = |at: Option<Duration>| {
            let found = match at {
                Some(at) => late.find_late(start + at, &tables, local, remote),
                None => late.find(&tables, local, remote),
            };
            found.unwrap().map(|socket| socket.inode)
        };
        assert_eq!(inode(Some(Duration::ZERO)), Some(1));
        fs::write(tables.folder.join("icmp"), "").unwrap();
        assert_eq!(inode(Some(LATE / 2)), Some(1));
        assert_eq!(inode(Some(LATE)), None);
        assert_eq!(inode(None), None);
        fs::remove_dir_all(&tables.folder).unwrap();
    }

    #[test]
    fn without_a_table_of_udp_lite_raw_sockets_are_told_and_with_a_long_one_nobody_is() {
        let tables = tables("udp-lite", std::iter::empty());
        let (local, remote) = ping(0);
        let find = || tables.find_raw(UDP_LITE, local.ip(), remote.ip());
        assert!(matches!(find(), Ok(None)));
        let long = "x".repeat(40 << 10);
        fs::write(tables.folder.join("udplite"), long).unwrap();
        assert!(matches!(find(), Err(DiagError::TooLong)));
        fs::remove_dir_all(tables.folder).unwrap();
    }

    #[test]
    fn of_two_that_share_an_identifier_none_is_taken_for_the_sender() {
        let tables = tables("shared-pings", [7, 8, 7].into_iter());
        let (local, remote) = ping(7);
        let shared = LatePings::default().find(&tables, local, remote);
        assert!(matches!(shared, Err(DiagError::Shared)), "{shared:?}");
        let (local, remote) = ping(8);
        assert!(
            LatePings::default()
                .find(&tables, local, remote)
                .unwrap()
                .is_some()
        );
        fs::remove_dir_all(tables.folder).unwrap();
    }
}
