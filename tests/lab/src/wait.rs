//! Waiting for a condition, instead of sleeping and hoping.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

const PAUSE: Duration = Duration::from_millis(20);

/// Asks again and again until the condition holds. The error names what was waited for.
pub fn wait_until(what: &str, patience: Duration, mut holds: impl FnMut() -> bool) -> Result<()> {
    let deadline = Instant::now() + patience;
    while !holds() {
        if Instant::now() >= deadline {
            bail!("waited {patience:?} in vain until {what}");
        }
        thread::sleep(PAUSE);
    }
    Ok(())
}
