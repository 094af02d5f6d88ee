//! Handing the programs to the kernel. What is needed to know who sends datagrams is needed; each other part is left out where the
//! kernel lacks what it takes, or refuses it.

use std::io;
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::addressed::{self, Scope};
use super::arrivals::{self, Arrivals};
use super::offsets::{ArrivalOffsets, ConnectionOffsets, Described, Offsets};
use super::tally::Tallies;
use super::{Missing, SendersError, egress, records};
use crate::apps::Part;
use crate::sys::bpf::{self, Hook, MapKind};

/// Sizes of the tables. A flood of datagrams pushes older notes out, one of connections those of connections: then what is
/// asked for late is not known.
pub(super) const TUPLES: u32 = 8192;
const SENDERS: u32 = 8192;
const CONNECTIONS: u32 = 8192;
const PROCESSES: u32 = 1024;
const PATHS: u32 = 2048;

/// Has the kernel take a program, as [`bpf::load_program`] does.
pub(super) type Load<'a> = &'a dyn Fn(Hook, &[u64]) -> Result<OwnedFd, (io::Error, String)>;

/// What is written and read.
#[derive(Debug)]
pub(super) struct Tables {
    desks: OwnedFd,
    senders: OwnedFd,
    pub(super) connections: OwnedFd,
    pub(super) processes: OwnedFd,
    pub(super) paths: OwnedFd,
    pub(super) tuples: OwnedFd,
    pub(super) tallies: Tallies,
}

/// What is in the kernel.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) tables: Tables,
    pub(super) arrivals: Option<Arrivals>,
    pub(super) missing: Vec<Missing>,
    /// Each holds its program.
    pub(super) attached: Vec<OwnedFd>,
}

/// Makes the tables.
pub(super) fn tables() -> Result<Tables, SendersError> {
    let map = |kind, key: usize, value: usize, entries| {
        bpf::create_map(kind, key, value, entries).map_err(map_refused)
    };
    let lru = |key, value, entries| map(MapKind::LruHash, key, value, entries);
    let desks = addressed::DESKS.unsigned_abs().into();
    Ok(Tables {
        desks: map(MapKind::Array, 4, addressed::DESK, desks)?,
        senders: lru(8, records::PROCESS, SENDERS)?,
        connections: lru(8, records::CONNECTION, CONNECTIONS)?,
        processes: lru(records::PROCESS, records::DETAILS, PROCESSES)?,
        paths: lru(records::IMAGE, records::PATH, PATHS)?,
        tuples: lru(records::TUPLE, records::SENDS, TUPLES)?,
        tallies: Tallies::create().map_err(map_refused)?,
    })
}

fn map_refused(source: io::Error) -> SendersError {
    SendersError::Map { source }
}

/// Attaches all programs to the root of the control groups.
pub(super) fn load(
    tables: Tables,
    scope: Scope,
    root: BorrowedFd<'_>,
    answering: Option<RangeInclusive<u16>>,
    kernel: Described,
    load: Load<'_>,
) -> Result<Loaded, SendersError> {
    let mut missing = Vec::new();
    let mut lacks = |part, error| missing.push(Missing { part, error });
    let Described {
        senders: offsets,
        connections,
        arrivals,
    } = kernel;
    let senders = |connections| attach_senders(&tables, scope, root, &offsets, connections, load);
    let whole = connections.map_err(SendersError::Description);
    let whole = whole.and_then(|connections| senders(Some(connections)));
    let mut attached = match whole {
        Ok(attached) => attached,
        Err(error) => {
            let attached = senders(None)?;
            lacks(Part::Connections, error);
            attached
        }
    };
    let arrivals = answering.map(|ports| {
        let offsets = arrivals.map_err(SendersError::Description)?;
        attach_arrivals(scope, root, &offsets, &ports, load)
    });
    let arrivals = match arrivals.transpose() {
        Ok(None) => None,
        Ok(Some((arrivals, attachment))) => {
            attached.push(attachment);
            Some(arrivals)
        }
        Err(error) => {
            lacks(Part::Answers, error);
            None
        }
    };
    Ok(Loaded {
        tables,
        arrivals,
        missing,
        attached,
    })
}

/// Those that note who sends, and who begins connections where it is known how.
fn attach_senders(
    tables: &Tables,
    scope: Scope,
    root: BorrowedFd<'_>,
    offsets: &Offsets,
    connections: Option<ConnectionOffsets>,
    load: Load<'_>,
) -> Result<Vec<OwnedFd>, SendersError> {
    let addressed = addressed::program(
        offsets,
        connections.as_ref(),
        addressed::Maps {
            desks: tables.desks.as_fd(),
            senders: tables.senders.as_fd(),
            connections: tables.connections.as_fd(),
            processes: tables.processes.as_fd(),
            paths: tables.paths.as_fd(),
            tallies: tables.tallies.as_fd(),
        },
        scope,
    );
    let egress = egress::program(
        egress::Maps {
            senders: tables.senders.as_fd(),
            tuples: tables.tuples.as_fd(),
            tallies: tables.tallies.as_fd(),
        },
        scope.without_mark,
    );
    [
        (Hook::Connect4, "connect4", &addressed),
        (Hook::Connect6, "connect6", &addressed),
        (Hook::SendMessage4, "sendmsg4", &addressed),
        (Hook::SendMessage6, "sendmsg6", &addressed),
        // Last: it drops what it finds no sender for.
        (Hook::Egress, "egress", &egress),
    ]
    .into_iter()
    .map(|(hook, name, program)| attach(hook, name, program.as_deref(), root, load))
    .collect()
}

fn attach_arrivals(
    scope: Scope,
    root: BorrowedFd<'_>,
    offsets: &ArrivalOffsets,
    ports: &RangeInclusive<u16>,
    load: Load<'_>,
) -> Result<(Arrivals, OwnedFd), SendersError> {
    let arrivals = Arrivals::create().map_err(map_refused)?;
    let program = arrivals::program(offsets, &arrivals, scope, ports);
    let attached = attach(Hook::Ingress, "ingress", program.as_deref(), root, load)?;
    Ok((arrivals, attached))
}

/// The descriptor of the attachment holds the program.
fn attach(
    hook: Hook,
    name: &'static str,
    program: Option<&[u64]>,
    root: BorrowedFd<'_>,
    load: Load<'_>,
) -> Result<OwnedFd, SendersError> {
    let refused = |source, log| SendersError::Program {
        hook: name,
        source,
        log,
    };
    let program =
        program.ok_or_else(|| refused(io::ErrorKind::InvalidData.into(), String::new()))?;
    let program = load(hook, program).map_err(|(source, log)| refused(source, log))?;
    bpf::attach(program.as_fd(), root, hook).map_err(SendersError::Attach)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bpf::btf::BtfError;

    /// Of no network, so nothing is noted.
    const NOWHERE: Scope = Scope {
        network_cookie: 0,
        without_mark: 0,
    };
    const ALL: [Part; 2] = [Part::Connections, Part::Answers];

    fn loaded(kernel: Described, refuses: &dyn Fn(Hook, &[u64]) -> bool) -> (usize, Vec<Part>) {
        let root = super::super::cgroup_root::open().unwrap();
        let or_refuse = |hook: Hook, program: &[u64]| {
            if refuses(hook, program) {
                Err((io::ErrorKind::PermissionDenied.into(), String::new()))
            } else {
                bpf::load_program(hook, program)
            }
        };
        let root = root.as_fd();
        let loaded = load(
            tables().unwrap(),
            NOWHERE,
            root,
            Some(40_000..=50_000),
            kernel,
            &or_refuse,
        );
        let loaded = loaded.unwrap();
        let missing = loaded.missing.iter().map(|missing| missing.part).collect();
        assert_eq!(loaded.arrivals.is_none(), loaded.attached.len() == 5);
        (loaded.attached.len(), missing)
    }

    #[test]
    fn a_part_that_this_kernel_lacks_or_refuses_is_left_out_alone() {
        let whole = || Described::of_kernel().unwrap();
        let lack = |member| BtfError::NoMember {
            structure: "sock",
            member,
        };
        assert_eq!(loaded(whole(), &|_, _| false), (6, vec![]));
        let without = Described {
            connections: Err(lack("sk_socket")),
            ..whole()
        };
        assert_eq!(loaded(without, &|_, _| false), (6, vec![ALL[0]]));
        let without = Described {
            arrivals: Err(lack("sk_net")),
            ..whole()
        };
        assert_eq!(loaded(without, &|_, _| false), (5, vec![ALL[1]]));

        let refuses_arrivals = |hook, _: &[u64]| hook == Hook::Ingress;
        assert_eq!(loaded(whole(), &refuses_arrivals), (5, vec![ALL[1]]));
        // The one with that part is the first that is tried.
        let longest = std::cell::Cell::new(0);
        let refuses_connections = |hook, program: &[u64]| {
            longest.set(longest.get().max(program.len()));
            hook == Hook::Connect4 && program.len() == longest.get()
        };
        assert_eq!(loaded(whole(), &refuses_connections), (6, vec![ALL[0]]));
    }
}
