//! Keeps the host plan in place: installs it, watches and restores it, removes it.

use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use anyhow::Context;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use serde_json::json;
use tidegate_platform::host::{HostNetwork, Journal, UndoError};
use tidegate_platform::link::{self, LinkSettings};
use tidegate_platform::monitor::NetworkMonitor;
use tidegate_policy::Policy;
use tidegate_routing::plan::{
    CaptureOptions, Change, Checked, Guard, GuardAction, GuardLimits, HostFacts, HostPlan,
    PortRange, Uplink, diff, overtaken, present, tun_mtu, uplink_mtu, wanted,
};

use super::leak_meter::{LeakMeter, Targets};
use super::packet_size;
use crate::shared::Shared;
use crate::worker::{Handle, Message};

/// Where the changes to the host are written down.
pub const JOURNAL: &str = "/run/tidegate/journal";

/// Other programs' rules that `status` names.
const OVERTAKEN: usize = 16;
const NEWS: Token = Token(0);
const CHANGED: Token = Token(1);

/// The plan of this host, and who may change it. Dropping it takes everything back, however the program ends.
pub(super) struct PlanKeeper {
    network: HostNetwork,
    /// None once everything was taken back.
    journal: Option<Journal>,
    options: CaptureOptions,
    /// Rules of other programs that stood ahead of ours.
    overtaken: Vec<String>,
    /// The ways out that the plan was last made for.
    uplinks: [Option<Uplink>; 2],
    /// The uplink's MTU that device and workers were last told.
    mtu: Option<u32>,
    /// Looks for what leaves past the plan.
    meter: Option<LeakMeter>,
}

/// The TCP ports of services whose clients the policy judges.
pub(super) fn judged_services(policy: &Policy) -> Vec<PortRange> {
    policy
        .judged_services()
        .into_iter()
        .map(|(first, last)| PortRange { first, last })
        .collect()
}

impl PlanKeeper {
    /// Takes the journal over, and undoes what a dead instance left in it.
    pub(super) fn open(options: CaptureOptions, journal: impl AsRef<Path>) -> anyhow::Result<Self> {
        let mut network = HostNetwork::open()?;
        if let Some(left) = Journal::load(journal.as_ref())? {
            recover(&mut network, left)?;
        }
        let journal = Journal::open(journal.as_ref(), json!({ "tun": options.tun }))?;
        Ok(Self {
            network,
            journal: Some(journal),
            options,
            overtaken: Vec::new(),
            uplinks: [None, None],
            mtu: None,
            meter: None,
        })
    }

    /// Tells this meter where to look from now on: at the uplinks, once the plan stands.
    pub(super) fn measure_with(&mut self, meter: LeakMeter) {
        self.meter = Some(meter);
    }

    pub(super) fn options(&self) -> &CaptureOptions {
        &self.options
    }

    pub(super) fn facts(&mut self) -> anyhow::Result<HostFacts> {
        Ok(self.network.facts()?)
    }

    /// UDP ports that services had before us.
    pub(super) fn datagram_ports(&mut self) -> anyhow::Result<Vec<u16>> {
        Ok(self.network.datagram_ports()?)
    }

    /// Makes the host as the plan wants it.
    pub(super) fn install(&mut self) -> anyhow::Result<()> {
        let facts = self.facts()?;
        self.bring_about(&facts).map(|_| ())
    }

    fn bring_about(&mut self, facts: &HostFacts) -> anyhow::Result<Checked> {
        for rule in overtaken(facts, &self.options) {
            let rule = rule.to_string();
            if !self.overtaken.contains(&rule) && self.overtaken.len() < OVERTAKEN {
                tracing::info!(rule, "another program's rule stands ahead of ours");
                self.overtaken.push(rule);
            }
        }
        let uplinks = [facts.uplink_v4.clone(), facts.uplink_v6.clone()];
        let known = std::mem::replace(&mut self.uplinks, uplinks);
        let wanted = wanted(facts, &self.options)?;
        let present = present(facts);
        let changes = diff(&present, &wanted);
        if changes.is_empty() {
            self.measure(facts, &[&wanted]);
            return Ok(Checked::Whole);
        }
        if !present.rules.is_empty() {
            // Meanwhile some packets leave by the old rules, and some by the new ones.
            self.measure(facts, &[&present, &wanted]);
        }
        let journal = self
            .journal
            .as_mut()
            .context("everything was taken back already")?;
        let is_new = changes
            .iter()
            .all(|change| is_first_setting(change, journal));
        self.network.apply(&changes, journal)?;
        self.measure(facts, &[&wanted]);
        Ok(if known == self.uplinks && !is_new {
            Checked::Restored
        } else {
            Checked::Followed
        })
    }

    /// Has the meter look for what leaves by none of these plans.
    fn measure(&self, facts: &HostFacts, plans: &[&HostPlan]) {
        if let Some(meter) = &self.meter {
            meter.look_at(Targets::of(facts, plans));
        }
    }

    /// The device and the workers take packets as large as the uplink does. Without one all stays as it is.
    fn follow_mtu(&mut self, facts: &HostFacts, workers: &[Handle]) {
        let Some(mtu) = uplink_mtu(facts).filter(|mtu| self.mtu != Some(*mtu)) else {
            return;
        };
        let settings = LinkSettings {
            mtu: Some(packet_size(tun_mtu(facts, &self.options)).into()),
            ..LinkSettings::default()
        };
        let forwarded = !self.options.forwarded.is_empty();
        let forwarded = forwarded.then(|| self.options.forwarded_tun());
        for device in [self.options.tun.clone()].into_iter().chain(forwarded) {
            if let Err(error) = link::configure(&device, &settings) {
                return tracing::warn!(%error, mtu, "the device does not follow the uplink's MTU");
            }
        }
        self.mtu = Some(mtu);
        for worker in workers {
            worker.tell(Message::Mtu(packet_size(mtu)));
        }
    }

    /// Takes everything back. Returns what could not be.
    pub(super) fn remove(mut self) -> Vec<UndoError> {
        self.take_back()
    }

    fn take_back(&mut self) -> Vec<UndoError> {
        let Some(journal) = self.journal.take() else {
            return Vec::new();
        };
        let left = self.network.undo(&journal);
        if left.is_empty()
            && let Err(error) = journal.clear()
        {
            tracing::warn!(%error, "the journal stays behind");
        }
        left
    }

    /// Watches the host on a thread of its own until the end is asked for, then gives itself back.
    pub(super) fn watch(
        mut self,
        shared: Arc<Shared>,
        workers: Vec<Handle>,
    ) -> io::Result<JoinHandle<Self>> {
        let mut monitor = NetworkMonitor::open()?;
        let mut poll = Poll::new()?;
        poll.registry().register(
            &mut SourceFd(&monitor.as_raw_fd()),
            NEWS,
            Interest::READABLE,
        )?;
        let waker = Waker::new(poll.registry(), CHANGED)?;
        shared.on_change(move || {
            if let Err(error) = waker.wake() {
                tracing::error!(%error, "the watcher of the host could not be woken");
            }
        });
        thread::Builder::new()
            .name("host-plan".to_owned())
            .spawn(move || {
                let _end = shared.end_with("the thread that watches the host");
                let mut guard = Guard::new(GuardLimits::default());
                let mut problems = Problems::default();
                // Something may have changed between the start and the first news.
                guard.handle_change(Instant::now());
                let mut events = Events::with_capacity(8);
                while !shared.lifecycle.is_stopping() {
                    self.check_when_due(&mut guard, &mut problems, &shared, &workers);
                    let now = Instant::now();
                    let timeout = guard
                        .poll_timeout()
                        .map(|(at, _)| at.saturating_duration_since(now));
                    if let Err(error) = poll.poll(&mut events, timeout)
                        && error.kind() != io::ErrorKind::Interrupted
                    {
                        shared.request_shutdown(format!("the host cannot be watched: {error}"));
                    }
                    self.take_news(&events, &mut monitor, &mut guard, &shared);
                }
                self
            })
    }

    fn take_news(
        &mut self,
        events: &Events,
        monitor: &mut NetworkMonitor,
        guard: &mut Guard,
        shared: &Shared,
    ) {
        let now = Instant::now();
        guard.handle_timeout(now);
        if events.iter().any(|event| event.token() == CHANGED) {
            self.options.judged_services = judged_services(&shared.policy.load().policy);
            guard.handle_change(now);
        }
        match monitor.drain() {
            Ok(changes) if changes.any() => guard.handle_change(now),
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "news of the network are lost"),
        }
    }

    fn check_when_due(
        &mut self,
        guard: &mut Guard,
        problems: &mut Problems,
        shared: &Shared,
        workers: &[Handle],
    ) {
        while let Some(action) = guard.poll_action() {
            match action {
                GuardAction::Check => {
                    let checked = self.check(problems, shared, workers);
                    guard.handle_checked(Instant::now(), checked);
                }
                GuardAction::Contested { .. } => problems.contested = true,
                GuardAction::Settled => problems.contested = false,
            }
            problems.tell(shared);
        }
    }

    fn check(&mut self, problems: &mut Problems, shared: &Shared, workers: &[Handle]) -> Checked {
        let outcome = self.facts().and_then(|facts| {
            let checked = self.bring_about(&facts);
            self.follow_mtu(&facts, workers);
            problems.offline = facts.uplink_v4.is_none() && facts.uplink_v6.is_none();
            shared.update_capture(|capture| {
                capture.uplinks = super::uplinks(&facts);
                capture.forwarded = super::forwarded_status(&facts, &self.options);
                capture.overtaken.clone_from(&self.overtaken);
            });
            checked
        });
        match outcome {
            Ok(checked) => {
                match checked {
                    Checked::Whole => {}
                    Checked::Followed => {
                        tracing::info!(uplinks = ?self.uplinks, "the host's way out has changed, and our routes with it");
                    }
                    Checked::Restored => tracing::info!(
                        "the host's rules and routes differed from the plan and were restored"
                    ),
                }
                problems.failed = None;
                checked
            }
            Err(error) => {
                let failed = format!("the host cannot be kept as planned: {error:#}");
                tracing::error!("{failed}");
                problems.failed = Some(failed);
                Checked::Restored
            }
        }
    }
}

/// Whether this sets what was never set before: an interface has come.
fn is_first_setting(change: &Change, journal: &Journal) -> bool {
    let setting = |change: &Change| match change {
        Change::Set { path, .. } => Some(path.clone()),
        Change::AddRoute(_)
        | Change::RemoveRoute(_)
        | Change::AddRule(_)
        | Change::RemoveRule(_) => None,
    };
    let path = setting(change);
    path.is_some() && !journal.changes().iter().any(|known| setting(known) == path)
}

/// What keeps the plan from standing.
#[derive(Debug, Default, PartialEq, Eq)]
struct Problems {
    /// Another program keeps undoing it.
    contested: bool,
    /// Why the last check did not bring it about.
    failed: Option<String>,
    /// There is no way out in either family.
    offline: bool,
}

impl Problems {
    fn in_words(&self) -> Vec<String> {
        let contested = self.contested.then(|| {
            "another program keeps removing our routing rules: what it routes is not captured; stop one of the two"
                .to_owned()
        });
        let offline = self.offline.then(|| {
            "the host has no default route in either family: programs reach nobody until it has one".to_owned()
        });
        contested
            .into_iter()
            .chain(self.failed.clone())
            .chain(offline)
            .collect()
    }

    fn tell(&self, shared: &Shared) {
        shared.update_capture(|capture| capture.problems = self.in_words());
    }
}

impl Drop for PlanKeeper {
    fn drop(&mut self) {
        for error in self.take_back() {
            tracing::error!("{error}; `tidegate recover` tries again");
        }
    }
}

/// Undoes what a dead instance wrote down, and removes the journal if nothing is left.
///
/// # Errors
/// Something could not be undone; the journal stays for the next try.
pub fn recover(network: &mut HostNetwork, journal: Journal) -> anyhow::Result<usize> {
    let count = journal.changes().len();
    let left = network.undo(&journal);
    if left.is_empty() {
        journal.clear()?;
        return Ok(count);
    }
    let left: Vec<String> = left.iter().map(ToString::to_string).collect();
    Err(anyhow::anyhow!(left.join("\n")))
        .context("not everything that a dead instance left could be undone")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_that_succeeds_takes_back_only_its_own_complaint() {
        let mut problems = Problems {
            contested: true,
            failed: Some("no route".to_owned()),
            offline: false,
        };
        assert_eq!(problems.in_words().len(), 2);
        problems.failed = None;
        let [contested] = problems.in_words().try_into().unwrap();
        assert!(contested.starts_with("another program"), "{contested}");
    }
}
