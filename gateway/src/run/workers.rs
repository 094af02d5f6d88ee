//! The devices of host capture and the workers that serve them: one for what this host sends, and one for what it forwards,
//! where that is captured.
//!
//! The two share nothing: what comes out of the second device is another's, whatever addresses it has, and its flows are in
//! tables of their own.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, bail};
use tidegate_netstack::{CongestionControl, IdleLimits, StackConfig};
use tidegate_platform::apps::{AppFinder, DiagSocket, Processes, Senders};
use tidegate_platform::bypass::Bypass;
use tidegate_platform::conntrack::Conntrack;
use tidegate_platform::emit::RawEmitter;
use tidegate_platform::link::{self, LinkSettings};
use tidegate_platform::tun::{Tun, TunConfig};
use tidegate_routing::plan::{CaptureOptions, HostFacts, MARK, tun_mtu, uplink_mtu};
use tidegate_routing::target::Translation;

use super::plan_keeper::PlanKeeper;
use super::{ephemeral_ports, packet_size};
use crate::config::Existing;
use crate::probe::Probe;
use crate::shared::Shared;
use crate::worker::{
    ForwardedFlows, Handle, HostFlows, Identify, Message, Strangers, Worker, WorkerConfig,
};
use crate::{network_watch, stack};

/// Bytes of TCP buffers for all forwarded flows.
const FORWARDED_BUFFERS: usize = 512 << 20;

/// The TUN devices.
pub(super) struct Devices {
    own: Tun,
    forwarded: Option<Tun>,
}

/// What the workers work with.
pub(super) struct Means {
    pub(super) existing: Existing,
    pub(super) senders: Option<Arc<Senders>>,
    pub(super) probe: Arc<Probe>,
}

/// The running workers. The first serves what this host sends.
pub(super) struct Workers {
    threads: Vec<JoinHandle<io::Result<()>>>,
    handles: Vec<Handle>,
    most_sockets: usize,
    most_udp: usize,
    /// Kept until the rules are gone: without its device a rule would lead nowhere, or to `unreachable`.
    devices: Vec<OwnedFd>,
}

impl Devices {
    pub(super) fn create(facts: &HostFacts, options: &CaptureOptions) -> anyhow::Result<Self> {
        let mtu = packet_size(tun_mtu(facts, options));
        let forwarded = (!options.forwarded.is_empty()).then(|| options.forwarded_tun());
        Ok(Self {
            own: create_device(options.tun.clone(), mtu, LinkSettings::default())?,
            forwarded: forwarded
                .map(|name| {
                    let settings = LinkSettings {
                        forwards: true,
                        ..LinkSettings::default()
                    };
                    create_device(name, mtu, settings)
                })
                .transpose()?,
        })
    }
}

fn create_device(name: String, mtu: u16, settings: LinkSettings) -> anyhow::Result<Tun> {
    let tun = Tun::create(&TunConfig {
        mtu,
        ..TunConfig::named(name)
    })?;
    let settings = LinkSettings {
        up: true,
        mtu: Some(mtu.into()),
        unnumbered: true,
        ..settings
    };
    link::configure(tun.name(), &settings)?;
    Ok(tun)
}

impl Workers {
    pub(super) fn start(
        devices: Devices,
        keeper: &mut PlanKeeper,
        facts: &HostFacts,
        means: Means,
        shared: &Arc<Shared>,
    ) -> anyhow::Result<Self> {
        let most_sockets = stack::prepare_process();
        let tuns = [Some(&devices.own), devices.forwarded.as_ref()];
        let kept = tuns.into_iter().flatten();
        let kept = kept.map(|tun| tun.as_fd().try_clone_to_owned());
        let count = tuns.into_iter().flatten().count().max(1);
        let mut workers = Self {
            devices: kept.collect::<io::Result<_>>()?,
            threads: Vec::new(),
            handles: Vec::new(),
            // Each worker takes no more than its part.
            most_sockets: most_sockets / count,
            most_udp: stack::most_udp(ephemeral_ports(facts).as_ref(), count),
        };
        let processes = Arc::new(Processes::default());
        let limits = StackConfig {
            service_ports: keeper.datagram_ports()?,
            ..limits(&devices.own, facts)?
        };
        let identify = host_flows(&devices.own, &processes, means.senders.clone())?;
        workers.add(
            devices.own,
            limits,
            Identify::Host(identify),
            &means,
            shared,
        )?;
        if let Some(tun) = devices.forwarded {
            let limits = forwarded_limits(self::limits(&tun, facts)?);
            let conntrack = Conntrack::open()?;
            let flows = ForwardedFlows::start(conntrack, processes, ephemeral_ports(facts))?;
            workers.add(tun, limits, Identify::Forwarded(flows), &means, shared)?;
        }
        network_watch::start(workers.handles.clone()).context("cannot watch the network")?;
        Ok(workers)
    }

    fn add(
        &mut self,
        tun: Tun,
        stack: StackConfig,
        identify: Identify,
        means: &Means,
        shared: &Arc<Shared>,
    ) -> anyhow::Result<()> {
        let bypass = Bypass::marked(MARK);
        let config = WorkerConfig {
            translation: Translation::default(),
            identify,
            strangers: Strangers::Host {
                emitter: RawEmitter::open(&bypass)
                    .context("cannot open raw sockets: root is needed")?,
                mtu: stack.mtu.into(),
                existing: means.existing,
            },
            stack,
            bypass,
            probe: Arc::clone(&means.probe),
            // The programs live on, and so does what they have to say.
            linger: Duration::ZERO,
            most_sockets: self.most_sockets,
            most_udp: self.most_udp,
            packet_dump: None,
        };
        let (worker, handle) = Worker::new(tun, config, Arc::clone(shared))?;
        let changed = handle.clone();
        shared.on_change(move || changed.tell(Message::Changed));
        let end = shared.end_with("the worker");
        let thread = thread::Builder::new()
            .name(format!("worker-{}", self.threads.len()))
            .spawn(move || {
                let _end = end;
                worker.run()
            })?;
        self.threads.push(thread);
        self.handles.push(handle);
        Ok(())
    }

    pub(super) fn handles(&self) -> &[Handle] {
        &self.handles
    }

    /// Waits for their end, once the rules are gone.
    pub(super) fn join(self) -> anyhow::Result<()> {
        drop(self.devices);
        let ends: Vec<_> = self.threads.into_iter().map(JoinHandle::join).collect();
        for end in ends {
            match end {
                Ok(ended) => ended.context("the data plane failed")?,
                Err(_) => {
                    bail!("the data plane panicked; please report this with the message above")
                }
            }
        }
        Ok(())
    }
}

fn limits(tun: &Tun, facts: &HostFacts) -> anyhow::Result<StackConfig> {
    let mtu = packet_size(uplink_mtu(facts).unwrap_or(u32::MAX));
    Ok(stack::config(mtu, tun.caps(), ephemeral_ports(facts))?)
}

/// Between us and these clients there are links that lose packets. Who spoke first is known better than by ports, and a flow
/// whose addresses the host has translated is forgotten before the kernel's own table would let another have them
/// (`nf_conntrack_udp_timeout`, 30 s, `..._stream`, 120 s, `nf_conntrack_icmp_timeout`, 30 s).
fn forwarded_limits(limits: StackConfig) -> StackConfig {
    StackConfig {
        ephemeral_ports: None,
        congestion: CongestionControl::Cubic,
        buffer_budget: FORWARDED_BUFFERS,
        idle: IdleLimits {
            udp_unanswered: Duration::from_secs(25),
            udp_answered: Duration::from_secs(110),
            quic: Duration::from_secs(110),
            echo: Duration::from_secs(25),
            ..limits.idle
        },
        ..limits
    }
}

fn host_flows(
    tun: &Tun,
    processes: &Arc<Processes>,
    senders: Option<Arc<Senders>>,
) -> anyhow::Result<HostFlows> {
    let device = link::index(tun.name())?;
    if let Some(senders) = &senders {
        senders.leave_out_device(device)?;
    }
    let finder = AppFinder::new(
        DiagSocket::open()?,
        device,
        "/proc/self/net".into(),
        Arc::clone(processes),
    );
    let flows = HostFlows::start(finder, Arc::clone(processes), senders)?;
    Ok(flows.behind_translation())
}
