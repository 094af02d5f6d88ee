//! A new configuration while the gateway runs: on SIGHUP, on request, and when a file changed.
//!
//! A good configuration replaces the policy in one step and has every live flow judged again. A bad one changes nothing
//! but what is said of it, in the log and by `tidegate status`. What `[capture]` says takes effect at the next start.

mod watch;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::audit::{Author, Change, Subject};
use crate::config::{Capture, Config, ConfigError, ConfigSource, Texts};
use crate::quick::file::EditError;
use crate::replace_file::replace_file;
use crate::shared::Shared;

pub use watch::{ConfigWatch, WatchError};

/// Puts the configuration that the files hold now in force.
#[derive(Debug)]
pub struct Reloader {
    source: ConfigSource,
    /// The capture that was started, which a reload does not change.
    capture: Capture,
    shared: Arc<Shared>,
    /// What the files said that are in force; absent before that was noted. Also lets one reload after the other happen.
    in_force: Mutex<Option<Texts>>,
}

/// The quick rules are as they were.
#[derive(Debug, thiserror::Error)]
pub enum QuickError {
    /// The rules came from the command line.
    #[error("this tidegate was started without a configuration file")]
    NoFiles,
    /// The text cannot be changed so.
    #[error(transparent)]
    Edit(#[from] EditError),
    /// The file cannot be read or written.
    #[error("{}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// With the change the configuration cannot be used.
    #[error("{0}")]
    Config(ConfigError),
}

impl QuickError {
    fn file(path: &Path, error: io::Error) -> Self {
        Self::File {
            path: path.to_owned(),
            error,
        }
    }
}

impl Reloader {
    /// Reloads from `source`; `capture` is what the gateway was started with.
    pub fn new(source: ConfigSource, capture: Capture, shared: Arc<Shared>) -> Arc<Self> {
        Arc::new(Self {
            source,
            capture,
            shared,
            in_force: Mutex::default(),
        })
    }

    /// Where the configuration is read from.
    pub fn source(&self) -> &ConfigSource {
        &self.source
    }

    /// Reads the configuration and puts its policy in force. Returns the policy's generation.
    ///
    /// # Errors
    /// Something is wrong with the files; the policy in force stays.
    pub fn reload(&self) -> Result<u64, ConfigError> {
        self.reload_by(Author::Gateway)
    }

    /// The same, because of somebody's change.
    ///
    /// # Errors
    /// As [`reload`](Self::reload).
    pub fn reload_by(&self, author: Author) -> Result<u64, ConfigError> {
        self.put_in_force(&mut self.turn(), author)
    }

    /// The gateway starts with these files; that is recorded as a change.
    pub fn note_start(&self, texts: Texts) {
        let after = texts.summary();
        self.shared.note_change(Change {
            author: Author::Gateway,
            subject: Subject::Policy,
            before: None,
            after: (!after.is_empty()).then_some(after),
        });
        self.note_files(texts);
    }

    /// The gateway has started with these files: what a reload changes is told by them.
    pub fn note_files(&self, texts: Texts) {
        *self.turn() = Some(texts);
    }

    /// Changes the file of quick rules and puts the outcome in force. Returns the policy's generation and what `edit` has
    /// to say.
    ///
    /// # Errors
    /// There are no files, the edit or the file system refuses, or the configuration is wrong with it: then all is as it
    /// was.
    pub fn edit_quick_rules<T>(
        &self,
        author: Author,
        edit: impl FnOnce(&str) -> Result<(String, T), EditError>,
    ) -> Result<(u64, T), QuickError> {
        let mut turn = self.turn();
        let path = self.source.quick_file().ok_or(QuickError::NoFiles)?;
        let old = match fs::read_to_string(&path) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(QuickError::file(&path, error)),
        };
        let (new, said) = edit(old.as_deref().unwrap_or_default())?;
        let written = |text: &str| {
            replace_file(&path, text.as_bytes()).map_err(|error| QuickError::file(&path, error))
        };
        written(&new)?;
        match self.put_in_force(&mut turn, author) {
            Ok(generation) => Ok((generation, said)),
            Err(wrong) => {
                match &old {
                    Some(old) => written(old)?,
                    None => {
                        fs::remove_file(&path).map_err(|error| QuickError::file(&path, error))?;
                    }
                }
                Err(QuickError::Config(wrong))
            }
        }
    }

    fn turn(&self) -> MutexGuard<'_, Option<Texts>> {
        self.in_force.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put_in_force(
        &self,
        in_force: &mut Option<Texts>,
        author: Author,
    ) -> Result<u64, ConfigError> {
        let written = self.shared.board.written();
        let config = match Config::load(&self.source) {
            Ok(config) => config,
            Err(error) => {
                tracing::error!("the configuration is not used, the old policy stays:\n{error}");
                self.shared.note_reload_failure(error.to_string());
                return Err(error);
            }
        };
        for warning in config.warnings.iter().chain(&config.failures) {
            tracing::warn!("{warning}");
        }
        if config.capture != self.capture {
            tracing::warn!("[capture] was changed: that takes effect at the next start");
        }
        let rules = config.policy.len();
        self.shared
            .library
            .refresh(config.policy.list_definitions(), &config.geo);
        let generation = self.shared.install_policy(config.policy);
        self.shared.board.settle(written);
        let before = in_force.replace(config.texts.clone()).unwrap_or_default();
        self.note_change(author, &before, &config.texts);
        tracing::info!(generation, rules, "new policy in force");
        Ok(generation)
    }

    fn note_change(&self, author: Author, old: &Texts, new: &Texts) {
        let (before, after) = (old.without(new), new.without(old));
        if before.is_some() || after.is_some() {
            self.shared.note_change(Change {
                author,
                subject: Subject::Policy,
                before,
                after,
            });
        }
    }

    /// Reads lists and databases again, and puts what is new in force.
    pub fn refresh_library(&self) {
        let _turn = self.turn();
        if self.shared.library.refresh_again() {
            let generation = self.shared.install_knowledge();
            tracing::info!(generation, "lists and databases are up to date");
        }
    }
}

#[cfg(test)]
mod tests;
