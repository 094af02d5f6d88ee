//! What goes past the capture, by program and way: the leak meter writes it down, `tidegate status` shows it.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tidegate_policy::{App, Protocol};

use crate::record::{AppRecord, Timestamp, protocol_text};

/// Programs and ways that are remembered; the one that was seen longest ago makes room.
const MOST: usize = 128;

/// How a packet got past the capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// Its socket is bound to the device (`SO_BINDTODEVICE`).
    BoundToDevice,
    /// Its socket is bound to none, or is gone: the device was chosen for this packet (`IP_UNICAST_IF`, `IP_PKTINFO`), or
    /// another program's rule stood ahead of ours.
    PastTheRules,
    /// It carries this mark, another program's: our rules leave it to that program's.
    ForeignMark(u32),
    /// No socket has its addresses: it was written as it is (packet and raw sockets), its socket is gone, the kernel made
    /// it (a tunnel), or it is another network namespace's, under an address of ours.
    NoSocket,
    /// Its source is no address of this host: it was forwarded, or written as it is.
    ForeignSource,
}

impl Way {
    /// The way's name in counters.
    pub fn name(self) -> &'static str {
        match self {
            Self::BoundToDevice => "bound to a device",
            Self::PastTheRules => "past the rules",
            Self::ForeignMark(_) => "another program's mark",
            Self::NoSocket => "without a socket",
            Self::ForeignSource => "from a foreign address",
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ForeignMark(mark) => match user_of_mark(*mark) {
                Some(user) => write!(f, "mark {mark:#x} ({user})"),
                None => write!(f, "mark {mark:#x}"),
            },
            Self::BoundToDevice | Self::PastTheRules | Self::NoSocket | Self::ForeignSource => {
                f.write_str(self.name())
            }
        }
    }
}

/// Who is known to use this mark.
fn user_of_mark(mark: u32) -> Option<&'static str> {
    match mark {
        0xca6c => Some("wg-quick"),
        0x6d6f_6c65 => Some("Mullvad"),
        0x4000 | 0x8000 => Some("Kubernetes"),
        _ if mark & !0x00ff_0000 == 0 => Some("Tailscale"),
        _ => None,
    }
}

/// What became of the socket behind a flow that goes past the capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It was let go, or there was none.
    LetGo,
    /// It was ended (`bound_sockets = "destroy"`).
    Ended,
}

/// A flow that goes past the capture.
#[derive(Clone, Copy, Debug)]
pub struct Leak<'a> {
    /// How.
    pub way: Way,
    /// Through which device.
    pub device: &'a str,
    /// The program behind it, or why none is known.
    pub owner: Result<&'a App, &'a str>,
    /// What became of its socket.
    pub fate: Fate,
    /// Its protocol.
    pub protocol: Protocol,
    /// Its far end.
    pub remote: SocketAddr,
}

/// All that one program sent past the capture by one way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeakRecord {
    /// How.
    pub way: Way,
    /// Through which device.
    pub device: String,
    /// The program; null where `unattributed` says why.
    pub app: Option<AppRecord>,
    /// Why no program is known.
    pub unattributed: Option<String>,
    /// Flows since the start; one that pauses for a minute counts again.
    pub flows: u64,
    /// Those of them whose sockets were ended.
    pub ended: u64,
    /// When the first was seen.
    pub first: Timestamp,
    /// When the last was seen.
    pub last: Timestamp,
    /// Protocol of the last.
    #[serde(with = "protocol_text")]
    pub protocol: Protocol,
    /// Far end of the last.
    pub remote: SocketAddr,
}

/// Whether something was there before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// It was.
    Before,
    /// It is new.
    Now,
}

/// The leaks that are remembered.
#[derive(Debug, Default)]
pub struct Leaks(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    leaks: Vec<LeakRecord>,
    unmeasured: Vec<String>,
}

impl Leaks {
    /// Notes a flow; says whether its program was known to go this way.
    pub fn note(&self, leak: &Leak<'_>) -> Known {
        let now = Timestamp::now();
        let mut table = self.table();
        let record = table.leaks.iter_mut().find(|record| record.is_of(leak));
        if let Some(record) = record {
            record.flows += 1;
            record.ended += u64::from(leak.fate == Fate::Ended);
            (record.last, record.protocol, record.remote) = (now, leak.protocol, leak.remote);
            return Known::Before;
        }
        if table.leaks.len() >= MOST {
            let oldest = table.leaks.iter().enumerate();
            let oldest = oldest.min_by_key(|(_, record)| record.last);
            if let Some((index, _)) = oldest {
                table.leaks.remove(index);
            }
        }
        table.leaks.push(LeakRecord {
            way: leak.way,
            device: leak.device.to_owned(),
            app: leak.owner.ok().map(AppRecord::from),
            unattributed: leak.owner.err().map(str::to_owned),
            flows: 1,
            ended: u64::from(leak.fate == Fate::Ended),
            first: now,
            last: now,
            protocol: leak.protocol,
            remote: leak.remote,
        });
        Known::Now
    }

    /// Where nothing is measured, and why.
    pub fn set_unmeasured(&self, unmeasured: Vec<String>) {
        self.table().unmeasured = unmeasured;
    }

    /// Where nothing is measured, and why.
    pub fn unmeasured(&self) -> Vec<String> {
        self.table().unmeasured.clone()
    }

    /// What is remembered, in the order in which it was first seen.
    pub fn records(&self) -> Vec<LeakRecord> {
        self.table().leaks.clone()
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Each change is complete before the lock is given back.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LeakRecord {
    fn is_of(&self, leak: &Leak<'_>) -> bool {
        let same_owner = match (&self.app, leak.owner) {
            (Some(app), Ok(owner)) => {
                (app.path.as_path(), app.uid) == (owner.path.as_path(), owner.uid)
            }
            (None, Err(reason)) => self.unattributed.as_deref() == Some(reason),
            (Some(_), Err(_)) | (None, Ok(_)) => false,
        };
        same_owner && self.way == leak.way && self.device == leak.device
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(name: &str) -> App {
        App {
            pid: 1,
            ..App::new(format!("/usr/bin/{name}"), 0)
        }
    }

    fn leak(app: &App) -> Leak<'_> {
        Leak {
            way: Way::BoundToDevice,
            device: "eth0",
            owner: Ok(app),
            fate: Fate::LetGo,
            protocol: Protocol::Udp,
            remote: SocketAddr::from(([192, 0, 2, 1], 53)),
        }
    }

    #[test]
    fn flows_of_one_program_and_way_are_one_entry() {
        let (leaks, one, other) = (Leaks::default(), app("one"), app("other"));
        assert_eq!(leaks.note(&leak(&one)), Known::Now);
        assert_eq!(leaks.note(&leak(&one)), Known::Before);
        assert_eq!(leaks.note(&leak(&other)), Known::Now);
        let past = Leak {
            way: Way::PastTheRules,
            fate: Fate::Ended,
            ..leak(&one)
        };
        assert_eq!(leaks.note(&past), Known::Now);
        let records = leaks.records();
        let counts: Vec<_> = records.iter().map(|one| (one.flows, one.ended)).collect();
        assert_eq!(counts, [(2, 0), (1, 0), (1, 1)]);
    }

    #[test]
    fn the_table_is_bounded_and_the_one_seen_longest_ago_makes_room() {
        let leaks = Leaks::default();
        for number in 0..MOST {
            leaks.note(&leak(&app(&number.to_string())));
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
        leaks.note(&leak(&app("0")));
        leaks.note(&leak(&app("last")));
        let records = leaks.records();
        let has = |name: &str| {
            let names = records.iter().filter_map(|record| record.app.as_ref());
            names.into_iter().any(|app| app.name == name)
        };
        assert_eq!(records.len(), MOST);
        assert!(has("0") && has("last") && !has("1"));
    }

    #[test]
    fn marks_are_named_by_who_uses_them() {
        for (mark, words) in [
            (0xca6c, "mark 0xca6c (wg-quick)"),
            (0x80000, "mark 0x80000 (Tailscale)"),
            (0x1234, "mark 0x1234"),
        ] {
            assert_eq!(Way::ForeignMark(mark).to_string(), words);
        }
    }
}
