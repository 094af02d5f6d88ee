//! Numbers with their units.

use std::time::Duration;

/// A number and its noun: `no rules`, `1 rule`, `2 rules`.
pub fn counted(count: usize, noun: &str) -> String {
    match count {
        0 => format!("no {noun}s"),
        1 => format!("1 {noun}"),
        _ => format!("{} {noun}s", grouped(count.try_into().unwrap_or(u64::MAX))),
    }
}

/// Digits in groups of three: `1,234,567`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Bytes with three significant digits, in powers of 1000: `999 B`, `1.23 kB`, `45.6 MB`.
pub(super) fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if count < 1000 {
        return format!("{count} B");
    }
    let mut unit = 0;
    // Thousandths of the unit, cut off: what is shown was moved.
    let mut thousandths = u128::from(count);
    while thousandths >= 1_000_000 && unit + 1 < UNITS.len() {
        thousandths /= 1000;
        unit += 1;
    }
    let (whole, rest) = (thousandths / 1000, thousandths % 1000);
    match whole {
        0..10 => format!("{whole}.{:02} {}", rest / 10, UNITS[unit]),
        10..100 => format!("{whole}.{} {}", rest / 100, UNITS[unit]),
        _ => format!("{whole} {}", UNITS[unit]),
    }
}

/// A time to its two leading units: `4 s`, `2 min 5 s`, `3 h 20 min`, `12 d 4 h`.
pub(super) fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{minutes} min {} s", seconds % 60),
        3600..86_400 => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_three_digits_and_never_claim_more_than_moved() {
        let written = [0, 999, 1000, 1999, 12_345, 999_999, 1_000_000, u64::MAX].map(bytes);
        let expected = [
            "0 B", "999 B", "1.00 kB", "1.99 kB", "12.3 kB", "999 kB", "1.00 MB", "18.4 EB",
        ];
        assert_eq!(written, expected);
    }

    #[test]
    fn counts_are_grouped_and_agree_with_their_noun() {
        let written = [0, 1, 2, 1_234_567].map(|count| counted(count, "rule"));
        assert_eq!(
            written,
            ["no rules", "1 rule", "2 rules", "1,234,567 rules"]
        );
    }

    #[test]
    fn durations_keep_two_units() {
        let written = [4, 125, 12_000, 1_051_200].map(|time| duration(Duration::from_secs(time)));
        assert_eq!(written, ["4 s", "2 min 5 s", "3 h 20 min", "12 d 4 h"]);
    }
}
