//! A new configuration while the gateway runs: on SIGHUP, on request, and when a file changed.
//!
//! A good configuration replaces the policy in one step and has every live flow judged again. A bad one changes nothing
//! but what is said of it, in the log and by `tidegate status`. What `[capture]` says takes effect at the next start.

mod watch;

use std::sync::{Arc, Mutex, PoisonError};

use crate::config::{Capture, Config, ConfigError, ConfigSource};
use crate::shared::Shared;

pub use watch::{ConfigWatch, WatchError};

/// Puts the configuration that the files hold now in force.
#[derive(Debug)]
pub struct Reloader {
    source: ConfigSource,
    /// The capture that was started, which a reload does not change.
    capture: Capture,
    shared: Arc<Shared>,
    one_at_a_time: Mutex<()>,
}

impl Reloader {
    /// Reloads from `source`; `capture` is what the gateway was started with.
    pub fn new(source: ConfigSource, capture: Capture, shared: Arc<Shared>) -> Arc<Self> {
        Arc::new(Self {
            source,
            capture,
            shared,
            one_at_a_time: Mutex::default(),
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
        let _turn = self
            .one_at_a_time
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
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
        let generation = self.shared.install_policy(config.policy);
        tracing::info!(generation, rules, "new policy in force");
        Ok(generation)
    }
}

#[cfg(test)]
mod tests;
