//! What processes cost, from `/proc/PID/stat` (proc_pid_stat(5)) and the status of their threads.

use std::fs;

use anyhow::{Context, Result};

use crate::load;

/// Of a clock tick, in which the kernel reports processor time to programs (USER_HZ).
const SECONDS_PER_TICK: f64 = 0.01;
/// What `VmRSS` counts in.
const BYTES_PER_KILOBYTE: f64 = 1_024.0;

/// Programs on a contender's client side: theirs is not the gateway's time.
const CLIENTS: [&str; 3] = ["bash", "sleep", load::NAME];

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

    /// Memory that is in RAM, in bytes: what the kernel keeps for its sockets is not in it.
    pub(crate) fn resident_bytes(&self) -> Result<f64> {
        let path = format!("/proc/{}/status", self.pid);
        let status = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        Ok(field(&status, "VmRSS:")? * BYTES_PER_KILOBYTE)
    }

    /// How often its threads have been woken from a wait.
    pub(crate) fn wake_ups(&self) -> Result<f64> {
        let threads = format!("/proc/{}/task", self.pid);
        let mut wake_ups = 0.0;
        for thread in fs::read_dir(&threads).with_context(|| format!("cannot list {threads}"))? {
            let status = fs::read_to_string(thread?.path().join("status"))
                .context("cannot read a thread's status")?;
            wake_ups += field(&status, "voluntary_ctxt_switches:")?;
        }
        Ok(wake_ups)
    }
}

/// The processes of a gateway, whenever they were started, without the programs behind it.
#[derive(Clone, Debug)]
pub(crate) struct Gateway {
    roots: Vec<u32>,
}

impl Gateway {
    /// These, and those that descend from them.
    pub(crate) fn below(roots: Vec<u32>) -> Self {
        Self { roots }
    }

    /// Processor time that it has taken until now.
    pub(crate) fn cpu_seconds(&self) -> Result<f64> {
        Ok(self
            .processes()?
            .iter()
            .map(|process| process.cpu_seconds)
            .sum())
    }

    /// Memory that it has in RAM, in bytes.
    pub(crate) fn resident_bytes(&self) -> Result<f64> {
        self.processes()?.iter().map(Process::resident_bytes).sum()
    }

    /// How often its threads have been woken.
    pub(crate) fn wake_ups(&self) -> Result<f64> {
        self.processes()?.iter().map(Process::wake_ups).sum()
    }

    fn processes(&self) -> Result<Vec<Process>> {
        let trees: Result<Vec<_>> = self.roots.iter().map(|root| tree(*root)).collect();
        let mut gateway = trees?.concat();
        gateway.retain(|process| !CLIENTS.contains(&process.name.as_str()));
        Ok(gateway)
    }
}

/// Processor time that everybody on this machine has taken: what the kernel does for a gateway while others run is in it.
pub(crate) fn machine_seconds() -> Result<f64> {
    let path = "/proc/stat";
    let stat = fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    let ticks = busy_ticks(&stat).with_context(|| format!("{path} is not as expected"))?;
    Ok(ticks * SECONDS_PER_TICK)
}

/// All but the time of idleness and of waiting for disks, the fourth and fifth of the first seven fields (proc_stat(5)). Those
/// that follow are not ours: time that the hypervisor took, and guests' time, which is in the first already.
fn busy_ticks(stat: &str) -> Option<f64> {
    let fields = stat
        .lines()
        .next()?
        .strip_prefix("cpu ")?
        .split_whitespace();
    let ticks: Option<Vec<f64>> = fields.take(7).map(|field| field.parse().ok()).collect();
    let busy = ticks?;
    let idle = busy.get(3)? + busy.get(4)?;
    Some(busy.iter().sum::<f64>() - idle)
}

/// A number from a `status` file.
fn field(status: &str, name: &str) -> Result<f64> {
    let number = status.lines().find_map(|line| {
        let value = line.strip_prefix(name)?.split_whitespace().next()?;
        value.parse().ok()
    });
    number.with_context(|| format!("the status of a process has no {name}"))
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

    fn own() -> Process {
        let own = tree(std::process::id()).expect("/proc is there");
        own.into_iter().next().expect("we run")
    }

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
    fn waiting_is_not_busy() {
        let stat = "cpu  100 20 30 9000 500 6 7 8 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n";
        assert_eq!(busy_ticks(stat), Some(163.0));
        assert_eq!(busy_ticks("cpu  1 2"), None);
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

    #[test]
    fn memory_that_is_touched_is_resident() {
        let before = own().resident_bytes().expect("our own status");
        let memory = std::hint::black_box(vec![1_u8; 64 << 20]);
        let after = own().resident_bytes().expect("our own status");
        assert!(after - before > 60e6, "{before} {after} {}", memory.len());
    }

    #[test]
    fn a_wait_is_a_wake_up() {
        let before = own().wake_ups().expect("our own threads");
        std::thread::sleep(std::time::Duration::from_millis(1));
        assert!(own().wake_ups().expect("our own threads") > before);
    }
}
