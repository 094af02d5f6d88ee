//! How the gateway is, as `tidegate status` shows it.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidegate_policy::{ProfileChoice, Verdict};

use crate::leaks::LeakRecord;
use crate::library::LibraryState;
use crate::record::{AtTheEnd, Timestamp};
use crate::shared::{CaptureStatus, CountersSnapshot, ReloadFailure, Shared};

/// The gateway at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Version of the program.
    pub version: String,
    /// Process id of the daemon.
    pub pid: u32,
    /// When it started.
    pub started: Timestamp,
    /// Whether all is well.
    pub health: Health,
    /// How packets reach us.
    pub capture: CaptureStatus,
    /// What this capture does not see.
    pub not_seen: Vec<String>,
    /// Who goes past it.
    #[serde(default)]
    pub leaks: Vec<LeakRecord>,
    /// Where that is not measured, and why.
    #[serde(default)]
    pub unmeasured: Vec<String>,
    /// The policy in force.
    pub policy: PolicyStatus,
    /// Lists and databases.
    #[serde(default)]
    pub library: LibraryState,
    /// Seconds until a trial undoes everything, unless it is confirmed.
    pub trial_seconds_left: Option<u64>,
    /// Flows that have not ended.
    pub flows_live: usize,
    /// What becomes of them when the gateway ends, at a restart too.
    #[serde(default)]
    pub at_the_end: AtTheEnd,
    /// Figures since the start.
    pub counters: CountersSnapshot,
}

/// Whether all is well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// It is.
    Good,
    /// The gateway runs, but not all is as wanted: see the capture's problems, the policy's failed reload, and what is wrong with lists.
    Degraded,
}

/// The policy in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyStatus {
    /// 1 at the start, one more with every reload.
    pub generation: u64,
    /// When it came into force.
    pub since: Timestamp,
    /// How many rules it has.
    pub rules: usize,
    /// What happens to a flow that no rule matches.
    pub default: Verdict,
    /// The main configuration file.
    pub file: PathBuf,
    /// Why a newer configuration is not in force.
    pub reload_failure: Option<ReloadFailure>,
    /// The named groups of rules.
    #[serde(default)]
    pub profiles: Profiles,
}

/// Named groups of rules, and which of them count.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profiles {
    /// The one that the user chose; none: each is active by its own conditions.
    pub chosen: Option<String>,
    /// In the order written.
    pub all: Vec<ProfileStatus>,
}

/// A named group of rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProfileStatus {
    /// Its name.
    pub name: String,
    /// Whether its rules count now.
    pub active: bool,
}

impl Profiles {
    /// As they are now.
    pub fn of(shared: &Shared) -> Self {
        let active = shared.policy.load();
        let (policy, context) = (&active.policy, &active.context);
        let count: Vec<_> = policy.active_profiles(context).collect();
        let all = policy.profiles().iter().map(|profile| ProfileStatus {
            name: profile.name.to_string(),
            active: count.contains(&profile),
        });
        Self {
            chosen: match &context.profile {
                ProfileChoice::ByContext => None,
                ProfileChoice::Named(name) => Some(name.to_string()),
            },
            all: all.collect(),
        }
    }
}

impl Status {
    /// The gateway as it is now; `file` is its main configuration file.
    pub fn of(shared: &Shared, file: PathBuf) -> Self {
        let capture = CaptureStatus::clone(&shared.capture.load());
        let active = shared.policy.load();
        let reload_failure = shared.reload_failure();
        let library = shared.library.state();
        let good = capture.problems.is_empty()
            && reload_failure.is_none()
            && library.problems().next().is_none();
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            started: shared.started,
            health: if good { Health::Good } else { Health::Degraded },
            not_seen: capture.blind_spots(),
            capture,
            leaks: shared.leaks.records(),
            unmeasured: shared.leaks.unmeasured(),
            policy: PolicyStatus {
                generation: active.generation,
                since: active.since,
                rules: active.policy.len(),
                default: active.policy.default_verdict(),
                file,
                reload_failure,
                profiles: Profiles::of(shared),
            },
            library,
            trial_seconds_left: shared
                .lifecycle
                .trial_left()
                .as_ref()
                .map(Duration::as_secs),
            flows_live: shared.flows.live_count(),
            at_the_end: shared.flows.at_the_end(),
            counters: shared.counters.snapshot(),
        }
    }
}
