//! `tidegate run`: the traffic of the whole machine, by policy routing, in the foreground.
//!
//! The order of the start keeps the host working at every step: the worker serves the device before any rule leads there,
//! the rules are journalled before they are made, and if the start probe does not cross the device all is undone.

mod leak_meter;
mod older;
mod plan_keeper;
mod way_out;
mod workers;

use std::ops::RangeInclusive;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use tidegate_platform::apps::{DiagSocket, Senders, SendersError};
use tidegate_platform::bypass::Bypass;
use tidegate_platform::host::UndoError;
use tidegate_platform::memory_pressure;
use tidegate_platform::privileges;
use tidegate_platform::sockets;
use tidegate_routing::plan::{BoundSockets, CaptureOptions, Family, HostFacts, MARK, Uplink};

use crate::audit::Audit;
use crate::cli::RunArgs;
use crate::config::{Capture, Config, ConfigSource, ForeignMarks};
use crate::control::DEFAULT_SOCKET;
use crate::control::access::HostGroup;
use crate::control::server::{ControlServer, ControlSocket};
use crate::library::{self, Library};
use crate::probe::Probe;
use crate::record::FlowLogLimits;
use crate::reload::{ConfigWatch, Reloader};
use crate::shared::{
    CaptureKind, CaptureStatus, EbpfStatus, Ending, ForwardedStatus, Shared, UplinkStatus,
};
use crate::state_folder::state_folder;
use crate::worker::Handle;
use crate::{context_watch, senders, signals, terminal};

use leak_meter::LeakMeter;
use plan_keeper::PlanKeeper;
use workers::{Devices, Means, Workers};

pub use plan_keeper::{JOURNAL, recover};

/// Keeps the profile that the user chose, in the state folder.
const PROFILE: &str = "profile";

/// Largest MTU that a packet's length field allows.
const LARGEST_MTU: u16 = u16::MAX;

/// Captures until a signal comes or the trial runs out.
///
/// # Errors
/// The capture could not be started, or not be undone; what is left and how to go on is said.
pub fn main(args: RunArgs) -> anyhow::Result<ExitCode> {
    let source = ConfigSource::new(args.config);
    let config = Config::load(&source)?;
    for warning in config.warnings.iter().chain(&config.failures) {
        tracing::warn!("{warning}");
    }
    check_means(&config.capture)?;
    let library = Library::new(state_folder());
    library.refresh(config.policy.list_definitions(), &config.geo);
    let mut keeper = PlanKeeper::open(options(&config), JOURNAL)?;
    let control = args.control.as_deref().unwrap_or(Path::new(DEFAULT_SOCKET));
    let control = ControlSocket::bind(control, &HostGroup)?;
    let facts = keeper.facts()?;
    // Takes privileges that are not kept.
    let senders = note_senders(&config.capture, &facts)?;
    // Privileges belong to threads: before the first one starts.
    drop_privileges();
    let devices = Devices::create(&facts, keeper.options())?;

    let (senders, ebpf) = senders::usable(senders);
    let senders = senders.map(Arc::new);
    let status = status(&config.capture, &facts, keeper.options(), ebpf);
    let shared = Shared::knowing(library, config.policy, status, FlowLogLimits::default());
    remember(&shared);
    context_watch::start(&shared).context("cannot watch the time")?;
    let reloader = Reloader::new(source, config.capture.clone(), Arc::clone(&shared));
    reloader.note_start(config.texts);
    signals::take(Arc::clone(&shared), Arc::clone(&reloader))
        .context("cannot take over the signals")?;
    let probe = Arc::new(Probe::new()?);
    let workers = Workers::start(
        devices,
        &mut keeper,
        &facts,
        Means {
            existing: config.capture.existing,
            senders: senders.clone(),
            probe: Arc::clone(&probe),
        },
        &shared,
    )?;

    keeper.measure_with(LeakMeter::start(&shared, senders, &config.capture)?);
    let installed = begin(&mut keeper, &probe, &facts, workers.handles());
    if let Err(error) = installed {
        let left = keeper.remove();
        shared.request_shutdown("the capture could not be started");
        workers.join()?;
        return Err(error.context(not_started(&left)));
    }
    let _control = ControlServer::start(
        control,
        Arc::clone(&shared),
        Arc::clone(&reloader),
        HostGroup,
    )?;
    let _watch =
        ConfigWatch::start(Arc::clone(&reloader)).map_err(|error| tracing::warn!("{error}"));
    library::keep_up_to_date(&shared, &reloader, Bypass::marked(MARK))?;
    let keeper = keeper.watch(Arc::clone(&shared), workers.handles().to_vec())?;
    if let Some(length) = args.trial {
        shared.lifecycle.begin_trial(length);
    }
    tracing::info!(interface = %config.capture.tun, "capturing");

    let ending = shared.lifecycle.wait();
    shared.request_shutdown("the end");
    let Ok(keeper) = keeper.join() else {
        bail!(
            "the thread that watches the host panicked; please report this with the message above"
        )
    };
    let left = keeper.remove();
    let ended = workers.join();
    complain_of(&left);
    ended?;
    if let Ending::TrialExpired = ending {
        terminal::complain("the trial ended without `tidegate confirm`: everything is undone");
    }
    Ok(if left.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// What becomes of a capture that could not be started, when it was taken back.
fn not_started(left: &[UndoError]) -> &'static str {
    complain_of(left);
    if left.is_empty() {
        "the capture could not be started, and everything is undone"
    } else {
        "the capture could not be started, and not everything is undone"
    }
}

fn note_senders(
    capture: &Capture,
    facts: &HostFacts,
) -> anyhow::Result<Option<Result<Senders, SendersError>>> {
    let network = DiagSocket::open()?;
    let answering = ephemeral_ports(facts);
    Ok(senders::attach(
        capture.ebpf,
        network.as_fd(),
        MARK.value,
        answering,
    ))
}

/// Begins with the profile that was chosen before the last end, if any, and adds to the record of changes.
fn remember(shared: &Shared) {
    let Some(folder) = state_folder() else {
        return;
    };
    if let Err(error) = shared.keep_profile_in(folder.join(PROFILE)) {
        tracing::warn!(%error, "the chosen profile cannot be read: profiles go by their own conditions");
    }
    shared.record_changes_in(Audit::in_folder(folder));
}

/// What the configuration asks for and not every kernel has.
fn check_means(capture: &Capture) -> anyhow::Result<()> {
    match capture.bound_sockets {
        BoundSockets::Destroy => sockets::try_destroy().context(
            "bound_sockets = \"destroy\" does not work here; write \"report\" or \"prohibit\"",
        ),
        BoundSockets::Report | BoundSockets::Prohibit => Ok(()),
    }
}

fn drop_privileges() {
    // Takes some that are not kept.
    for error in memory_pressure::prepare() {
        tracing::info!(%error, "network disks may stall while memory is short");
    }
    for error in privileges::drop_to_needed().err().into_iter().flatten() {
        tracing::warn!(%error, "more privileges than needed are kept");
    }
}

fn options(config: &Config) -> CaptureOptions {
    let capture = &config.capture;
    CaptureOptions {
        forwarded: capture.forwarded.clone(),
        fail: capture.fail,
        bound_sockets: capture.bound_sockets,
        strict_marks: capture.foreign_marks == ForeignMarks::Capture,
        judged_services: plan_keeper::judged_services(&config.policy),
        ..CaptureOptions::new(capture.tun.clone())
    }
}

fn status(
    capture: &Capture,
    facts: &HostFacts,
    options: &CaptureOptions,
    ebpf: EbpfStatus,
) -> CaptureStatus {
    CaptureStatus {
        forwarded: forwarded_status(facts, options),
        uplinks: uplinks(facts),
        ebpf,
        ..CaptureStatus::new(CaptureKind::Host, capture.tun.clone())
    }
}

fn uplinks(facts: &HostFacts) -> Vec<UplinkStatus> {
    let of = |family, uplink: &Option<Uplink>| {
        let Uplink { device, source, .. } = uplink.clone()?;
        let tunnel = way_out::beside(family, &device, source);
        Some(UplinkStatus {
            family,
            device,
            source,
            tunnel,
        })
    };
    [
        of(Family::V4, &facts.uplink_v4),
        of(Family::V6, &facts.uplink_v6),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn forwarded_status(facts: &HostFacts, options: &CaptureOptions) -> Option<ForwardedStatus> {
    let is_there = |name: &&String| {
        let entrances = &facts.reverse_path_filters;
        entrances.iter().any(|(entrance, _)| entrance == *name)
    };
    let inputs = options.forwarded.clone();
    (!inputs.is_empty()).then(|| ForwardedStatus {
        interface: options.forwarded_tun(),
        missing: inputs
            .iter()
            .filter(|name| !is_there(name))
            .cloned()
            .collect(),
        inputs,
    })
}

/// An MTU as far as a packet's length field goes.
fn packet_size(mtu: u32) -> u16 {
    u16::try_from(mtu).unwrap_or(LARGEST_MTU)
}

/// The ports that clients get.
fn ephemeral_ports(facts: &HostFacts) -> Option<RangeInclusive<u16>> {
    let ports = facts.ephemeral_ports?;
    Some(ports.first..=ports.last)
}

/// Leads the host's packets to the worker.
fn begin(
    keeper: &mut PlanKeeper,
    probe: &Probe,
    facts: &HostFacts,
    workers: &[Handle],
) -> anyhow::Result<()> {
    keeper.install()?;
    prove(probe, facts)?;
    if let Some(worker) = workers.first() {
        older::tell(worker, &keeper.options().tun);
    }
    Ok(())
}

fn prove(probe: &Probe, facts: &HostFacts) -> anyhow::Result<()> {
    for uplink in uplinks(facts) {
        probe.cross(uplink.family)?;
    }
    Ok(())
}

fn complain_of(left: &[UndoError]) {
    for error in left {
        terminal::complain(&format!("{error}; `tidegate recover` tries again"));
    }
}
