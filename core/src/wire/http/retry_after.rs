//! Codec: `Retry-After` (RFC 9110 section 10.2.3) and HTTP dates (section 5.6.7).

use super::content_range::decimal;
use std::time::SystemTime;

/// When a server wants to be asked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryAfter {
    /// After this many seconds.
    Seconds(u64),
    /// At this time, in seconds since the Unix epoch.
    At(u64),
}

impl RetryAfter {
    /// Reads a field value: a number of seconds or an HTTP date; `None` for anything else.
    pub fn decode(value: &str) -> Option<Self> {
        if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
            return Some(Self::Seconds(decimal(value).unwrap_or(u64::MAX)));
        }
        http_date(value).map(Self::At)
    }
}

/// Seconds since the Unix epoch for a date in any of the three forms; `None` where it is none or lies before 1970.
pub fn http_date(value: &str) -> Option<u64> {
    let time = httpdate::parse_http_date(value).ok()?;
    time.duration_since(SystemTime::UNIX_EPOCH).ok().map(|elapsed| elapsed.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn seconds_and_all_three_dates_are_read() {
        assert_eq!(RetryAfter::decode("120"), Some(RetryAfter::Seconds(120)));
        assert_eq!(RetryAfter::decode("99999999999999999999"), Some(RetryAfter::Seconds(u64::MAX)));
        let at = Some(RetryAfter::At(784_111_777));
        assert_eq!(RetryAfter::decode("Sun, 06 Nov 1994 08:49:37 GMT"), at);
        assert_eq!(RetryAfter::decode("Sunday, 06-Nov-94 08:49:37 GMT"), at);
        assert_eq!(RetryAfter::decode("Sun Nov  6 08:49:37 1994"), at);
    }

    #[test]
    fn anything_else_is_nothing() {
        for value in ["", "-1", "+1", "1.5", "1 s", "soon", "Sun, 32 Nov 1994 08:49:37 GMT"] {
            assert_eq!(RetryAfter::decode(value), None, "{value:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(value in any::<String>()) {
            let _ = RetryAfter::decode(&value);
        }
    }
}
