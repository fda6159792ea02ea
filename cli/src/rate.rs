//! Sizes, rates and times: reading what people type and writing what they like to read.

use std::time::Duration;

/// Reads a rate in bytes per second: `500K`, `2.5M`, `1G`, `800`. The letters are powers of 1024, in either case, and
/// may be followed by `B`, `iB` or `/s`.
pub(crate) fn parse_rate(text: &str) -> Result<u64, String> {
    let bad = || "a rate is a number of bytes per second such as 500K, 2.5M or 1G".to_owned();
    let lower = text.trim().to_ascii_lowercase();
    let bare = lower.strip_suffix("/s").unwrap_or(&lower);
    let bare = bare.strip_suffix("ib").or_else(|| bare.strip_suffix('b')).unwrap_or(bare);
    let (number, unit) = match bare.strip_suffix(['k', 'm', 'g', 't']) {
        None => (bare, 1),
        Some(number) if bare.ends_with('k') => (number, KIB),
        Some(number) if bare.ends_with('m') => (number, KIB * KIB),
        Some(number) if bare.ends_with('g') => (number, KIB * KIB * KIB),
        Some(number) => (number, KIB * KIB * KIB * KIB),
    };
    let number = number.trim_end();
    if !number.starts_with(|c: char| c.is_ascii_digit() || c == '.') || number.contains(['e', '+', '-']) {
        return Err(bad());
    }
    let rate = number.parse::<f64>().map_err(|_| bad())? * unit as f64;
    if rate < 1.0 {
        return Err("a rate is at least 1 byte per second; leave the option out for no limit".to_owned());
    }
    if rate > MAX_RATE {
        return Err("a rate is at most 1024T".to_owned());
    }
    Ok(rate as u64)
}

/// Reads a time in seconds: `30`, `0.5`. More than nothing and at most a year.
pub(crate) fn parse_seconds(text: &str) -> Result<Duration, String> {
    let bad = || "a time is a number of seconds, more than 0 and at most a year".to_owned();
    let number = text.trim().trim_end_matches('s');
    if !number.starts_with(|c: char| c.is_ascii_digit() || c == '.') || number.contains(['e', '+', '-']) {
        return Err(bad());
    }
    let seconds: f64 = number.parse().map_err(|_| bad())?;
    if !(0.001..=MAX_SECONDS).contains(&seconds) {
        return Err(bad());
    }
    Ok(Duration::from_secs_f64(seconds))
}

/// `12.3 MiB`: three digits or so, and a binary unit.
pub(crate) fn bytes(count: u64) -> String {
    if count < KIB {
        return format!("{count} B");
    }
    let mut value = count as f64 / KIB as f64;
    let mut units = ["KiB", "MiB", "GiB", "TiB", "PiB"].into_iter();
    let mut unit = units.next().unwrap_or_default();
    // 1023.95 would be written as 1024.0.
    while value >= 1023.95 {
        let Some(larger) = units.next() else { break };
        value /= KIB as f64;
        unit = larger;
    }
    format!("{value:.1} {unit}")
}

/// `3.2 MiB/s`.
pub(crate) fn speed(bytes_per_second: u64) -> String {
    format!("{}/s", bytes(bytes_per_second))
}

/// `42s`, `3m07s`, `2h05m`, `4d11h`.
pub(crate) fn eta(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
        _ if seconds < 8_640_000 => format!("{}d{:02}h", seconds / 86_400, seconds % 86_400 / 3600),
        _ => "over 100 days".to_owned(),
    }
}

/// `1.2 s`, `2m05s`: a length that is over.
pub(crate) fn elapsed(length: Duration) -> String {
    if length < Duration::from_secs(60) {
        format!("{:.1} s", length.as_secs_f64())
    } else {
        eta(length.as_secs())
    }
}

/// The speed at which `count` bytes took `length`, in bytes per second.
pub(crate) fn average(count: u64, length: Duration) -> u64 {
    (count as f64 / length.as_secs_f64().max(0.001)) as u64
}

const KIB: u64 = 1024;

/// 1 PiB per second: far beyond every link, far below where numbers overflow.
const MAX_RATE: f64 = (KIB * KIB * KIB * KIB * KIB) as f64;

/// A year: whoever wants "never" gets it in effect.
const MAX_SECONDS: f64 = 365.0 * 24.0 * 3600.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_take_powers_of_1024() {
        let cases = [
            ("800", 800),
            ("500K", 512_000),
            ("500k", 512_000),
            ("2.5M", 2_621_440),
            ("1G", 1 << 30),
            ("1t", 1 << 40),
            ("1MiB", 1 << 20),
            ("1MB/s", 1 << 20),
            (".5K", 512),
            ("10 K", 10_240),
        ];
        for (text, rate) in cases {
            assert_eq!(parse_rate(text), Ok(rate), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_rate_is_refused() {
        let cases =
            ["", "K", "-5", "+5", "1e9", "fast", "0", "0.1", "nan", "inf", "1.2.3", "1X", "9999999T", "1KK"];
        for text in cases {
            assert!(parse_rate(text).is_err(), "{text}");
        }
    }

    #[test]
    fn seconds_may_have_decimals_but_not_be_zero() {
        assert_eq!(parse_seconds("30"), Ok(Duration::from_secs(30)));
        assert_eq!(parse_seconds("0.5"), Ok(Duration::from_millis(500)));
        for text in ["0", "", "-1", "nan", "inf", "1e3", "x", "99999999999"] {
            assert!(parse_seconds(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_and_times_are_short() {
        let sizes = [0, 1023, 1024, 1_048_575, 12_897_485, u64::MAX].map(bytes);
        assert_eq!(sizes, ["0 B", "1023 B", "1.0 KiB", "1.0 MiB", "12.3 MiB", "16384.0 PiB"]);
        let times = [0, 59, 60, 187, 7500, 385_200, u64::MAX].map(eta);
        assert_eq!(times, ["0s", "59s", "1m00s", "3m07s", "2h05m", "4d11h", "over 100 days"]);
        assert_eq!(elapsed(Duration::from_millis(1234)), "1.2 s");
        assert_eq!(average(1000, Duration::from_millis(500)), 2000);
    }
}
