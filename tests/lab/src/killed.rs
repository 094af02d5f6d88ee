//! Daemons that are killed within a system call: strace counts the main thread's calls and sends SIGKILL at one of them.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::daemon::Daemon;
use crate::network::Lab;
use crate::wait::wait_until;

const PATIENCE: Duration = Duration::from_secs(10);

/// A system call of the daemon's main thread: it is killed as it enters it for this time.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Name of the system call.
    pub call: &'static str,
    /// Counted from 1.
    pub time: u32,
}

impl Step {
    fn options(self) -> [String; 6] {
        let Self { call, time } = self;
        [
            "-qq".to_owned(),
            "--output=/dev/null".to_owned(),
            "-e".to_owned(),
            format!("trace={call}"),
            "-e".to_owned(),
            format!("inject={call}:signal=SIGKILL:when={time}"),
        ]
    }
}

impl Lab {
    /// Starts `tidegate run` and kills it at this step. False if it came to capture all the same: it had no such step.
    pub fn start_killed_at(&self, config: &str, step: Step) -> Result<bool> {
        // -D: the tracer is the grandchild, and the daemon ours.
        let mut strace = self.host.command("strace");
        strace.arg("-D").args(step.options());
        let mut daemon = self.tidegate_by(strace, config, &[])?;
        let mut ended = false;
        wait_until("it is killed or captures", PATIENCE, || {
            ended = daemon.process().has_ended();
            ended || daemon.is_capturing()
        })?;
        if !ended {
            daemon.process().stop()?;
        }
        Ok(ended)
    }
}

impl Daemon<'_> {
    /// Asks it to stop and kills it at this step, counted from now. False if it stopped all the same.
    pub fn stop_killed_at(mut self, step: Step) -> Result<bool> {
        let pid = self.process().pid();
        let mut strace = self.lab().host.command("strace");
        strace.args(step.options()).args(["-p", &pid.to_string()]);
        let _strace = crate::process::Background::start(&mut strace)?;
        wait_until("strace is attached", PATIENCE, || {
            fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|status| {
                status
                    .lines()
                    .any(|line| line.starts_with("TracerPid:") && !line.ends_with("\t0"))
            })
        })?;
        let code = self.process().stop().context("a stop")?;
        Ok(code != 0)
    }
}
