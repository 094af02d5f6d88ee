//! What identifies the programs of records, for whoever wants to see it and has no rule that asks.

use std::path::PathBuf;

use rustc_hash::FxHashMap;
use tidegate_platform::apps::Identities;
use tidegate_policy::{App, Identity, Level, Levels};

use super::FlowRecord;

/// Completes records that are shown together: each program is looked at once.
#[derive(Debug, Default)]
pub(crate) struct Shown {
    known: FxHashMap<(u32, PathBuf, Vec<String>, Levels), Identity>,
}

impl Shown {
    /// Adds what can be found now. The digest of an executable takes long, and is there only where a rule asked for it; of
    /// flows that have ended, whose processes' ids may be others' by now, only what the path says.
    pub(crate) fn complete(&mut self, record: &mut FlowRecord, identities: &Identities) {
        let levels = match record.ended {
            None => Level::ALL
                .into_iter()
                .filter(|level| *level != Level::Sha256)
                .collect(),
            Some(_) => Levels::NONE.with(Level::Package).with(Level::Snap),
        };
        let apps = record.app.iter_mut().chain(&mut record.other_owners);
        for app in apps {
            let missing = levels.without(app.identity.looked_at());
            let key = (app.pid, app.path.clone(), app.command_line.clone(), missing);
            let found = self
                .known
                .entry(key)
                .or_insert_with(|| identities.complete(&App::from(&*app), missing).identity);
            for level in missing.iter() {
                app.identity.note(level, found.at(level).to_owned());
            }
        }
    }
}
