//! Times for people.

/// A time in at most six characters: `59 s`, `4m07s`, `3h20m`, `12d4h`.
pub fn time(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{minutes}m{:02}s", seconds % 60),
        3600..86_400 => format!("{hours}h{:02}m", minutes % 60),
        _ if days < 100 => format!("{days}d{}h", hours % 24),
        _ => format!("{} d", days.min(9999)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_take_few_characters() {
        for (seconds, text) in [
            (0, "0 s"),
            (59, "59 s"),
            (247, "4m07s"),
            (12_000, "3h20m"),
            (1_051_200, "12d4h"),
            (100 * 86_400, "100 d"),
            (u64::MAX, "9999 d"),
        ] {
            assert_eq!(time(seconds), text);
            assert!(time(seconds).len() <= 6);
        }
    }
}
