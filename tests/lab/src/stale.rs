//! Cleans up after a lab whose process was killed: its directories, and programs that it had started.
//!
//! Every program that a lab starts carries [`MARK`] in its environment: the pid and start time of the lab's process. The
//! start time tells a process from a later one with the same pid.

use std::fs;
use std::sync::OnceLock;

use crate::sys::{self, Receiver};

/// Environment variable that says whose lab started a program.
pub(crate) const MARK: &str = "TIDEGATE_LAB";
/// Where the labs' directories are.
pub(crate) const PARENT: &str = "/var/tmp";
/// How the names of the labs' directories begin; the pid of the lab's process follows.
pub(crate) const PREFIX: &str = "tidegate-lab-";

/// The value of [`MARK`] for programs of this process.
pub(crate) fn own_mark() -> &'static str {
    static MARK: OnceLock<String> = OnceLock::new();
    MARK.get_or_init(|| {
        let pid = std::process::id();
        format!("{pid}:{}", start_time(pid).unwrap_or_default())
    })
}

/// Ends the programs and removes the directories of labs whose process is gone. Whatever fails is left to the next sweep.
pub(crate) fn sweep() {
    for pid in processes() {
        if is_orphan(pid) {
            drop(sys::send_signal(Receiver::Process(pid), libc::SIGKILL));
        }
    }
    let Ok(entries) = fs::read_dir(PARENT) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let owner = name
            .to_str()
            .and_then(|name| name.strip_prefix(PREFIX))
            .and_then(|rest| rest.split_once('-'));
        let owner = owner.and_then(|(pid, _)| pid.parse().ok());
        if owner.is_some_and(|pid| start_time(pid).is_none()) {
            drop(fs::remove_dir_all(entry.path()));
        }
    }
}

/// Whether a process was started by a lab that is gone.
fn is_orphan(pid: u32) -> bool {
    fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environment| is_of_the_dead(&environment))
}

/// The same, of the process's environment.
fn is_of_the_dead(environment: &[u8]) -> bool {
    let mark = environment.split(|byte| *byte == 0).find_map(|variable| {
        let value = std::str::from_utf8(variable)
            .ok()?
            .strip_prefix(MARK)?
            .strip_prefix('=')?;
        let (owner, started) = value.split_once(':')?;
        Some((owner.parse::<u32>().ok()?, started.to_owned()))
    });
    mark.is_some_and(|(owner, started)| start_time(owner).is_none_or(|now| now != started))
}

/// Field 22 of `/proc/PID/stat`, in clock ticks since the machine started; see proc_pid_stat(5). `None` for a process that
/// is gone, even if nobody has waited for it yet.
fn start_time(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, field 2, is in parentheses and may contain any byte, parentheses too.
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace();
    let state = fields.next()?;
    if ["Z", "X"].contains(&state) {
        return None;
    }
    fields.nth(18).map(str::to_owned)
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_of_a_lab_that_lives_is_left_alone() {
        assert!(!is_of_the_dead(
            format!("HOME=/\0{MARK}={}\0", own_mark()).as_bytes()
        ));
    }

    #[test]
    fn a_program_of_a_process_that_had_our_pid_before_us_is_an_orphan() {
        assert!(is_of_the_dead(
            format!("HOME=/\0{MARK}={}:1\0", std::process::id()).as_bytes()
        ));
    }

    #[test]
    fn a_program_without_a_readable_mark_is_not_ours_to_kill() {
        for environment in [
            "",
            "HOME=/\0",
            "TIDEGATE_LAB=\0",
            "TIDEGATE_LAB=x:y\0",
            "TIDEGATE_LABEL=1:1\0",
        ] {
            assert!(!is_of_the_dead(environment.as_bytes()), "{environment:?}");
        }
    }
}
