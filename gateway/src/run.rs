//! `tidegate run`: the traffic of the whole machine, by policy routing, in the foreground.
//!
//! The order of the start keeps the host working at every step: the worker serves the device before any rule leads there,
//! the rules are journalled before they are made, and if the start probe does not cross the device all is undone.

mod leak_meter;
mod older;
mod plan_keeper;
mod way_out;

use std::io;
use std::ops::RangeInclusive;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, bail};
use tidegate_netstack::StackConfig;
use tidegate_platform::apps::{AppFinder, DiagSocket, Processes, Senders, SendersError};
use tidegate_platform::bypass::Bypass;
use tidegate_platform::emit::RawEmitter;
use tidegate_platform::host::UndoError;
use tidegate_platform::link::{self, LinkSettings};
use tidegate_platform::memory_pressure;
use tidegate_platform::privileges;
use tidegate_platform::sockets;
use tidegate_platform::tun::{Tun, TunConfig};
use tidegate_routing::plan::{
    BoundSockets, CaptureOptions, Family, HostFacts, MARK, Uplink, tun_mtu, uplink_mtu,
};
use tidegate_routing::target::Translation;

use crate::cli::RunArgs;
use crate::config::{Capture, Config, ConfigSource, Existing, ForeignMarks};
use crate::control::DEFAULT_SOCKET;
use crate::control::access::HostGroup;
use crate::control::server::{ControlServer, ControlSocket};
use crate::probe::Probe;
use crate::record::FlowLogLimits;
use crate::reload::{ConfigWatch, Reloader};
use crate::shared::{CaptureKind, CaptureStatus, EbpfStatus, Ending, Shared, UplinkStatus};
use crate::worker::{Handle, Identify, Message, Strangers, Worker, WorkerConfig};
use crate::{network_watch, senders, signals, stack, terminal};

use leak_meter::LeakMeter;
use plan_keeper::PlanKeeper;

pub use plan_keeper::{JOURNAL, recover};

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
    let mut keeper = PlanKeeper::open(options(&config), JOURNAL)?;
    let control = args.control.as_deref().unwrap_or(Path::new(DEFAULT_SOCKET));
    let control = ControlSocket::bind(control, &HostGroup)?;
    let facts = keeper.facts()?;
    // Takes privileges that are not kept.
    let senders = note_senders(&config.capture, &facts)?;
    // Privileges belong to threads: before the first one starts.
    drop_privileges();
    let tun = create_device(&config.capture, &facts, keeper.options())?;

    let (senders, ebpf) = senders::usable(senders);
    let senders = senders.map(Arc::new);
    let status = status(&config.capture, &facts, ebpf);
    let shared = Shared::new(config.policy, status, FlowLogLimits::default());
    let reloader = Reloader::new(source, config.capture.clone(), Arc::clone(&shared));
    signals::take(Arc::clone(&shared), Arc::clone(&reloader))
        .context("cannot take over the signals")?;
    let probe = Arc::new(Probe::new()?);
    // Kept until the rules are gone: without the device they would lead nowhere, or to `unreachable`.
    let device = tun.as_fd().try_clone_to_owned()?;
    let limits = StackConfig {
        service_ports: keeper.datagram_ports()?,
        ..limits(&tun, &facts)?
    };
    let identify = identify(&tun, senders.clone())?;
    let (worker, handle) = start_worker(
        tun,
        limits,
        identify,
        config.capture.existing,
        &shared,
        Arc::clone(&probe),
    )?;

    keeper.measure_with(LeakMeter::start(&shared, senders, &config.capture)?);
    let installed = begin(&mut keeper, &probe, &facts, &handle);
    if let Err(error) = installed {
        let left = keeper.remove();
        complain_of(&left);
        shared.request_shutdown("the capture could not be started");
        join(worker)?;
        return Err(error.context(if left.is_empty() {
            "the capture could not be started, and everything is undone"
        } else {
            "the capture could not be started, and not everything is undone"
        }));
    }
    let _control = ControlServer::start(
        control,
        Arc::clone(&shared),
        Arc::clone(&reloader),
        HostGroup,
    )?;
    let _watch = ConfigWatch::start(reloader).map_err(|error| tracing::warn!("{error}"));
    let keeper = keeper.watch(Arc::clone(&shared), vec![handle])?;
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
    drop(device);
    let ended = join(worker);
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
        fail: capture.fail,
        bound_sockets: capture.bound_sockets,
        strict_marks: capture.foreign_marks == ForeignMarks::Capture,
        judged_services: plan_keeper::judged_services(&config.policy),
        ..CaptureOptions::new(capture.tun.clone())
    }
}

fn create_device(
    capture: &Capture,
    facts: &HostFacts,
    options: &CaptureOptions,
) -> anyhow::Result<Tun> {
    let mtu = packet_size(tun_mtu(facts, options));
    let tun = Tun::create(&TunConfig {
        mtu,
        ..TunConfig::named(capture.tun.clone())
    })?;
    let settings = LinkSettings {
        up: true,
        mtu: Some(mtu.into()),
        unnumbered: true,
        ..LinkSettings::default()
    };
    link::configure(tun.name(), &settings)?;
    Ok(tun)
}

fn status(capture: &Capture, facts: &HostFacts, ebpf: EbpfStatus) -> CaptureStatus {
    CaptureStatus {
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

/// An MTU as far as a packet's length field goes.
fn packet_size(mtu: u32) -> u16 {
    u16::try_from(mtu).unwrap_or(LARGEST_MTU)
}

fn limits(tun: &Tun, facts: &HostFacts) -> anyhow::Result<StackConfig> {
    let mtu = packet_size(uplink_mtu(facts).unwrap_or(u32::MAX));
    Ok(stack::config(mtu, tun.caps(), ephemeral_ports(facts))?)
}

/// The ports that clients get.
fn ephemeral_ports(facts: &HostFacts) -> Option<RangeInclusive<u16>> {
    let ports = facts.ephemeral_ports?;
    Some(ports.first..=ports.last)
}

fn identify(tun: &Tun, senders: Option<Arc<Senders>>) -> anyhow::Result<Identify> {
    let processes = Arc::new(Processes::default());
    let device = link::index(tun.name())?;
    if let Some(senders) = &senders {
        senders.leave_out_device(device)?;
    }
    let finder = AppFinder::new(
        DiagSocket::open()?,
        device,
        "/proc/self/net".into(),
        Arc::clone(&processes),
    );
    Ok(Identify::start(finder, processes, senders)?)
}

fn start_worker(
    tun: Tun,
    stack: StackConfig,
    identify: Identify,
    existing: Existing,
    shared: &Arc<Shared>,
    probe: Arc<Probe>,
) -> anyhow::Result<(JoinHandle<io::Result<()>>, Handle)> {
    let most_sockets = stack::prepare_process();
    let bypass = Bypass::marked(MARK);
    let config = WorkerConfig {
        translation: Translation::default(),
        identify,
        strangers: Strangers::Host {
            emitter: RawEmitter::open(&bypass)
                .context("cannot open raw sockets: root is needed")?,
            mtu: stack.mtu.into(),
            existing,
        },
        stack,
        bypass,
        probe,
        // The programs live on, and so does what they have to say.
        linger: Duration::ZERO,
        most_sockets,
    };
    let (worker, handle) = Worker::new(tun, config, Arc::clone(shared))?;
    network_watch::start(vec![handle.clone()]).context("cannot watch the network")?;
    let changed = handle.clone();
    shared.on_change(move || changed.tell(Message::Changed));
    let end = shared.end_with("the worker");
    let thread = thread::Builder::new()
        .name("worker-0".to_owned())
        .spawn(move || {
            let _end = end;
            worker.run()
        })?;
    Ok((thread, handle))
}

/// Leads the host's packets to the worker.
fn begin(
    keeper: &mut PlanKeeper,
    probe: &Probe,
    facts: &HostFacts,
    worker: &Handle,
) -> anyhow::Result<()> {
    keeper.install()?;
    prove(probe, facts)?;
    older::tell(worker, &keeper.options().tun);
    Ok(())
}

fn prove(probe: &Probe, facts: &HostFacts) -> anyhow::Result<()> {
    for uplink in uplinks(facts) {
        probe.cross(uplink.family)?;
    }
    Ok(())
}

fn join(worker: JoinHandle<io::Result<()>>) -> anyhow::Result<()> {
    match worker.join() {
        Ok(ended) => ended.context("the data plane failed"),
        Err(_) => bail!("the data plane panicked; please report this with the message above"),
    }
}

fn complain_of(left: &[UndoError]) {
    for error in left {
        terminal::complain(&format!("{error}; `tidegate recover` tries again"));
    }
}
