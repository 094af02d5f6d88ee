//! A bad link between two machines: a TAP device in each, and a thread for each direction that carries the frames.
//!
//! Kernels that have `netem` do this by themselves; many do not. Frames are no larger than the devices' MTU, so a loss is
//! that of a packet, as on a wire.

use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read, Write, pipe};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use anyhow::{Context, Result};

use crate::impairment::{Counts, Direction, Impairment, Way};
use crate::namespace::Namespace;
use crate::sys;

/// Frames that the kernel keeps for us while we do not run: more than a window of TCP, so that only chance loses any.
const KEPT: u32 = 20_000;
/// Frames that are read before those are looked after whose time may have come.
const BATCH: usize = 64;
const LARGEST_FRAME: usize = 65_550;

/// Two TAP devices joined by a bad link; cut when dropped.
#[derive(Debug)]
pub struct ImpairedLink {
    there: Carrier,
    back: Carrier,
}

impl ImpairedLink {
    /// Makes a device of the given name in each machine, not yet up, and joins them.
    pub(crate) fn between(
        (here, near): (&Namespace, &str),
        (there, far): (&Namespace, &str),
        impairment: Impairment,
    ) -> Result<Self> {
        let (near, far) = (tap(here, near)?, tap(there, far)?);
        let (near, far) = (Arc::new(near), Arc::new(far));
        let ways = [Direction::There, Direction::Back].map(|to| Way::new(impairment, to));
        let [there, back] = ways;
        Ok(Self {
            there: Carrier::start(Arc::clone(&near), Arc::clone(&far), there)?,
            back: Carrier::start(far, near, back)?,
        })
    }

    /// What happened to packets in this direction until now.
    pub fn counts(&self, direction: Direction) -> Counts {
        let carrier = match direction {
            Direction::There => &self.there,
            Direction::Back => &self.back,
        };
        *carrier
            .counts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn tap(machine: &Namespace, name: &str) -> Result<File> {
    let device = machine.inside(|| sys::tap(name))?;
    let device = device.with_context(|| format!("cannot make the TAP device {name}"))?;
    machine.ip(&format!("link set {name} txqueuelen {KEPT}"))?;
    Ok(device.into())
}

/// The thread of one direction.
#[derive(Debug)]
struct Carrier {
    counts: Arc<Mutex<Counts>>,
    /// Closing it ends the thread.
    stop: Option<PipeWriter>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Carrier {
    fn start(from: Arc<File>, to: Arc<File>, way: Way) -> Result<Self> {
        let (stopped, stop) = pipe().context("cannot make a pipe")?;
        let counts = Arc::<Mutex<Counts>>::default();
        let shown = Arc::clone(&counts);
        let thread = thread::spawn(move || carry(&from, &to, &stopped, way, &shown));
        Ok(Self {
            counts,
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Carrier {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A link that failed has shown itself as one that carries nothing.
            drop(thread.join());
        }
    }
}

fn carry(
    mut from: &File,
    mut to: &File,
    stopped: &PipeReader,
    mut way: Way,
    shown: &Mutex<Counts>,
) -> io::Result<()> {
    // A link does not wait for the programs at its ends.
    sys::hurry()?;
    let mut buffer = vec![0; LARGEST_FRAME];
    loop {
        // Whoever has seen a packet finds it counted.
        *shown.lock().unwrap_or_else(PoisonError::into_inner) = way.counts();
        while let Some(frame) = way.poll_frame(Instant::now()) {
            // A device that is down takes none: lost, as on a wire without a listener.
            drop(to.write(&frame));
        }
        let pause = way
            .poll_timeout()
            .map(|due| due.saturating_duration_since(Instant::now()));
        if sys::wait_readable(from, stopped, pause)? == sys::Readable::Second {
            return Ok(());
        }
        for _ in 0..BATCH {
            match from.read(&mut buffer) {
                Ok(length) => way.handle_frame(Instant::now(), &buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
    }
}
