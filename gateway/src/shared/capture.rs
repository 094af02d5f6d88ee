//! How packets reach the gateway, what it cannot see, and whether all is well.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use tidegate_platform::apps::Part;
use tidegate_routing::plan::Family;

/// Whose packets are captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CaptureKind {
    /// One command in a network namespace of its own.
    Exec,
    /// The whole machine, by policy routing.
    Host,
}

/// The capture as `tidegate status` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaptureStatus {
    /// Whose packets are captured.
    pub kind: CaptureKind,
    /// Name of the TUN interface.
    pub interface: String,
    /// What is captured of packets that this host forwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forwarded: Option<ForwardedStatus>,
    /// The ways out of the host.
    pub uplinks: Vec<UplinkStatus>,
    /// What is wrong now, in words, each with what to do about it; empty when all is well.
    pub problems: Vec<String>,
    /// Rules of other programs that stood ahead of ours, as `ip rule` prints them; ours were put ahead again.
    #[serde(default)]
    pub overtaken: Vec<String>,
    /// Whether the kernel notes who sends datagrams.
    #[serde(default)]
    pub ebpf: EbpfStatus,
}

/// Whether the kernel notes who sends datagrams. If it does, a program is known that sends one and is gone at once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", content = "reason", rename_all = "lowercase")]
pub enum EbpfStatus {
    /// It does.
    On,
    /// It does, and what else it could note it does not.
    Partly(Vec<MissingPart>),
    /// It is not asked to.
    #[default]
    Off,
    /// It refuses, and why.
    Refused(String),
}

/// What eBPF is not used for, although it could be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissingPart {
    /// Which part.
    pub part: Part,
    /// Why.
    pub error: String,
}

/// What is captured of packets that this host forwards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForwardedStatus {
    /// Name of the TUN interface that they go to.
    pub interface: String,
    /// The interfaces that they come in by.
    pub inputs: Vec<String>,
    /// Those of them that are not there now.
    pub missing: Vec<String>,
}

/// A way out of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UplinkStatus {
    /// Address family.
    pub family: Family,
    /// Interface name.
    pub device: String,
    /// Source address that the kernel chooses there.
    pub source: Option<IpAddr>,
    /// Interface of another program's VPN that our own packets to distant hosts leave through instead.
    #[serde(default)]
    pub tunnel: Option<String>,
}

const CONTAINERS: &str = "other network namespaces, containers among them";
const FORWARDED_CONTAINERS: &str = "other network namespaces but for what they send through the forwarded interfaces to distant hosts";

impl CaptureStatus {
    /// A capture that starts well.
    pub fn new(kind: CaptureKind, interface: impl Into<String>) -> Self {
        Self {
            kind,
            interface: interface.into(),
            forwarded: None,
            uplinks: Vec::new(),
            problems: Vec::new(),
            overtaken: Vec::new(),
            ebpf: EbpfStatus::default(),
        }
    }

    /// What this capture does not see, one sentence each.
    pub fn blind_spots(&self) -> Vec<String> {
        let is_forwarded = self.forwarded.is_some();
        let spots = self.kind.blind_spots().iter().map(|&spot| match spot {
            CONTAINERS if is_forwarded => FORWARDED_CONTAINERS,
            spot => spot,
        });
        let spots = spots.map(str::to_owned);
        let missed = self.kind.blind_without_ebpf().iter();
        let missed = missed.filter_map(|(part, missed)| self.ebpf.blind_spot(*part, missed));
        spots.chain(missed).collect()
    }
}

impl EbpfStatus {
    /// What is `missed` because of it; `part` says what would note it, if not that which notes who sends.
    fn blind_spot(&self, part: Option<Part>, missed: &str) -> Option<String> {
        match self {
            Self::On => None,
            Self::Partly(missing) => {
                let missing = missing.iter().find(|one| Some(one.part) == part)?;
                Some(format!("{missed}: {}", missing.error))
            }
            Self::Off => Some(format!("{missed}, as eBPF is off")),
            Self::Refused(reason) => Some(format!("{missed}, as eBPF cannot be used: {reason}")),
        }
    }

    /// What it is used for, in words; none where it is not.
    pub fn uses(&self) -> Option<String> {
        const SENDERS: &str = "eBPF tells who sends a datagram and is gone at once";
        let slow = match self {
            Self::On => None,
            Self::Partly(missing) => missing.iter().find(|one| one.part == Part::Connections),
            Self::Off | Self::Refused(_) => return None,
        };
        let slow = slow.map(|missing| {
            let error = &missing.error;
            format!("; who begins a connection is searched for, which takes longer: {error}")
        });
        Some(format!("{SENDERS}{}", slow.unwrap_or_default()))
    }
}

impl CaptureKind {
    /// What is not seen where eBPF is off or refused, or a part of it.
    fn blind_without_ebpf(self) -> &'static [(Option<Part>, &'static str)] {
        const GONE: (Option<Part>, &str) = (
            None,
            "which program sent a datagram and closed its socket at once",
        );
        match self {
            Self::Exec => &[GONE],
            Self::Host => &[
                GONE,
                (
                    Some(Part::Answers),
                    "that a peer spoke first to a UDP service that started later on a port of ip_local_port_range (its answers leave from another port)",
                ),
            ],
        }
    }

    fn blind_spots(self) -> &'static [&'static str] {
        match self {
            Self::Exec => &[
                "traffic over the loopback inside the command's own namespace",
                "path-named UNIX sockets let in with --socket",
            ],
            Self::Host => &[
                "loopback",
                "what sockets bound to a physical device send (SO_BINDTODEVICE): not judged, shown as leaks",
                "packets with another program's mark, unless capture.strict_marks is set: likewise",
                "AF_PACKET sockets: likewise, but for PACKET_QDISC_BYPASS and AF_XDP",
                CONTAINERS,
                "UDP that arrives unasked",
                "multicast, limited broadcast, DHCP and IPv6 link-local",
            ],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_ebpf_that_is_missing_is_said_with_what_is_missed() {
        let missing = |part| MissingPart {
            part,
            error: "the kernel refuses it".to_owned(),
        };
        let status = |missing| CaptureStatus {
            ebpf: EbpfStatus::Partly(vec![missing]),
            ..CaptureStatus::new(CaptureKind::Host, "tide0")
        };
        let answers = status(missing(Part::Answers));
        let spots = answers.blind_spots();
        let said = spots.iter().find(|spot| spot.contains("refuses it"));
        assert!(said.is_some_and(|said| said.contains("peer spoke first")));
        assert!(!spots.iter().any(|spot| spot.contains("closed its socket")));
        assert!(!answers.ebpf.uses().unwrap().contains("refuses it"));

        let connections = status(missing(Part::Connections));
        let spots = connections.blind_spots();
        assert!(!spots.iter().any(|spot| spot.contains("refuses it")));
        let uses = connections.ebpf.uses().unwrap();
        assert!(uses.contains("searched for") && uses.contains("refuses it"));
        assert_eq!(EbpfStatus::Off.uses(), None);
    }
}
