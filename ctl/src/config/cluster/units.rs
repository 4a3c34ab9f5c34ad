//! Quantities as people write them: a number and its unit, such as `5 s` or `10 MiB/s`.
//! Always: a value is exact or refused; what is shown can be read back.

use lockstep_engine::units::Span;

/// Units of time in nanoseconds.
const TIMES: &[(&str, u64)] = &[
    ("us", 1_000),
    ("µs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("min", 60_000_000_000),
    ("h", 3_600_000_000_000),
];
/// Units of rates in bytes a second. Powers of two alone: `MB` means two things to two people.
const RATES: &[(&str, u64)] =
    &[("B/s", 1), ("KiB/s", 1 << 10), ("MiB/s", 1 << 20), ("GiB/s", 1 << 30)];

/// Most digits after the point.
const FRACTION_DIGITS_MAX: usize = 9;

/// The number of that text, times its unit.
fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(end);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if fraction.is_empty() || fraction.len() > FRACTION_DIGITS_MAX {
        return None;
    }
    let parts = fraction.parse::<u64>().ok()?.checked_mul(*factor)?;
    let divisor = 10_u64.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    if !parts.is_multiple_of(divisor) {
        return None;
    }
    whole.parse::<u64>().ok()?.checked_mul(*factor)?.checked_add(parts / divisor)
}

/// A length of time.
pub(super) fn span(text: &str) -> Option<Span> {
    scaled(text, TIMES).map(Span)
}

/// Bytes a second.
pub(super) fn rate(text: &str) -> Option<u64> {
    scaled(text, RATES)
}

fn shown(value: u64, units: &[(&str, u64)]) -> String {
    let fits =
        units.iter().rev().find(|(_, factor)| value >= *factor && value.is_multiple_of(*factor));
    match fits {
        Some((unit, factor)) => format!("{} {unit}", value / factor),
        None => format!("{value} {}", if units == TIMES { "ns" } else { "B/s" }),
    }
}

/// A length of time for people.
pub fn show_span(span: Span) -> String {
    if span.0 == 0 { "0 s".to_owned() } else { shown(span.0, TIMES) }
}

/// A rate for people.
pub fn show_rate(rate: u64) -> String {
    shown(rate, RATES)
}

/// The word of `words` that was probably meant.
pub(super) fn near<'w>(found: &str, words: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
    // One slip in a short word, one in three letters in a longer one.
    let slips = (found.chars().count() / 3).max(1);
    let scored = words.into_iter().map(|word| (distance(found, word), word));
    let (steps, word) = scored.min_by_key(|(steps, _)| *steps)?;
    (steps <= slips).then_some(word)
}

/// Letters to add, drop, change or swap with their neighbour to get from one word to the other.
fn distance(from: &str, to: &str) -> usize {
    // Longer words are no slips of ours, and their comparison is not free.
    const LETTERS_MAX: usize = 64;
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    if from.len() > LETTERS_MAX || to.len() > LETTERS_MAX {
        return usize::MAX;
    }
    let mut rows = vec![(0..=to.len()).collect::<Vec<_>>()];
    for (i, a) in from.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in to.iter().enumerate() {
            let changed = rows[i][j] + usize::from(a != b);
            let mut least = changed.min(rows[i][j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == to[j - 1] && from[i - 1] == *b {
                least = least.min(rows[i - 1][j - 1] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[from.len()][to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantity_needs_its_unit_and_is_exact() {
        assert_eq!(span("5 s"), Some(Span::millis(5_000)));
        assert_eq!(span("250ms"), Some(Span::millis(250)));
        assert_eq!(span("1.25 s"), Some(Span::millis(1_250)));
        assert_eq!(span("100 us"), Some(Span(100_000)));
        assert_eq!(rate("10 MiB/s"), Some(10 << 20));
        for bad in ["5", "s", "", "5 sec", "-1 s", "1.s", ".5 s", "1..5 s", "1.0000000001 s"] {
            assert_eq!(span(bad), None, "{bad}");
        }
        assert_eq!(span("99999999999999999999 s"), None);
        assert_eq!(span("18446744073709551615 h"), None);
        assert_eq!(rate("10 MB/s"), None);
    }

    #[test]
    fn what_is_shown_can_be_read_back() {
        for n in [1_000, 250_000_000, 5_000_000_000, 60_000_000_000, 86_400_000_000_000] {
            assert_eq!(span(&show_span(Span(n))), Some(Span(n)));
        }
        for n in [1, 1 << 20, 10 << 20, (1 << 30) + 1] {
            assert_eq!(rate(&show_rate(n)), Some(n));
        }
    }

    #[test]
    fn a_slip_is_recognised_and_a_stranger_is_not() {
        let words = ["mount_point", "device", "volume"];
        assert_eq!(near("mountpoint", words), Some("mount_point"));
        assert_eq!(near("devcie", words), Some("device"));
        assert_eq!(near("colour", words), None);
        assert_eq!(near(&"x".repeat(100_000), words), None);
    }
}
