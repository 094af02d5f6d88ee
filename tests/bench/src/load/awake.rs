//! Keeps the processors awake.
//!
//! An idle processor sleeps, above all a virtual one, whose waking up is the hypervisor's business and takes far longer than an answer: who
//! happens to be put on the processor that is awake would win. Programs of the idle class (sched(7)) run only where nobody
//! else wants to, and make way at once.

use std::hint;
use std::path::Path;
use std::process::{Child, Command};
use std::thread;

use anyhow::{Context, Result};

/// A program for each processor, ended when this is dropped.
#[derive(Debug)]
pub(crate) struct Awake(Vec<Child>);

impl Awake {
    pub(super) fn keep(program: &Path) -> Result<Self> {
        let processors =
            thread::available_parallelism().context("how many processors are there")?;
        let mut awake = Self(Vec::new());
        for _ in 0..processors.get() {
            let mut spinning = Command::new("chrt");
            spinning.args(["--idle", "0"]).arg(program).arg("spin");
            let child = spinning.spawn().context("cannot start chrt (util-linux)")?;
            awake.0.push(child);
        }
        Ok(awake)
    }
}

impl Drop for Awake {
    fn drop(&mut self) {
        for child in &mut self.0 {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// Until it is killed.
pub(super) fn spin() -> ! {
    loop {
        hint::spin_loop();
    }
}
