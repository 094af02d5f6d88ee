//! What processes cost, from `/proc/PID/stat` (proc_pid_stat(5)).

use std::fs;

use anyhow::{Context, Result};

/// Of a clock tick, in which the kernel reports processor time to programs (USER_HZ).
const SECONDS_PER_TICK: f64 = 0.01;

/// A process as `/proc` shows it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) parent: u32,
    /// First 15 bytes of the program's name.
    pub(crate) name: String,
    /// User and system time of all its threads.
    pub(crate) cpu_seconds: f64,
}

impl Process {
    fn parse(stat: &str) -> Option<Self> {
        // The name is in parentheses and may contain any byte, parentheses too.
        let (before, after) = stat.rsplit_once(')')?;
        let (pid, name) = before.split_once(" (")?;
        let fields: Vec<_> = after.split_whitespace().collect();
        let ticks = |field: usize| fields.get(field)?.parse::<u32>().ok().map(f64::from);
        Some(Self {
            pid: pid.parse().ok()?,
            parent: fields.get(1)?.parse().ok()?,
            name: name.to_owned(),
            cpu_seconds: (ticks(11)? + ticks(12)?) * SECONDS_PER_TICK,
        })
    }
}

/// A process and all that descend from it.
pub(crate) fn tree(root: u32) -> Result<Vec<Process>> {
    let mut others = Vec::new();
    for entry in fs::read_dir("/proc").context("cannot list /proc")? {
        let stat = fs::read_to_string(entry?.path().join("stat"));
        // What is no process, or is gone by now, has none.
        others.extend(stat.ok().as_deref().and_then(Process::parse));
    }
    let mut tree: Vec<Process> = Vec::new();
    let mut wanted = vec![root];
    while let Some(pid) = wanted.pop() {
        wanted.extend(
            others
                .iter()
                .filter(|process| process.parent == pid)
                .map(|process| process.pid),
        );
        tree.extend(others.iter().find(|process| process.pid == pid).cloned());
    }
    Ok(tree)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_parentheses_is_one_field() {
        let stat = "42 (a) b (c) S 7 42 42 0 -1 4194304 1 0 0 0 150 50 0 0 20 0 1 0 100 1 1";
        let process = Process {
            pid: 42,
            parent: 7,
            name: "a) b (c".to_owned(),
            cpu_seconds: 2.0,
        };
        assert_eq!(Process::parse(stat), Some(process));
    }

    #[test]
    fn a_child_is_in_its_parents_tree_and_a_stranger_is_not() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .expect("sleep starts");
        let found = tree(std::process::id());
        child.kill().expect("our own child");
        child.wait().expect("our own child");
        let pids: Vec<_> = found
            .expect("/proc is there")
            .iter()
            .map(|process| process.pid)
            .collect();
        assert!(
            pids.contains(&child.id()) && pids.contains(&std::process::id()) && !pids.contains(&1),
            "{pids:?}"
        );
    }
}
