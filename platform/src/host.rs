//! The host's own network, as the plan sees it: what is there, and the steps that change it.
//!
//! [`HostNetwork::facts`] reads what `routing::plan` decides upon; [`HostNetwork::apply`] makes its changes one by one, each
//! written into the [`Journal`] before it is made; [`HostNetwork::undo`] takes back whatever a journal holds, ours or that
//! of an instance that died. All of it is netlink and `/proc/sys`, in the network namespace of the thread that opened it.

use thiserror::Error;
use tidegate_routing::plan::{Change, Family, HostFacts, PROTOCOL, Route, Rule, TABLE};

mod change;
#[cfg(any(fuzzing, test))]
pub(crate) mod fuzzing;
mod journal;
mod links;
mod listeners;
mod routes;
mod rules;
mod settings;
#[cfg(test)]
mod tests;
mod uplinks;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::{RouteAttribute, RouteMessage, RouteProtocol};
use netlink_packet_route::rule::RuleMessage;

use self::links::Links;
use crate::netlink::Connection;

pub use self::change::ChangeError;
pub use self::journal::{Journal, JournalError, Owner};
pub use self::settings::SettingError;
pub use crate::netlink::NetlinkError;

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
        source: NetlinkError,
    },
    /// A setting could not be read.
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

/// The network of the namespace that the opening thread is in.
#[derive(Debug)]
pub struct HostNetwork {
    route: Connection,
    sockets: Connection,
}

impl HostNetwork {
    /// Opens the sockets to read and change with. Reading needs no privilege, changing `CAP_NET_ADMIN`.
    ///
    /// # Errors
    /// [`NetlinkError::Socket`].
    pub fn open() -> Result<Self, NetlinkError> {
        Ok(Self {
            route: Connection::route()?,
            sockets: Connection::sock_diag()?,
        })
    }

    /// Reads what the plan depends on.
    ///
    /// # Errors
    /// See [`FactsError`]; the facts are read whole or not at all.
    pub fn facts(&mut self) -> Result<HostFacts, FactsError> {
        let in_table = |what| move |source| FactsError::Table { what, source };
        let links = Links::read(&mut self.route).map_err(in_table("interfaces"))?;
        let uplink_v4 =
            uplinks::read(&mut self.route, &links, Family::V4).map_err(in_table("IPv4 uplink"))?;
        let uplink_v6 =
            uplinks::read(&mut self.route, &links, Family::V6).map_err(in_table("IPv6 uplink"))?;
        let mut reverse_path_filters: Vec<(String, u8)> = Vec::new();
        let uplinks = [&uplink_v4, &uplink_v6]
            .into_iter()
            .flatten()
            .map(|uplink| uplink.device.as_str());
        for interface in uplinks.chain(["all"]) {
            let known = reverse_path_filters
                .iter()
                .any(|(name, _)| name == interface);
            if let Some(filter) = settings::reverse_path_filter(interface).filter(|_| !known) {
                reverse_path_filters.push((interface.to_owned(), filter));
            }
        }
        Ok(HostFacts {
            rules: self.rules().map_err(in_table("rules"))?,
            our_routes: self.our_routes(&links).map_err(in_table("routes"))?,
            reverse_path_filters,
            ephemeral_ports: settings::ephemeral_ports()?,
            listeners: listeners::read(&mut self.sockets).map_err(in_table("listening sockets"))?,
            uplink_v4,
            uplink_v6,
        })
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
        listeners::datagram_ports(&mut self.sockets).map_err(failed)
    }

    fn rules(&mut self) -> Result<Vec<Rule>, NetlinkError> {
        let mut found = Vec::new();
        for family in [Family::V4, Family::V6] {
            let mut request = RuleMessage::default();
            request.header.family = rules::address_family(family);
            let answers = self
                .route
                .dump(&RouteNetlinkMessage::GetRule(request), &|_| true)?;
            found.extend(answers.iter().filter_map(|answer| {
                let RouteNetlinkMessage::NewRule(message) = answer else {
                    return None;
                };
                rules::from_message(message)
            }));
        }
        // Stable: rules of one preference stay in the order in which the kernel tries them.
        found.sort_by_key(|rule| rule.preference);
        Ok(found)
    }

    /// Routes of our table, whoever made them, and routes that carry our number, wherever they are.
    fn our_routes(&mut self, links: &Links) -> Result<Vec<Route>, NetlinkError> {
        let ours = |answer: &RouteNetlinkMessage| {
            let RouteNetlinkMessage::NewRoute(message) = answer else {
                return None;
            };
            routes::from_message(message, links)
                .filter(|route| route.table == TABLE || route.protocol == PROTOCOL)
        };
        let mut found: Vec<Route> = Vec::new();
        for family in [Family::V4, Family::V6] {
            // The kernel filters: a host with a full table of the Internet has a million other routes.
            let mut in_our_table = RouteMessage::default();
            in_our_table.header.address_family = rules::address_family(family);
            let mut with_our_number = in_our_table.clone();
            in_our_table.attributes.push(RouteAttribute::Table(TABLE));
            with_our_number.header.protocol = RouteProtocol::from(PROTOCOL);
            for request in [in_our_table, with_our_number] {
                let request = RouteNetlinkMessage::GetRoute(request);
                let answers = self
                    .route
                    .dump(&request, &|answer| ours(answer).is_some())?;
                for route in answers.iter().filter_map(ours) {
                    if !found.contains(&route) {
                        found.push(route);
                    }
                }
            }
        }
        Ok(found)
    }

    /// Makes the changes in their order, each written into the journal before. If one fails, those that this call made
    /// are taken back in reverse order; the journal keeps them, which does no harm.
    ///
    /// # Errors
    /// See [`ApplyError`].
    pub fn apply(&mut self, changes: &[Change], journal: &mut Journal) -> Result<(), ApplyError> {
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
