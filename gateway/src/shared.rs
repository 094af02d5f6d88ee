//! What workers, the control socket and the main thread have in common.
//!
//! Workers read the policy through an atomic pointer and count with relaxed atomics; nothing here is locked per packet.
//! The control side swaps the policy, asks for the end, and reads everything for `tidegate status`.

mod capture;
mod counters;
mod lifecycle;
mod profile;

use std::fmt;
use std::io;
use std::mem;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use arc_swap::ArcSwap;
use tidegate_platform::apps::Identities;
use tidegate_policy::{Context, Policy, ProfileChoice};

use crate::ask::Board;
use crate::audit::{Audit, Author, Change, Subject};
use crate::context;
use crate::knowledge::Knowledge;
use crate::leaks::Leaks;
use crate::library::Library;
use crate::record::{FlowLog, FlowLogLimits, Timestamp};

pub use capture::{
    CaptureKind, CaptureStatus, EbpfStatus, ForwardedStatus, MissingPart, UplinkStatus,
};
pub use counters::{Counters, CountersSnapshot, Reasons, WorkerGauges, WorkerSnapshot};
pub use lifecycle::{ConfirmError, Ending, Lifecycle};
use profile::ChosenProfile;

/// The state that the threads of a running gateway share.
pub struct Shared {
    /// What decides about flows now.
    pub policy: ArcSwap<ActivePolicy>,
    /// Lists and databases.
    pub library: Library,
    /// Live and recent flows.
    pub flows: FlowLog,
    /// Figures.
    pub counters: Counters,
    /// What identifies programs beyond their paths.
    pub identities: Arc<Identities>,
    /// What goes past the capture.
    pub leaks: Leaks,
    /// How packets reach us, and whether that is well.
    pub capture: ArcSwap<CaptureStatus>,
    /// When and why the gateway ends.
    pub lifecycle: Lifecycle,
    /// Flows about which the user is asked, and the answers.
    pub board: Board,
    /// When the gateway started.
    pub started: Timestamp,
    last_reload: Mutex<Option<ReloadFailure>>,
    /// Held while policy or context are replaced, so that each is by what the other is.
    profile: Mutex<ChosenProfile>,
    wakers: Mutex<Vec<Waker>>,
    audit: OnceLock<Audit>,
}

/// Makes one worker look at [`Shared`] again; called from other threads.
type Waker = Box<dyn Fn() + Send + Sync>;

/// The compiled rules, when and where they are asked, and which of this run they are.
#[derive(Debug)]
pub struct ActivePolicy {
    /// The compiled rules.
    pub policy: Arc<Policy>,
    /// What is known of other ends, in the terms of these rules.
    pub knowledge: Knowledge,
    /// When and where flows are judged: no later moment, until the next, is judged in another way.
    pub context: Context,
    /// 1 for the policy at the start, one more with every reload, and with every change of the context that some rule asks
    /// for. A flow judged under an older one is judged again.
    pub generation: u64,
    /// When it came into force.
    pub since: Timestamp,
}

/// Why the newest configuration is not in force.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ReloadFailure {
    /// When it was tried.
    pub at: Timestamp,
    /// Every problem, one a line.
    pub message: String,
}

impl Shared {
    /// The state of a gateway that starts now under `policy`.
    pub fn new(policy: Policy, capture: CaptureStatus, limits: FlowLogLimits) -> Arc<Self> {
        Self::knowing(Library::default(), policy, capture, limits)
    }

    /// The same, with what `library` knows already.
    pub fn knowing(
        library: Library,
        policy: Policy,
        capture: CaptureStatus,
        limits: FlowLogLimits,
    ) -> Arc<Self> {
        let started = Timestamp::now();
        let active = ActivePolicy {
            context: context::look(&policy, ProfileChoice::default()),
            knowledge: Knowledge::new(&policy, &library),
            policy: Arc::new(policy),
            generation: 1,
            since: started,
        };
        Arc::new(Self {
            policy: ArcSwap::from_pointee(active),
            library,
            flows: FlowLog::new(limits),
            counters: Counters::default(),
            identities: Arc::default(),
            leaks: Leaks::default(),
            capture: ArcSwap::from_pointee(capture),
            lifecycle: Lifecycle::default(),
            started,
            last_reload: Mutex::default(),
            profile: Mutex::default(),
            wakers: Mutex::default(),
            board: Board::default(),
            audit: OnceLock::new(),
        })
    }

    /// Has `waker` called, on another thread, whenever the policy was replaced or the end was asked for. It must not
    /// block.
    pub fn on_change(&self, waker: impl Fn() + Send + Sync + 'static) {
        lock(&self.wakers).push(Box::new(waker));
    }

    /// Puts a policy in force and has the workers judge their flows again. Returns its generation.
    pub fn install_policy(&self, policy: Policy) -> u64 {
        let profile = lock(&self.profile);
        let mut last_reload = lock(&self.last_reload);
        let generation = self.put_in_force(Arc::new(policy), &profile);
        *last_reload = None;
        drop(last_reload);
        drop(profile);
        self.wake_workers();
        generation
    }

    /// Has the workers judge their flows again by what the library knows now. Returns the generation.
    pub fn install_knowledge(&self) -> u64 {
        let profile = lock(&self.profile);
        let policy = Arc::clone(&self.policy.load().policy);
        let generation = self.put_in_force(policy, &profile);
        drop(profile);
        self.wake_workers();
        generation
    }

    /// The caller holds the lock of the profile.
    fn put_in_force(&self, policy: Arc<Policy>, profile: &ChosenProfile) -> u64 {
        let generation = self.policy.load().generation + 1;
        self.policy.store(Arc::new(ActivePolicy {
            knowledge: Knowledge::new(&policy, &self.library),
            context: context::look(&policy, profile.choice.clone()),
            policy,
            generation,
            since: Timestamp::now(),
        }));
        generation
    }

    /// Has the workers judge their flows again by the policy in force, as an answer has changed.
    pub fn judge_again(&self) {
        self.wake_workers();
    }

    /// From now on changes are recorded there.
    pub fn record_changes_in(&self, audit: Audit) {
        // Only the first one counts: there is one state folder.
        drop(self.audit.set(audit));
    }

    /// Records a change, where changes are recorded.
    pub fn note_change(&self, change: Change) {
        if let Some(audit) = self.audit.get() {
            audit.note(change);
        }
    }

    /// Looks at the clock and the network again, and has the workers judge their flows again if some rule asks for what has
    /// changed.
    pub fn look_around(&self) {
        let profile = lock(&self.profile);
        self.move_to(profile.choice.clone());
    }

    /// Begins with the choice that this file keeps, and keeps later ones there.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub fn keep_profile_in(&self, file: PathBuf) -> io::Result<()> {
        let mut profile = lock(&self.profile);
        *profile = ChosenProfile::load(file)?;
        self.move_to(profile.choice.clone());
        Ok(())
    }

    /// Makes one profile active, or leaves it to each profile's own conditions.
    ///
    /// # Errors
    /// The choice cannot be kept; it has no effect then.
    pub fn choose_profile(&self, choice: ProfileChoice, author: Author) -> io::Result<()> {
        let mut profile = lock(&self.profile);
        profile.keep(&choice)?;
        tracing::info!(profile = profile::name_of(&choice), "profile chosen");
        let before = mem::replace(&mut profile.choice, choice.clone());
        self.move_to(choice.clone());
        // Still under the lock: choices are recorded in their order.
        if before != choice {
            let name = |choice| Some(profile::name_of(choice).to_owned());
            self.note_change(Change {
                author,
                subject: Subject::Setting("profile".to_owned()),
                before: name(&before),
                after: name(&choice),
            });
        }
        Ok(())
    }

    /// The caller holds the lock of the profile.
    fn move_to(&self, profile: ProfileChoice) {
        let active = self.policy.load_full();
        let context = context::look(&active.policy, profile);
        let is_new = active.policy.tells_apart(&active.context, &context);
        self.policy.store(Arc::new(ActivePolicy {
            policy: Arc::clone(&active.policy),
            knowledge: Knowledge::new(&active.policy, &self.library),
            context,
            generation: active.generation + u64::from(is_new),
            since: active.since,
        }));
        if is_new {
            tracing::debug!("other rules count now");
            self.wake_workers();
        }
    }

    /// Notes that a new configuration could not be put in force.
    pub fn note_reload_failure(&self, message: String) {
        *lock(&self.last_reload) = Some(ReloadFailure {
            at: Timestamp::now(),
            message,
        });
    }

    /// Why the newest configuration is not in force; none if it is.
    pub fn reload_failure(&self) -> Option<ReloadFailure> {
        lock(&self.last_reload).clone()
    }

    /// Asks everything to end; the first reason is kept.
    pub fn request_shutdown(&self, reason: impl Into<String>) {
        self.lifecycle.request_shutdown(reason.into());
        self.wake_workers();
    }

    /// Asks everything to end when the guard is dropped: for a thread without which the gateway is of no use, so that its
    /// panic too ends the program in good order.
    pub fn end_with(self: &Arc<Self>, thread: &'static str) -> EndGuard {
        EndGuard {
            shared: Arc::clone(self),
            thread,
        }
    }

    /// Changes what is said of the capture.
    pub fn update_capture(&self, change: impl Fn(&mut CaptureStatus)) {
        self.capture.rcu(|capture| {
            let mut capture = CaptureStatus::clone(capture);
            change(&mut capture);
            capture
        });
    }

    fn wake_workers(&self) {
        for waker in lock(&self.wakers).iter() {
            waker();
        }
    }
}

/// The end of its thread is the end of the gateway: [`Shared::end_with`].
#[derive(Debug)]
pub struct EndGuard {
    shared: Arc<Shared>,
    thread: &'static str,
}

impl Drop for EndGuard {
    fn drop(&mut self) {
        self.shared
            .request_shutdown(format!("{} has ended", self.thread));
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("generation", &self.policy.load().generation)
            .field("flows", &self.flows.live_count())
            .field("capture", &self.capture.load())
            .finish_non_exhaustive()
    }
}

/// Every holder leaves what it locked whole, so the lock of a thread that panicked is as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
impl Shared {
    /// The state of a gateway under these rules, which must be without a fault.
    pub(crate) fn under(rules: &str) -> Arc<Self> {
        let document = tidegate_policy::Document::parse("t.toml", rules).unwrap();
        let mut source = tidegate_policy::PolicySource::default();
        source.read_main(&document);
        assert_eq!(document.finish(), []);
        let capture = CaptureStatus::new(CaptureKind::Host, "tide0");
        Self::new(Policy::compile(source), capture, FlowLogLimits::default())
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use tidegate_policy::Policy;

    use super::*;

    #[test]
    fn a_thread_that_panics_ends_the_gateway() {
        let shared = Shared::new(
            Policy::allow_all(),
            CaptureStatus::new(CaptureKind::Host, "tide0"),
            FlowLogLimits::default(),
        );
        let end = shared.end_with("the worker");
        let thread = thread::spawn(move || {
            let _end = end;
            panic!("this panic belongs to the test");
        });
        assert!(thread.join().is_err());
        let Ending::Requested(reason) = shared.lifecycle.wait() else {
            panic!("there is no trial")
        };
        assert_eq!(reason, "the worker has ended");
    }
}
