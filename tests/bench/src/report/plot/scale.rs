//! A vertical axis: how high a value lies on it, and which values it names.

use std::ops::RangeInclusive;

/// More named values than this crowd an axis.
const TICKS: usize = 7;
/// Powers of ten that figures may have.
const POWERS: RangeInclusive<i32> = -6..=9;

/// From the bottom to the top.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Scale {
    kind: Kind,
    /// The values that it names: the first is the bottom, the last the top.
    ticks: Vec<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Equal distances for equal differences.
    Linear,
    /// Equal distances for equal ratios.
    Logarithmic,
}

impl Scale {
    /// From zero.
    pub(super) fn linear(values: &[f64]) -> Self {
        let most = highest(values);
        let round = round_numbers(&[1.0, 2.0, 5.0]);
        let coarse = |step: &f64| most / step <= (TICKS - 1) as f64;
        let step = round.into_iter().find(coarse).unwrap_or(most);
        let mut ticks = vec![0.0, step];
        while ticks.len() < TICKS && ticks[ticks.len() - 1] < most {
            ticks.push(ticks.len() as f64 * step);
        }
        Self {
            kind: Kind::Linear,
            ticks,
        }
    }

    /// For values above zero.
    pub(super) fn logarithmic(values: &[f64]) -> Self {
        let least = values.iter().copied().fold(f64::INFINITY, f64::min);
        let most = highest(values);
        let around = |mantissas: &[f64]| {
            let round = round_numbers(mantissas);
            let first = round.iter().rposition(|number| *number <= least);
            let last = round.iter().position(|number| *number > most);
            round[first.unwrap_or(0)..=last.unwrap_or(round.len() - 1)].to_vec()
        };
        let fine = around(&[1.0, 2.0, 5.0]);
        let ticks = if fine.len() <= TICKS {
            fine
        } else {
            around(&[1.0])
        };
        Self {
            kind: Kind::Logarithmic,
            ticks,
        }
    }

    /// Where a value lies: 0 is the bottom and 1 the top.
    pub(super) fn height(&self, value: f64) -> f64 {
        let [bottom, .., top] = self.ticks.as_slice() else {
            return 0.0;
        };
        match self.kind {
            Kind::Linear => (value - bottom) / (top - bottom),
            Kind::Logarithmic => (value / bottom).ln() / (top / bottom).ln(),
        }
    }

    /// The values that it names, and their names.
    pub(super) fn ticks(&self) -> impl Iterator<Item = (f64, String)> {
        self.ticks.iter().map(|&tick| {
            let name = format!("{tick:.6}");
            let name = name.trim_end_matches('0').trim_end_matches('.');
            (tick, name.to_owned())
        })
    }
}

fn highest(values: &[f64]) -> f64 {
    values.iter().copied().fold(0.0, f64::max)
}

/// These times every power of ten, rising.
fn round_numbers(mantissas: &[f64]) -> Vec<f64> {
    let powers = POWERS.map(|power| 10_f64.powi(power));
    powers
        .flat_map(|power| mantissas.iter().map(move |mantissa| mantissa * power))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::Scale;

    fn names(scale: &Scale) -> Vec<String> {
        scale.ticks().map(|(_, name)| name).collect()
    }

    #[test]
    fn an_axis_from_zero_ends_at_the_first_step_above_all_values() {
        let scale = Scale::linear(&[0.2, 0.55]);
        assert_eq!(
            names(&scale),
            ["0", "0.1", "0.2", "0.3", "0.4", "0.5", "0.6"]
        );
        assert!((scale.height(0.3) - 0.5).abs() < 1e-9);
        assert_eq!(names(&Scale::linear(&[0.0])), ["0", "0.000001"]);
        assert_eq!(
            names(&Scale::linear(&[1.0])),
            ["0", "0.2", "0.4", "0.6", "0.8", "1"]
        );
    }

    #[test]
    fn an_axis_of_ratios_names_fewer_values_where_it_is_long() {
        let short = Scale::logarithmic(&[0.3, 7.0]);
        assert_eq!(names(&short), ["0.2", "0.5", "1", "2", "5", "10"]);
        let long = Scale::logarithmic(&[9.0, 5_000.0]);
        assert_eq!(names(&long), ["1", "10", "100", "1000", "10000"]);
        assert!((long.height(100.0) - 0.5).abs() < 1e-9);
        assert_eq!(names(&Scale::logarithmic(&[2.0])), ["2", "5"]);
    }
}
