//! Codec: `Content-Range` (RFC 9110 section 14.4).

use super::DecodeError;
use super::headers::trim;
use core::ops::Range;

/// Which bytes of a representation a response carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentRange {
    /// The bytes that follow, half-open and never empty; `None` for `bytes */N`, which comes with status 416.
    pub range: Option<Range<u64>>,
    /// The length of the whole representation in bytes, where the server knows it.
    pub total: Option<u64>,
}

impl ContentRange {
    /// Reads a field value: `bytes 0-99/1000`, `bytes 0-99/*` or `bytes */1000`.
    pub fn decode(value: &str) -> Result<Self, DecodeError> {
        Self::parse(value).ok_or(DecodeError::ContentRange)
    }

    fn parse(value: &str) -> Option<Self> {
        let (unit, rest) = value.split_at_checked("bytes".len())?;
        // Some servers send the `=` of the request's Range header back.
        if !unit.eq_ignore_ascii_case("bytes") || !rest.starts_with([' ', '\t', '=']) {
            return None;
        }
        let (range, total) = rest[1..].split_once('/')?;
        let total = match trim(total) {
            "*" => None,
            digits => Some(decimal(digits)?),
        };
        if trim(range) == "*" {
            return total.map(|total| Self { range: None, total: Some(total) });
        }
        let (first, last) = range.split_once('-')?;
        let (first, end) = (decimal(trim(first))?, decimal(trim(last))?.checked_add(1)?);
        let fits = first < end && total.is_none_or(|total| end <= total);
        fits.then_some(Self { range: Some(first..end), total })
    }
}

/// A number of decimal digits and nothing else; `None` where it does not fit.
pub(super) fn decimal(digits: &str) -> Option<u64> {
    let all_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if all_digits { digits.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_three_forms_are_read() {
        let decode = |value| ContentRange::decode(value).unwrap();
        assert_eq!(decode("bytes 0-99/1000"), ContentRange { range: Some(0..100), total: Some(1000) });
        assert_eq!(decode("bytes 42-42/*"), ContentRange { range: Some(42..43), total: None });
        assert_eq!(decode("bytes */1000"), ContentRange { range: None, total: Some(1000) });
        assert_eq!(decode("BYTES=0-0/1"), ContentRange { range: Some(0..1), total: Some(1) });
        assert_eq!(decode("bytes  1 - 2 / 3 "), ContentRange { range: Some(1..3), total: Some(3) });
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let values = [
            "",
            "bytes",
            "bytes ",
            "bytes 0-99",
            "bytes 5-4/10",
            "bytes 0-10/10",
            "bytes */*",
            "bytes -5/10",
            "bytes 5-/10",
            "bytes +1-2/3",
            "bytes 0-18446744073709551615/*",
            "bytes 0-18446744073709551616/*",
            "items 0-1/2",
            "bytesé0-1/2",
            "bytes0-1/2",
            "bytes 0-1/2/3",
            "bytes 0-1-2/3",
        ];
        for value in values {
            assert_eq!(ContentRange::decode(value), Err(DecodeError::ContentRange), "{value:?}");
        }
    }

    proptest! {
        #[test]
        fn every_range_is_read_back(
            (first, last) in (0..u64::MAX - 1000).prop_flat_map(|last| (0..=last, Just(last))),
            more in proptest::option::of(1..1000u64),
        ) {
            let total = more.map(|more| last + more);
            let shown = total.map_or("*".to_owned(), |total| total.to_string());
            let decoded = ContentRange::decode(&format!("bytes {first}-{last}/{shown}"));
            prop_assert_eq!(decoded, Ok(ContentRange { range: Some(first..last + 1), total }));
        }

        #[test]
        fn nothing_panics(value in "(bytes)?[ =]?[0-9*]{0,21}[-]?[0-9]{0,21}[/]?.{0,3}") {
            let _ = ContentRange::decode(&value);
        }
    }
}
