//! The host's network on Linux: netlink and `/proc/sys`, in the network namespace of the opening thread.

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::{RouteAttribute, RouteMessage, RouteProtocol};
use netlink_packet_route::rule::RuleMessage;
use tidegate_routing::plan::{
    FORWARDED_TABLE, Family, HostFacts, PROTOCOL, Route, Rule, TABLE, is_our_table,
};

#[cfg(any(fuzzing, test))]
pub(crate) mod fuzzing;
mod links;
mod listeners;
pub(super) mod owner;
mod routes;
mod rules;
mod settings;
#[cfg(test)]
mod tests;
mod uplinks;
mod whereabouts;
mod wireless;

use self::links::Links;
use self::routes::{MissingDevice, Purpose};
use super::{ChangeError, FactsError};
use crate::netlink::Connection;

pub use self::settings::SettingError;
pub use crate::netlink::NetlinkError;
pub use crate::netlink::NetlinkError as NetworkError;

/// The network of the namespace that the opening thread is in.
#[derive(Debug)]
pub(super) struct Network {
    route: Connection,
    sockets: Connection,
}

impl Network {
    pub(super) fn open() -> Result<Self, NetlinkError> {
        Ok(Self {
            route: Connection::route()?,
            sockets: Connection::sock_diag()?,
        })
    }

    pub(super) fn facts(&mut self) -> Result<HostFacts, FactsError> {
        let in_table = |what| move |source| FactsError::Table { what, source };
        let links = Links::read(&mut self.route).map_err(in_table("interfaces"))?;
        let uplink_v4 =
            uplinks::read(&mut self.route, &links, Family::V4).map_err(in_table("IPv4 uplink"))?;
        let uplink_v6 =
            uplinks::read(&mut self.route, &links, Family::V6).map_err(in_table("IPv6 uplink"))?;
        let reverse_path_filters = links
            .names()
            .chain(["all"])
            .filter_map(|name| Some((name.to_owned(), settings::reverse_path_filter(name)?)))
            .collect();
        Ok(HostFacts {
            rules: self.rules().map_err(in_table("rules"))?,
            our_routes: self.our_routes(&links).map_err(in_table("routes"))?,
            reverse_path_filters,
            ephemeral_ports: settings::ephemeral_ports()?,
            listeners: listeners::read(&mut self.sockets).map_err(in_table("listening sockets"))?,
            local_networks: uplinks::local_networks(&mut self.route, &links)
                .map_err(in_table("networks of the interfaces"))?,
            uplink_v4,
            uplink_v6,
        })
    }

    pub(super) fn datagram_ports(&mut self) -> Result<Vec<u16>, NetlinkError> {
        listeners::datagram_ports(&mut self.sockets)
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

    /// Routes of our tables, whoever made them, and routes that carry our number, wherever they are.
    fn our_routes(&mut self, links: &Links) -> Result<Vec<Route>, NetlinkError> {
        let ours = |answer: &RouteNetlinkMessage| {
            let RouteNetlinkMessage::NewRoute(message) = answer else {
                return None;
            };
            routes::from_message(message, links)
                .filter(|route| is_our_table(route.table) || route.protocol == PROTOCOL)
        };
        let mut found: Vec<Route> = Vec::new();
        for family in [Family::V4, Family::V6] {
            // The kernel filters: a host with a full table of the Internet has a million other routes.
            let mut of_family = RouteMessage::default();
            of_family.header.address_family = rules::address_family(family);
            let in_table = |table| {
                let mut request = of_family.clone();
                request.attributes.push(RouteAttribute::Table(table));
                request
            };
            let mut with_our_number = of_family.clone();
            with_our_number.header.protocol = RouteProtocol::from(PROTOCOL);
            for request in [in_table(TABLE), in_table(FORWARDED_TABLE), with_our_number] {
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

    pub(super) fn add_rule(&mut self, rule: &Rule) -> Result<bool, ChangeError> {
        let message = RouteNetlinkMessage::NewRule(rules::to_message(rule));
        made_unless(
            self.route.change(&message, NLM_F_CREATE | NLM_F_EXCL),
            &[libc::EEXIST, libc::EAFNOSUPPORT],
        )
    }

    pub(super) fn remove_rule(&mut self, rule: &Rule) -> Result<bool, ChangeError> {
        let message = RouteNetlinkMessage::DelRule(rules::to_message(rule));
        made_unless(
            self.route.change(&message, 0),
            &[libc::ENOENT, libc::EAFNOSUPPORT],
        )
    }

    pub(super) fn add_route(&mut self, route: &Route) -> Result<bool, ChangeError> {
        let links = Links::read(&mut self.route)?;
        let message = routes::to_message(route, &links, Purpose::Add)
            .map_err(|MissingDevice(name)| ChangeError::MissingDevice(name))?;
        // In our own tables a route takes the place of its predecessor at once; elsewhere nothing is displaced.
        let displace = if is_our_table(route.table) {
            NLM_F_REPLACE
        } else {
            NLM_F_EXCL
        };
        made_unless(
            self.route.change(
                &RouteNetlinkMessage::NewRoute(message),
                NLM_F_CREATE | displace,
            ),
            NO_SUCH_FAMILY,
        )
    }

    pub(super) fn remove_route(&mut self, route: &Route) -> Result<bool, ChangeError> {
        let links = Links::read(&mut self.route)?;
        // A route goes with its device.
        let Ok(message) = routes::to_message(route, &links, Purpose::Remove) else {
            return Ok(false);
        };
        let gone = &[libc::ESRCH, libc::ENOENT, libc::ENODEV, libc::EAFNOSUPPORT];
        made_unless(
            self.route
                .change(&RouteNetlinkMessage::DelRoute(message), 0),
            gone,
        )
    }

    pub(super) fn setting(&self, path: &str) -> Result<String, ChangeError> {
        Ok(settings::read(path)?)
    }

    /// Whether there is no such setting now: its interface is gone.
    pub(super) fn lacks(&self, path: &str) -> bool {
        settings::read(path).is_err_and(|error| error.is_gone())
    }

    pub(super) fn set(&self, path: &str, value: &str) -> Result<(), ChangeError> {
        Ok(settings::write(path, value)?)
    }

    /// Only a value of ours is put back; another one is someone else's later wish.
    pub(super) fn put_back(&self, path: &str, from: &str, to: &str) -> Result<(), ChangeError> {
        match settings::read(path) {
            Ok(present) if present == to => settings::write(path, from)?,
            Err(error) if !error.is_gone() => return Err(error.into()),
            Ok(_) | Err(_) => {}
        }
        Ok(())
    }
}

/// A kernel without IPv6 has nothing of it to lead elsewhere.
const NO_SUCH_FAMILY: &[i32] = &[libc::EAFNOSUPPORT, libc::EOPNOTSUPP];

/// False if one of these refusals says that it was so already.
fn made_unless(result: Result<(), NetlinkError>, already: &[i32]) -> Result<bool, ChangeError> {
    match result {
        Ok(()) => Ok(true),
        Err(error) if error.refusal().is_some_and(|code| already.contains(&code)) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
