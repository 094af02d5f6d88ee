//! How long something takes with the gateway, against the same without.

use std::thread;

use anyhow::{Result, anyhow, ensure};

/// What is lost, late or out of order follows these: the same with and without the gateway.
const SEEDS: [u64; 5] = [1, 2, 3, 4, 5];
/// Whatever else runs on this machine makes either slower, so a bad comparison counts only if it repeats itself.
const TRIES: u32 = 3;

/// Seconds, by seed.
#[derive(Debug)]
pub struct Compared {
    pub captured: Vec<f64>,
    pub bare: Vec<f64>,
}

impl Compared {
    /// Seconds of each seed's `run`. They wait far more than they compute, so all run at once.
    ///
    /// # Errors
    /// That of the first run that failed.
    pub fn of_each_seed(run: impl Fn(u64) -> Result<f64> + Sync) -> Result<Vec<f64>> {
        thread::scope(|scope| {
            let run = &run;
            let runs = SEEDS.map(|seed| scope.spawn(move || run(seed)));
            let joined = runs.map(|run| run.join().map_err(|_| anyhow!("a transfer panicked"))?);
            joined.into_iter().collect()
        })
    }

    /// Holds the ratio of the medians against `most`.
    ///
    /// # Errors
    /// A run failed, or the ratio is not below `most`.
    pub fn ensure_below(most: f64, compare: impl Fn() -> Result<Self>) -> Result<()> {
        let mut compared = compare()?;
        for _ in 1..TRIES {
            if compared.ratio() < most {
                break;
            }
            compared = compare()?;
        }
        ensure!(compared.ratio() < most, "{compared:?}");
        Ok(())
    }

    fn ratio(&self) -> f64 {
        median(&self.captured) / median(&self.bare)
    }
}

fn median(times: &[f64]) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}
