//! The host's own network, as the plan sees it: what is there, and the steps that change it.
//!
//! [`HostNetwork::facts`] reads what `routing::plan` decides upon; [`HostNetwork::apply`] makes its changes one by one, each
//! written into the [`Journal`] before it is made; [`HostNetwork::undo`] takes back whatever a journal holds, ours or that
//! of an instance that died.
//!
//! On Linux all of it is netlink and `/proc/sys`, in the network namespace of the thread that opened it. macOS has one
//! routing table, no rules and none of those settings: there a plan consists of routes (`plan::split`), told by a flag.

use thiserror::Error;
use tidegate_policy::{Network, NetworkNeeds};
use tidegate_routing::plan::{Change, Family, HostFacts};

mod change;
#[cfg(any(target_os = "macos", fuzzing, test))]
pub(crate) mod darwin_routes;
mod journal;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "macos")]
mod macos;

#[cfg(target_os = "linux")]
use linux as imp;
#[cfg(target_os = "macos")]
use macos as imp;

pub use self::change::ChangeError;
pub use self::imp::NetworkError;
pub use self::journal::{Journal, JournalError, Owner};
#[cfg(all(target_os = "linux", any(fuzzing, test)))]
pub(crate) use self::linux::fuzzing;
#[cfg(target_os = "linux")]
pub use self::linux::{NetlinkError, SettingError};

/// The host's rules, routes and settings could not be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FactsError {
    /// A table could not be read.
    #[error("cannot read the host's {what}: {source}")]
    Table {
        /// Which table.
        what: &'static str,
        /// Why.
        #[source]
        source: NetworkError,
    },
    /// A setting could not be read.
    #[cfg(target_os = "linux")]
    #[error(transparent)]
    Setting(#[from] SettingError),
}

/// A change was not made, and those before it are taken back.
#[derive(Debug, Error)]
#[error("cannot {}: {source}{}", describe(change), after(undone))]
pub struct ApplyError {
    /// The change that failed.
    pub change: Box<Change>,
    /// Why.
    #[source]
    pub source: ChangeError,
    /// What could not be taken back.
    pub undone: Vec<UndoError>,
}

/// A change that could not be taken back.
#[derive(Debug, Error)]
#[error("cannot undo ({}): {source}", describe(change))]
pub struct UndoError {
    /// The change, as it was made.
    pub change: Box<Change>,
    /// Why.
    #[source]
    pub source: ChangeError,
}

/// The network of this host; on Linux that of the namespace that the opening thread is in.
#[derive(Debug)]
pub struct HostNetwork(imp::Network);

impl HostNetwork {
    /// Opens the sockets to read and change with. Reading needs no privilege, changing `CAP_NET_ADMIN`, on macOS root.
    ///
    /// # Errors
    /// [`NetworkError::Socket`].
    pub fn open() -> Result<Self, NetworkError> {
        imp::Network::open().map(Self)
    }

    /// Reads what the plan depends on. What a system does not have is absent: rules and reverse path filters on macOS.
    ///
    /// # Errors
    /// See [`FactsError`]; the facts are read whole or not at all.
    pub fn facts(&mut self) -> Result<HostFacts, FactsError> {
        self.0.facts()
    }

    /// The network that this host is in, as far as it is asked for and the system tells: macOS names the uplinks' interfaces
    /// only.
    ///
    /// # Errors
    /// See [`FactsError`].
    pub fn whereabouts(&mut self, needs: NetworkNeeds) -> Result<Network, FactsError> {
        self.0.whereabouts(needs)
    }

    /// The ports of UDP sockets that wait for datagrams of anybody now, each once, ascending: services, and programs that
    /// talk to many peers.
    ///
    /// # Errors
    /// See [`FactsError`].
    pub fn datagram_ports(&mut self) -> Result<Vec<u16>, FactsError> {
        let failed = |source| FactsError::Table {
            what: "datagram sockets",
            source,
        };
        self.0.datagram_ports().map_err(failed)
    }

    /// Makes the changes in their order, each written into the journal before. If one fails, those that this call made
    /// are taken back in reverse order; the journal keeps them, which does no harm.
    ///
    /// # Errors
    /// See [`ApplyError`].
    pub fn apply(&mut self, changes: &[Change], journal: &mut Journal) -> Result<(), ApplyError> {
        let is_gone =
            |change: &Change| matches!(change, Change::Set { path, .. } if self.0.lacks(path));
        if let Err(error) = journal.forget(is_gone) {
            tracing::warn!(%error, "the journal keeps what it could forget");
        }
        let mut made = Vec::with_capacity(changes.len());
        for change in changes {
            match self.make(change, journal) {
                Ok(Some(change)) => made.push(change),
                Ok(None) => {}
                Err(source) => {
                    let undone = self.take_back(&made);
                    return Err(ApplyError {
                        change: Box::new(change.clone()),
                        source,
                        undone,
                    });
                }
            }
        }
        Ok(())
    }

    /// Undoes what the journal holds, in reverse order, and goes on after a failure. What is gone already is no failure,
    /// and a setting that no longer has our value is left alone. Returns what failed; the journal can be cleared if that
    /// is nothing.
    pub fn undo(&mut self, journal: &Journal) -> Vec<UndoError> {
        self.restore(journal.changes())
    }
}

/// A change in words.
fn describe(change: &Change) -> String {
    match change {
        Change::AddRoute(route) => format!(
            "add the route {} to table {}",
            route.destination, route.table
        ),
        Change::RemoveRoute(route) => format!(
            "remove the route {} from table {}",
            route.destination, route.table
        ),
        Change::AddRule(rule) => format!(
            "add the {} rule {}",
            family_name(rule.family),
            rule.preference
        ),
        Change::RemoveRule(rule) => format!(
            "remove the {} rule {}",
            family_name(rule.family),
            rule.preference
        ),
        Change::Set { path, to, .. } => format!("set {path} to {to}"),
    }
}

fn family_name(family: Family) -> &'static str {
    match family {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    }
}

fn after(undone: &[UndoError]) -> String {
    let failures: Vec<String> = undone.iter().map(ToString::to_string).collect();
    if failures.is_empty() {
        "; nothing is changed".to_owned()
    } else {
        format!("; also {}", failures.join(", "))
    }
}
