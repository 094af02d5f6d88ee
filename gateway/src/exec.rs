//! `tidegate exec`: one command in a network namespace of its own, its flows through the same data plane as a host's.

mod recording;

use std::ffi::OsString;
use std::future::{pending, poll_fn};
use std::io::IsTerminal;
use std::net::{Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use std::{io, thread};

use anyhow::Context;
use tidegate_platform::apps::{AppFinder, Processes};
use tidegate_platform::bypass::Bypass;
use tidegate_platform::namespaces::{
    self, ContainConfig, ContainError, Contained, ContainedCommand, GATEWAY_V4, GATEWAY_V6,
};
use tidegate_platform::resolvers::Resolvers;
use tidegate_platform::tun::{OffloadWish, Tun};
use tidegate_routing::target::{HostLoopback, Translation};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;

use crate::audit::Audit;
use crate::cli::{EXEC_FAILED, EXEC_REFUSED, ExecArgs};
use crate::config::{Config, ConfigSource, Ebpf};
use crate::control::access::HostGroup;
use crate::control::server::{ControlServer, ControlSocket};
use crate::library::{self, Library};
use crate::record::FlowLogLimits;
use crate::reload::{ConfigWatch, Reloader};
use crate::report::summary;
use crate::shared::{CaptureKind, CaptureStatus, Shared};
use crate::state_folder::state_folder;
use crate::worker::{self, HostFlows, Identify, PacketDump, Strangers, Worker, WorkerConfig};
use crate::{context_watch, network_watch, senders, stack, terminal};

use recording::Recording;

/// Any address of the public Internet (RFC 4291 section 2.4); this one is kept for documentation (RFC 3849).
const PUBLIC_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
/// The discard service (RFC 863).
const DISCARD_PORT: u16 = 9;
/// Name of the device inside the namespace.
const DEVICE: &str = "tide0";
/// MTU of the device inside. No packet leaves the host at this size: TCP is cut anew upstream, and UDP that is too large
/// for the uplink is fragmented there, as it would be without us.
const MTU: u16 = 1500;
/// A socket of the namespace for the worker.
const DIAG_SOCKETS: u8 = 1;
/// How long what the command has sent may still go out after its end.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Runs the command and gives its exit status.
///
/// # Errors
/// The gateway or the command could not be started.
pub fn main(args: ExecArgs) -> anyhow::Result<ExitCode> {
    let source = if args.deny_all {
        ConfigSource::only(args.allowed.clone())
    } else {
        ConfigSource::new(args.config.clone())
    };
    let config = Config::load(&source)?;
    let packet_dump = args.pcap.as_deref().map(packet_dump).transpose()?;
    let capture = CaptureStatus::new(CaptureKind::Exec, DEVICE);
    let library = Library::new(state_folder());
    library.refresh(config.policy.list_definitions(), &config.geo);
    let shared = Shared::knowing(library, config.policy, capture, flow_limits(&args));
    let mut recording = args
        .record
        .as_deref()
        .map(|path| Recording::start(path, &shared.flows))
        .transpose()?;
    let resolvers = Resolvers::of_host().context("cannot read the host's resolvers")?;
    // Before the command is contained, so that it is covered up inside like every other socket.
    let control = args
        .control
        .as_deref()
        .map(|path| ControlSocket::bind(path, &HostGroup))
        .transpose()?;
    let mut contained = match Contained::spawn(&contain_config(&args, &resolvers)) {
        Ok(contained) => contained,
        Err(error) => return Ok(not_contained(&error)),
    };
    for warning in &contained.report.warnings {
        tracing::warn!("{warning}");
    }
    for socket in &contained.report.covered {
        tracing::debug!(path = %socket.display(), "socket covered up inside");
    }

    if control.is_none() && shared.policy.load().policy.asks() {
        tracing::warn!(
            "the rules ask, and nobody can answer: start with --control PATH, then `tidegate ask --control PATH`"
        );
    }
    context_watch::start(&shared).context("cannot watch the time")?;
    let ebpf = config.capture.ebpf;
    let reloader = Reloader::new(source, config.capture, Arc::clone(&shared));
    if let Some(folder) = state_folder() {
        shared.record_changes_in(Audit::in_folder(folder));
    }
    reloader.note_files(config.texts);
    let _watch = reloader
        .source()
        .has_files()
        .then(|| ConfigWatch::start(Arc::clone(&reloader)))
        .transpose()
        .map_err(|error| tracing::warn!("{error}"));
    library::keep_up_to_date(&shared, &reloader, Bypass::none())?;
    let _control = control
        .map(|socket| ControlServer::start(socket, Arc::clone(&shared), reloader, HostGroup))
        .transpose()?;
    let data_plane = start_worker(
        &mut contained,
        &args,
        &resolvers,
        ebpf,
        packet_dump,
        &shared,
    )?;

    let outcome = run_to_its_end(contained.command, &shared, recording.as_mut());
    shared.request_shutdown("the command has ended");
    match data_plane.join() {
        Ok(ended) => ended.context("the data plane failed")?,
        Err(_) => {
            anyhow::bail!("the data plane panicked; please report this with the message above")
        }
    }
    if let Some(recording) = recording {
        recording.finish(&shared.flows);
    }
    if args.summary {
        terminal::report(&summary(&shared.flows.records(), terminal::stderr_style()));
    }
    if args.deny_all && shared.counters.refused() > 0 {
        return outcome.map(|_| ExitCode::from(EXEC_REFUSED));
    }
    outcome
}

/// How many flows are remembered, and how many may wait to be recorded.
fn flow_limits(args: &ExecArgs) -> FlowLogLimits {
    let usual = FlowLogLimits::default();
    match args.record {
        Some(_) => FlowLogLimits {
            waiting: recording::WAITING,
            ..usual
        },
        None => usual,
    }
}

fn packet_dump(path: &Path) -> anyhow::Result<PacketDump> {
    PacketDump::create(path).with_context(|| format!("cannot keep packets in {}", path.display()))
}

/// The second process, inside the namespaces.
///
/// # Errors
/// The command could not be started; the first process has been told.
pub fn contain(mut arguments: impl Iterator<Item = OsString>) -> anyhow::Result<ExitCode> {
    let descriptor = arguments.next().unwrap_or_default();
    match namespaces::contain_main(&descriptor) {
        Ok(never) => match never {},
        Err(_) => Ok(ExitCode::from(EXEC_FAILED)),
    }
}

fn contain_config(args: &ExecArgs, resolvers: &Resolvers) -> ContainConfig {
    let mut words = args.command.iter().cloned();
    ContainConfig {
        program: words.next().unwrap_or_default(),
        arguments: words.collect(),
        device: DEVICE.to_owned(),
        mtu: MTU.into(),
        virtio_header: true,
        ipv6: host_has_ipv6(),
        sockets: args.sockets.clone(),
        search: resolvers.search.clone(),
        diag_sockets: DIAG_SOCKETS,
    }
}

/// Whether this host has a way out over IPv6: a command must not try addresses that nobody can reach. Connecting a datagram
/// socket looks the route up and sends nothing.
fn host_has_ipv6() -> bool {
    let anywhere = SocketAddr::from((PUBLIC_V6, DISCARD_PORT));
    UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).is_ok_and(|socket| socket.connect(anywhere).is_ok())
}

fn not_contained(error: &ContainError) -> ExitCode {
    terminal::complain(&error.to_string());
    ExitCode::from(error.exit_code())
}

fn start_worker(
    contained: &mut Contained,
    args: &ExecArgs,
    resolvers: &Resolvers,
    ebpf: Ebpf,
    packet_dump: Option<PacketDump>,
    shared: &Arc<Shared>,
) -> anyhow::Result<thread::JoinHandle<io::Result<()>>> {
    // The command's process is started already, so it keeps the usual limit.
    let most_sockets = stack::prepare_process();
    let tun = Tun::from_fd(contained.tun.try_clone()?, &OffloadWish::default())?;
    let processes = Arc::new(Processes::default());
    let diag = contained
        .diag
        .pop()
        .context("no socket to ask for the command's sockets")?;
    // Our own sockets are in another network namespace than the command's.
    let senders = senders::attach(ebpf, diag.as_fd(), 0, None);
    let (senders, ebpf) = senders::usable(senders);
    shared.update_capture(|capture| capture.ebpf = ebpf.clone());
    let tables = PathBuf::from(format!("/proc/{}/net", contained.command.pid()));
    let finder = AppFinder::new(diag, contained.device_index, tables, Arc::clone(&processes));
    let config = WorkerConfig {
        stack: stack::config(MTU, tun.caps(), None)?,
        translation: translation(args, resolvers),
        bypass: Bypass::none(),
        identify: Identify::Host(HostFlows::start(finder, processes, senders.map(Arc::new))?),
        strangers: Strangers::Refuse,
        probe: Arc::default(),
        linger: LAST_WORDS,
        most_sockets,
        // Of its own network the command has all ports.
        most_udp: usize::MAX,
        packet_dump,
    };
    let (worker, handle) = Worker::new(tun, config, Arc::clone(shared))?;
    network_watch::start(vec![handle.clone()]).context("cannot watch the network")?;
    shared.on_change(move || handle.tell(worker::Message::Changed));
    let end = shared.end_with("the worker");
    Ok(thread::Builder::new()
        .name("worker-0".to_owned())
        .spawn(move || {
            let _end = end;
            worker.run()
        })?)
}

fn translation(args: &ExecArgs, resolvers: &Resolvers) -> Translation {
    Translation {
        gateway: vec![GATEWAY_V4.into(), GATEWAY_V6.into()],
        resolvers: resolvers.servers.clone(),
        host_loopback: if args.host_loopback {
            HostLoopback::Open
        } else {
            HostLoopback::Closed
        },
    }
}

/// Lets the command begin, waits for its end and passes signals on meanwhile. Without a data plane it is asked to end.
fn run_to_its_end(
    mut command: ContainedCommand,
    shared: &Shared,
    recording: Option<&mut Recording>,
) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    runtime.block_on(async {
        // Before the command begins: it may tell others at once that it can be sent signals.
        let mut child = signal(SignalKind::child())?;
        let mut signals = Forwarded::register()?;
        let changed = Arc::new(Notify::new());
        let change = Arc::clone(&changed);
        shared.on_change(move || change.notify_one());
        // The data plane may have ended before.
        changed.notify_one();
        if let Err(error) = command.start() {
            return Ok(not_contained(&error));
        }
        let mut recorded = pin!(follow(recording));
        loop {
            if let Some(status) = command.try_wait()? {
                return Ok(ExitCode::from(namespaces::exit_code(status)));
            }
            let number = tokio::select! {
                _ = child.recv() => continue,
                () = changed.notified() => {
                    if !shared.lifecycle.is_stopping() {
                        continue;
                    }
                    SignalKind::terminate().as_raw_value()
                }
                number = signals.next() => number,
                () = &mut recorded => continue,
            };
            if let Err(error) = command.signal(number) {
                tracing::debug!(%error, number, "a signal could not be passed on");
            }
        }
    })
}

/// Writes the flows that end, for ever.
async fn follow(recording: Option<&mut Recording>) {
    if let Some(recording) = recording {
        recording.follow().await;
    }
    pending::<()>().await;
}

/// The signals that are passed on to the command.
///
/// What a terminal sends reaches the command by itself, as it is in the same process group; we only must not die of it.
struct Forwarded {
    signals: Vec<(i32, Signal)>,
    /// What the terminal sends to the whole group: kept registered, so that it does not end us.
    _endured: Vec<Signal>,
}

impl Forwarded {
    fn register() -> io::Result<Self> {
        let passed_on = [
            SignalKind::terminate(),
            SignalKind::hangup(),
            SignalKind::user_defined1(),
            SignalKind::user_defined2(),
        ];
        let terminal = [SignalKind::interrupt(), SignalKind::quit()];
        let mut signals = Vec::new();
        let mut endured = Vec::new();
        for kind in passed_on {
            signals.push((kind.as_raw_value(), signal(kind)?));
        }
        for kind in terminal {
            if io::stdin().is_terminal() {
                endured.push(signal(kind)?);
            } else {
                signals.push((kind.as_raw_value(), signal(kind)?));
            }
        }
        Ok(Self {
            signals,
            _endured: endured,
        })
    }

    /// The number of the next signal.
    async fn next(&mut self) -> i32 {
        poll_fn(|context| {
            for (number, signal) in &mut self.signals {
                if signal.poll_recv(context).is_ready() {
                    return Poll::Ready(*number);
                }
            }
            Poll::Pending
        })
        .await
    }
}
