//! Linux divides root's power into capabilities, and what a program may regain on `exec` is limited by its bounding set
//! (capabilities(7)). All of this belongs to a thread, not to the process.

use std::io;

use rustix::thread::{CapabilitySet, CapabilitySets};

use super::PrivilegeError;

/// What is left of root's power: capabilities, a subset of [`NEEDED`].
pub type Held = CapabilitySet;

/// What the gateway keeps:
/// - `NET_ADMIN`: rules, routes, marks, destroying sockets;
/// - `NET_RAW`: the raw emitter, ICMP;
/// - `NET_BIND_SERVICE`: answering DNS on port 53;
/// - `SYS_PTRACE`, `DAC_READ_SEARCH`: reading the executables and descriptors of other users' processes.
pub const NEEDED: CapabilitySet = CapabilitySet::NET_ADMIN
    .union(CapabilitySet::NET_RAW)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::SYS_PTRACE)
    .union(CapabilitySet::DAC_READ_SEARCH);

/// What a command that root contains keeps, within its own user namespace: root's usual access to files, and what it takes
/// to become another user. Nothing over mounts, the network's configuration or other processes.
const COMMAND_OF_ROOT: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::NET_RAW)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::AUDIT_WRITE);

fn cannot(action: &'static str) -> impl FnOnce(rustix::io::Errno) -> PrivilegeError {
    move |error| PrivilegeError {
        action,
        source: error.into(),
    }
}

pub(super) fn drop_to_needed() -> Result<Held, Vec<PrivilegeError>> {
    let mut errors = Vec::new();
    let held = match rustix::thread::capabilities(None) {
        Ok(sets) => sets.permitted & NEEDED,
        Err(error) => return Err(vec![cannot("read capabilities")(error)]),
    };
    errors.extend(limit_bounding_set(NEEDED).err());
    errors.extend(
        rustix::thread::clear_ambient_capability_set()
            .map_err(cannot("clear ambient capabilities"))
            .err(),
    );
    let sets = CapabilitySets {
        effective: held,
        permitted: held,
        inheritable: CapabilitySet::empty(),
    };
    errors.extend(
        rustix::thread::set_capabilities(None, sets)
            .map_err(cannot("reduce capabilities"))
            .err(),
    );
    errors.extend(
        rustix::thread::set_no_new_privs(true)
            .map_err(cannot("set no_new_privs"))
            .err(),
    );
    if errors.is_empty() {
        Ok(held)
    } else {
        Err(errors)
    }
}

/// Leaves a contained command what it may have. For an ordinary user that is nothing, for good: `exec` clears his
/// capabilities anyway, and with `no_new_privs` no program gives him any, be it by its file or by a set-user-id bit.
///
/// His bounding set stays whole: without a capability in it the kernel refuses to run a program whose file carries that
/// one, as `ping` carries `NET_RAW` (capabilities(7), "safety checking for capability-dumb binaries").
pub(crate) fn confine_command(owner: CommandOwner) -> io::Result<()> {
    let kept = match owner {
        CommandOwner::Root => {
            limit_bounding_set(COMMAND_OF_ROOT).map_err(|error| error.source)?;
            COMMAND_OF_ROOT
        }
        CommandOwner::OrdinaryUser => CapabilitySet::empty(),
    };
    rustix::thread::clear_ambient_capability_set()?;
    let held = rustix::thread::capabilities(None)?.permitted & kept;
    let sets = CapabilitySets {
        effective: held,
        permitted: held,
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, sets)?;
    if owner == CommandOwner::OrdinaryUser {
        // For root it would only break sudo, which the bounding set already keeps in its place.
        rustix::thread::set_no_new_privs(true)?;
    }
    Ok(())
}

/// Whose command is contained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CommandOwner {
    Root,
    OrdinaryUser,
}

/// Removes every capability that this kernel has and `kept` lacks. Without `CAP_SETPCAP` nothing can be removed; then
/// only a set-user-id program could regain anything, and `no_new_privs` prevents that.
fn limit_bounding_set(kept: CapabilitySet) -> Result<(), PrivilegeError> {
    for number in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        match rustix::thread::capability_is_in_bounding_set(capability) {
            Ok(true) if !kept.contains(capability) => {
                rustix::thread::remove_capability_from_bounding_set(capability)
                    .map_err(cannot("reduce the capability bounding set"))?;
            }
            Ok(_) => {}
            Err(_) => break, // beyond the last one that the kernel knows
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Capabilities belong to the thread, so the test's own are not affected.
    fn on_a_thread<T: Send>(test: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| scope.spawn(test).join().unwrap())
    }

    fn own_status(field: &str) -> u64 {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap()
    }

    #[test]
    fn only_the_needed_capabilities_are_left() {
        on_a_thread(|| {
            assert!(
                own_status("CapPrm:") & CapabilitySet::SYS_ADMIN.bits() != 0,
                "this test runs as root"
            );
            let left = drop_to_needed().unwrap();
            assert_eq!(left, NEEDED);
            for field in ["CapPrm:", "CapEff:", "CapBnd:"] {
                assert_eq!(own_status(field), NEEDED.bits(), "{field}");
            }
            assert_eq!(own_status("CapInh:"), 0);
            assert_eq!(own_status("NoNewPrivs:"), 1);
        });
    }

    #[test]
    fn a_program_started_later_cannot_mount() {
        on_a_thread(|| {
            drop_to_needed().unwrap();
            let tried = std::process::Command::new("mount")
                .args(["-t", "tmpfs", "none", "/mnt"])
                .output()
                .unwrap();
            assert!(!tried.status.success());
        });
    }

    #[test]
    fn a_command_of_an_ordinary_user_keeps_nothing_and_one_of_root_no_power_over_mounts_and_network()
     {
        on_a_thread(|| {
            confine_command(CommandOwner::OrdinaryUser).unwrap();
            assert_eq!((own_status("CapPrm:"), own_status("NoNewPrivs:")), (0, 1));
        });
        on_a_thread(|| {
            confine_command(CommandOwner::Root).unwrap();
            let forbidden =
                CapabilitySet::SYS_ADMIN | CapabilitySet::NET_ADMIN | CapabilitySet::SYS_PTRACE;
            assert_eq!(own_status("CapBnd:") & forbidden.bits(), 0);
        });
    }
}
