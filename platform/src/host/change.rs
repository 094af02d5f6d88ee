//! Making one change, and taking it back.

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage;
use thiserror::Error;
use tidegate_routing::plan::{Change, PROTOCOL, Route, Rule, TABLE};

use super::journal::{Journal, JournalError};
use super::links::Links;
use super::routes::{self, MissingDevice, Purpose};
use super::settings::{self, SettingError};
use super::{HostNetwork, UndoError, rules};
use crate::netlink::NetlinkError;

/// Why a change was not made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// The kernel refused it.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// It refers to an interface that is not there.
    #[error("no network interface is named {0:?}")]
    MissingDevice(String),
    /// A setting could not be read or written.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// It could not be written down, so it was not made.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl HostNetwork {
    /// Makes one change; gives what is to be taken back, nothing if it was so already.
    pub(super) fn make(
        &mut self,
        change: &Change,
        journal: &mut Journal,
    ) -> Result<Option<Change>, ChangeError> {
        let mut change = change.clone();
        if let Change::Set { path, from, to } = &mut change {
            // What is there now is what there is to put back, whatever the plan saw.
            *from = settings::read(path)?;
            if from == to {
                return Ok(None);
            }
        }
        journal.record(&change)?;
        let made = match &change {
            Change::AddRoute(route) => self.add_route(route)?,
            Change::RemoveRoute(route) => self.remove_route(route)?,
            Change::AddRule(rule) => self.add_rule(rule)?,
            Change::RemoveRule(rule) => self.remove_rule(rule)?,
            Change::Set { path, to, .. } => {
                settings::write(path, to)?;
                true
            }
        };
        Ok(made.then_some(change))
    }

    /// Takes back exactly these changes, last first.
    pub(super) fn take_back(&mut self, made: &[Change]) -> Vec<UndoError> {
        let results = made
            .iter()
            .rev()
            .map(|change| (change, self.reverse(change)));
        failures(results)
    }

    /// Puts each thing back to what it was before the first of these changes, last first. What carries our protocol number
    /// was not there before us, whoever of us removed or added it last.
    pub(super) fn restore(&mut self, changes: &[Change]) -> Vec<UndoError> {
        let results = changes.iter().rev().map(|change| {
            let result = match change {
                Change::RemoveRoute(route) if route.protocol == PROTOCOL => {
                    self.remove_route(route).map(|_| ())
                }
                Change::RemoveRule(rule) if rule.protocol == PROTOCOL => {
                    self.remove_rule(rule).map(|_| ())
                }
                Change::AddRoute(_)
                | Change::RemoveRoute(_)
                | Change::AddRule(_)
                | Change::RemoveRule(_)
                | Change::Set { .. } => self.reverse(change),
            };
            (change, result)
        });
        failures(results)
    }

    fn reverse(&mut self, change: &Change) -> Result<(), ChangeError> {
        match change {
            Change::AddRoute(route) => self.remove_route(route).map(|_| ()),
            Change::RemoveRoute(route) => self.add_route(route).map(|_| ()),
            Change::AddRule(rule) => self.remove_rule(rule).map(|_| ()),
            Change::RemoveRule(rule) => self.add_rule(rule).map(|_| ()),
            Change::Set { path, from, to } => put_back(path, from, to),
        }
    }

    fn add_rule(&mut self, rule: &Rule) -> Result<bool, ChangeError> {
        let message = RouteNetlinkMessage::NewRule(rules::to_message(rule));
        made_unless(
            self.route.change(&message, NLM_F_CREATE | NLM_F_EXCL),
            &[libc::EEXIST, libc::EAFNOSUPPORT],
        )
    }

    fn remove_rule(&mut self, rule: &Rule) -> Result<bool, ChangeError> {
        let message = RouteNetlinkMessage::DelRule(rules::to_message(rule));
        made_unless(
            self.route.change(&message, 0),
            &[libc::ENOENT, libc::EAFNOSUPPORT],
        )
    }

    fn add_route(&mut self, route: &Route) -> Result<bool, ChangeError> {
        let links = Links::read(&mut self.route)?;
        let message = routes::to_message(route, &links, Purpose::Add)
            .map_err(|MissingDevice(name)| ChangeError::MissingDevice(name))?;
        // In our own table a route takes the place of its predecessor at once; elsewhere nothing is displaced.
        let displace = if route.table == TABLE {
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

    fn remove_route(&mut self, route: &Route) -> Result<bool, ChangeError> {
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

/// Only a value of ours is put back; another one is someone else's later wish.
fn put_back(path: &str, from: &str, to: &str) -> Result<(), ChangeError> {
    match settings::read(path) {
        Ok(present) if present == to => settings::write(path, from)?,
        Err(error) if !error.is_gone() => return Err(error.into()),
        Ok(_) | Err(_) => {}
    }
    Ok(())
}

fn failures<'a>(
    results: impl Iterator<Item = (&'a Change, Result<(), ChangeError>)>,
) -> Vec<UndoError> {
    results
        .filter_map(|(change, result)| {
            let source = result.err()?;
            tracing::warn!(?change, error = %source, "could not undo");
            Some(UndoError {
                change: Box::new(change.clone()),
                source,
            })
        })
        .collect()
}
