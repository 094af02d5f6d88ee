//! `tidegate run`: the traffic of the whole machine, by policy routing, in the foreground.
//!
//! The order of the start keeps the host working at every step: the worker serves the device before any rule leads there,
//! the rules are journalled before they are made, and if the start probe does not cross the device all is undone.

mod plan_keeper;

use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use anyhow::{Context, bail};
use tidegate_platform::apps::{AppFinder, DiagSocket, Processes};
use tidegate_platform::bypass::Bypass;
use tidegate_platform::emit::RawEmitter;
use tidegate_platform::host::UndoError;
use tidegate_platform::link::{self, LinkSettings};
use tidegate_platform::privileges;
use tidegate_platform::tun::{Tun, TunConfig};
use tidegate_routing::plan::{
    BoundSockets, CaptureOptions, Fail, Family, HostFacts, MARK, Uplink, tun_mtu,
};
use tidegate_routing::target::Translation;

use crate::cli::RunArgs;
use crate::config::{self, Capture, Config, ConfigSource, ForeignMarks};
use crate::control::DEFAULT_SOCKET;
use crate::control::access::HostGroup;
use crate::control::server::ControlServer;
use crate::probe::Probe;
use crate::record::FlowLogLimits;
use crate::reload::{ConfigWatch, Reloader};
use crate::shared::{CaptureKind, CaptureStatus, Ending, Shared, UplinkStatus};
use crate::worker::{Existing, Identify, Message, Strangers, Worker, WorkerConfig};
use crate::{signals, stack, terminal};

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
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    // Privileges belong to threads: before the first one starts.
    if let Err(errors) = privileges::drop_to_needed() {
        for error in errors {
            tracing::warn!(%error, "more privileges than needed are kept");
        }
    }
    let mut keeper = PlanKeeper::open(options(&config), JOURNAL)?;
    let facts = keeper.facts()?;
    let tun = create_device(&config.capture, &facts, keeper.options())?;

    let status = status(&config.capture, &facts);
    let shared = Shared::new(config.policy, status, FlowLogLimits::default());
    let reloader = Reloader::new(source, config.capture.clone(), Arc::clone(&shared));
    signals::take(Arc::clone(&shared), Arc::clone(&reloader))
        .context("cannot take over the signals")?;
    let probe = Arc::new(Probe::new()?);
    let worker = start_worker(tun, &config.capture, &facts, &shared, Arc::clone(&probe))?;

    let installed = keeper.install().and_then(|()| prove(&probe, &facts));
    if let Err(error) = installed {
        let left = keeper.remove();
        shared.request_shutdown("the capture could not be started");
        join(worker)?;
        complain_of(&left);
        return Err(error.context("the capture could not be started, and everything is undone"));
    }
    let _control = open_control(args.control.as_deref(), &shared, &reloader)?;
    let _watch = ConfigWatch::start(reloader).map_err(|error| tracing::warn!("{error}"));
    let keeper = keeper.watch(Arc::clone(&shared))?;
    if let Some(length) = args.trial {
        shared.lifecycle.begin_trial(length);
    }
    tracing::info!(interface = %config.capture.tun, "capturing");

    let ending = shared.lifecycle.wait();
    shared.request_shutdown("the end");
    let Ok(keeper) = keeper.join() else {
        bail!("the thread that watches the host panicked; run `tidegate recover`")
    };
    let left = keeper.remove();
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

fn options(config: &Config) -> CaptureOptions {
    let capture = &config.capture;
    CaptureOptions {
        fail: match capture.fail {
            config::Fail::Open => Fail::Open,
            config::Fail::Closed => Fail::Closed,
        },
        bound_sockets: match capture.bound_sockets {
            config::BoundSockets::Report => BoundSockets::Report,
        },
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
    let mtu = u16::try_from(tun_mtu(facts, options)).unwrap_or(LARGEST_MTU);
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

fn status(capture: &Capture, facts: &HostFacts) -> CaptureStatus {
    let mut status = CaptureStatus::new(CaptureKind::Host, capture.tun.clone());
    status.uplinks = uplinks(facts);
    status
}

fn uplinks(facts: &HostFacts) -> Vec<UplinkStatus> {
    let of = |family, uplink: &Option<Uplink>| {
        let Uplink { device, source, .. } = uplink.clone()?;
        Some(UplinkStatus {
            family,
            device,
            source,
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

fn start_worker(
    tun: Tun,
    capture: &Capture,
    facts: &HostFacts,
    shared: &Arc<Shared>,
    probe: Arc<Probe>,
) -> anyhow::Result<JoinHandle<io::Result<()>>> {
    stack::prepare_process();
    let bypass = Bypass::marked(MARK);
    let processes = Arc::new(Processes::default());
    let device = link::index(tun.name())?;
    let finder = AppFinder::new(
        DiagSocket::open()?,
        device,
        "/proc/self/net".into(),
        Arc::clone(&processes),
    );
    let mtu = [&facts.uplink_v4, &facts.uplink_v6]
        .into_iter()
        .flatten()
        .map(|uplink| uplink.mtu)
        .min();
    let mtu = mtu
        .and_then(|mtu| u16::try_from(mtu).ok())
        .unwrap_or(LARGEST_MTU);
    let ephemeral_ports = facts.ephemeral_ports.map(|ports| ports.first..=ports.last);
    let config = WorkerConfig {
        stack: stack::config(mtu, tun.caps(), ephemeral_ports)?,
        translation: Translation::default(),
        identify: Identify::start(finder, processes)?,
        strangers: Strangers::Host {
            emitter: RawEmitter::open(&bypass)
                .context("cannot open raw sockets: root is needed")?,
            mtu: mtu.into(),
            existing: match capture.existing {
                config::Existing::Pass => Existing::Pass,
                config::Existing::Reset => Existing::Reset,
            },
        },
        bypass,
        probe,
    };
    let (worker, handle) = Worker::new(tun, config, Arc::clone(shared))?;
    shared.on_change(move || handle.tell(Message::Changed));
    let shared = Arc::clone(shared);
    Ok(thread::Builder::new()
        .name("worker-0".to_owned())
        .spawn(move || {
            let ended = worker.run();
            shared.request_shutdown("the worker has ended");
            ended
        })?)
}

fn prove(probe: &Probe, facts: &HostFacts) -> anyhow::Result<()> {
    for uplink in uplinks(facts) {
        probe.cross(uplink.family)?;
    }
    Ok(())
}

fn open_control(
    path: Option<&Path>,
    shared: &Arc<Shared>,
    reloader: &Arc<Reloader>,
) -> anyhow::Result<ControlServer> {
    let path = path.unwrap_or(Path::new(DEFAULT_SOCKET));
    Ok(ControlServer::start(
        path,
        Arc::clone(shared),
        Arc::clone(reloader),
        HostGroup,
    )?)
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
