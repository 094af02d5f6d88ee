//! The `[capture]` table.
//!
//! A value is accepted only once it works, so that no one relies on a protection that is not there.

use std::collections::BTreeSet;

use tidegate_policy::document::{Refusal, Section};
use tidegate_routing::plan::{BoundSockets, Fail};

/// How traffic is captured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capture {
    /// Name of the TUN interface.
    pub tun: String,
    /// Interfaces that forwarded packets come in by which are captured too, each once.
    pub forwarded: Vec<String>,
    /// What the host does when we do not run.
    pub fail: Fail,
    /// Who may open connections to this host's services.
    pub inbound: Inbound,
    /// Connections that are older than our start.
    pub existing: Existing,
    /// Sockets bound to a physical device, which go round the TUN.
    pub bound_sockets: BoundSockets,
    /// Packets that carry another program's mark.
    pub foreign_marks: ForeignMarks,
    /// Programs inside the kernel that note who sends datagrams.
    pub ebpf: Ebpf,
}

/// `inbound`: who may open connections to this host's services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inbound {
    /// Everyone, unless a rule with direction `in` says otherwise.
    Listening,
}

/// `existing`: connections that are older than our start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// They go on.
    Pass,
    /// They are reset.
    Reset,
}

/// `strict_marks`: packets that carry another program's mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForeignMarks {
    /// They keep their way: a VPN's own packets, for one.
    Pass,
    /// They are captured as well.
    Capture,
}

/// `ebpf`: programs inside the kernel that note who sends datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ebpf {
    /// Where the system allows it.
    Auto,
    /// Never.
    Off,
}

/// Each is a rule that is tried for every packet.
const MOST_FORWARDED: usize = 64;
/// Longest interface name of Linux (`IFNAMSIZ` less the final zero) in bytes.
const LONGEST_INTERFACE: usize = 15;

impl Default for Capture {
    fn default() -> Self {
        Self {
            tun: "tide0".to_owned(),
            forwarded: Vec::new(),
            fail: Fail::Open,
            inbound: Inbound::Listening,
            existing: Existing::Pass,
            bound_sockets: BoundSockets::Report,
            foreign_marks: ForeignMarks::Pass,
            ebpf: Ebpf::Auto,
        }
    }
}

impl Capture {
    /// Reads `[capture]`; what is absent or wrong keeps its default, and the wrong is noted in the document.
    pub(super) fn read(section: Section<'_>) -> Self {
        let default = Self::default();
        let strict = section.boolean("strict_marks");
        Self {
            tun: section
                .item("tun")
                .and_then(|item| item.parse(interface_name))
                .unwrap_or(default.tun),
            forwarded: read_forwarded(section),
            fail: section
                .choice("fail", &[("open", Fail::Open), ("closed", Fail::Closed)])
                .unwrap_or(default.fail),
            inbound: section
                .choice("inbound", &[("listening", Inbound::Listening)])
                .unwrap_or(default.inbound),
            existing: section
                .choice(
                    "existing",
                    &[("pass", Existing::Pass), ("reset", Existing::Reset)],
                )
                .unwrap_or(default.existing),
            bound_sockets: section
                .choice(
                    "bound_sockets",
                    &[
                        ("report", BoundSockets::Report),
                        ("prohibit", BoundSockets::Prohibit),
                        ("destroy", BoundSockets::Destroy),
                    ],
                )
                .unwrap_or(default.bound_sockets),
            foreign_marks: match strict {
                Some(true) => ForeignMarks::Capture,
                Some(false) | None => default.foreign_marks,
            },
            ebpf: section
                .choice("ebpf", &[("auto", Ebpf::Auto), ("off", Ebpf::Off)])
                .unwrap_or(default.ebpf),
        }
    }
}

fn read_forwarded(section: Section<'_>) -> Vec<String> {
    let Some(item) = section.item("forwarded") else {
        return Vec::new();
    };
    let names = item.elements();
    let names = names.iter().filter_map(|name| name.parse(interface_name));
    let names: BTreeSet<String> = names.collect();
    if names.len() > MOST_FORWARDED {
        let hint = "put them into one bridge, and name that".to_owned();
        item.error(format!("more than {MOST_FORWARDED} interfaces"), Some(hint));
    }
    names.into_iter().collect()
}

/// A name that the kernel takes for an interface (`dev_valid_name`), without `%`, which it would fill in.
fn interface_name(text: &str) -> Result<String, Refusal> {
    let allowed = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'/' | b':' | b'%');
    let named = !matches!(text, "" | "." | "..") && text.len() <= LONGEST_INTERFACE;
    if named && text.bytes().all(allowed) {
        return Ok(text.to_owned());
    }
    Err(Refusal::new(
        format!("{text:?} cannot be the name of an interface"),
        "use 1 to 15 ASCII letters, digits, '-', '_' or '.', e.g. \"tide0\"",
    ))
}
