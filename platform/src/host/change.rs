//! Making one change, and taking it back.

use thiserror::Error;
use tidegate_routing::plan::{Change, PROTOCOL};

use super::journal::{Journal, JournalError};
use super::{HostNetwork, NetworkError, UndoError};

/// Why a change was not made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// The kernel refused it.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// It refers to an interface that is not there.
    #[error("no network interface is named {0:?}")]
    MissingDevice(String),
    /// A setting could not be read or written.
    #[cfg(target_os = "linux")]
    #[error(transparent)]
    Setting(#[from] super::SettingError),
    /// It asks for what this system has no means for; no plan for it does.
    #[cfg(target_os = "macos")]
    #[error("macOS has no {0}")]
    NoSuchMeans(&'static str),
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
            *from = self.0.setting(path)?;
            if from == to {
                return Ok(None);
            }
        }
        journal.record(&change)?;
        let made = match &change {
            Change::AddRoute(route) => self.0.add_route(route)?,
            Change::RemoveRoute(route) => self.0.remove_route(route)?,
            Change::AddRule(rule) => self.0.add_rule(rule)?,
            Change::RemoveRule(rule) => self.0.remove_rule(rule)?,
            Change::Set { path, to, .. } => {
                self.0.set(path, to)?;
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
                    self.0.remove_route(route).map(|_| ())
                }
                Change::RemoveRule(rule) if rule.protocol == PROTOCOL => {
                    self.0.remove_rule(rule).map(|_| ())
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
            Change::AddRoute(route) => self.0.remove_route(route).map(|_| ()),
            Change::RemoveRoute(route) => self.0.add_route(route).map(|_| ()),
            Change::AddRule(rule) => self.0.remove_rule(rule).map(|_| ()),
            Change::RemoveRule(rule) => self.0.add_rule(rule).map(|_| ()),
            Change::Set { path, from, to } => self.0.put_back(path, from, to),
        }
    }
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
