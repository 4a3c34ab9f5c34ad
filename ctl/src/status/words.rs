//! Numbers as people read them.

/// Bytes with a binary unit, such as `1.5 GiB`.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut whole = count;
    let mut tenths = 0;
    let mut unit = UNITS[0];
    for next in UNITS {
        unit = next;
        tenths = (whole % 1024) * 10 / 1024;
        whole /= 1024;
        if whole < 1024 {
            break;
        }
    }
    if whole >= 100 || tenths == 0 {
        format!("{whole} {unit}")
    } else {
        format!("{whole}.{tenths} {unit}")
    }
}

/// A length of time in milliseconds with its two largest units, such as `3 h 12 min`.
pub fn age(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0 => format!("{ms} ms"),
        1..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// Share in percent, rounded down, so that 100 means all.
pub fn percent(done: u64, total: u64) -> u64 {
    if total == 0 {
        return 100;
    }
    u64::try_from(u128::from(done.min(total)) * 100 / u128::from(total)).unwrap_or(100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_units() {
        let shown: Vec<_> =
            [0, 1023, 1024, 1536, 150 << 20, u64::MAX].into_iter().map(bytes).collect();
        assert_eq!(shown, ["0 B", "1023 B", "1 KiB", "1.5 KiB", "150 MiB", "15.9 EiB"]);
    }

    #[test]
    fn ages_have_two_units_and_a_share_is_never_rounded_up() {
        let shown: Vec<_> =
            [12, 5_000, 63_000, 3_660_000, 90_000_000].into_iter().map(age).collect();
        assert_eq!(shown, ["12 ms", "5 s", "1 min 3 s", "1 h 1 min", "1 d 1 h"]);
        assert_eq!((percent(999, 1000), percent(5, 5), percent(0, 0)), (99, 100, 100));
    }
}
