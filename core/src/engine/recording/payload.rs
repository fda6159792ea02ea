//! Codec: what arrives on a link, with the payload left out: bytes that nothing looks at stand as their number, and are
//! zeros when they are read.

use super::RecordingError;
use super::fields::{Field, Source, put_bytes};
use bytes::BytesMut;
use core::ops::Range;

/// Writes `data` without what lies in `payload` (ascending, within `data`).
pub(super) fn put(data: &[u8], payload: &[Range<usize>], out: &mut Vec<u8>) {
    let mut at = 0;
    (payload.len() + 1).put(out);
    for span in payload {
        put_bytes(&data[at..span.start], out);
        span.len().put(out);
        at = span.end;
    }
    put_bytes(&data[at..], out);
    0_usize.put(out);
}

/// Reads what [`put`] wrote.
pub(super) fn take(from: &mut Source<'_>) -> Result<BytesMut, RecordingError> {
    let mut data = BytesMut::new();
    for _ in 0..from.count()? {
        let literal = from.count()?;
        data.extend_from_slice(from.bytes(literal)?);
        let zeros = taken_len(from)?;
        let whole = data.len() + zeros;
        if whole > MAX_DATA {
            return Err(RecordingError::Number);
        }
        data.resize(whole, 0);
    }
    Ok(data)
}

/// How many zeros to make.
pub(super) fn taken_len(from: &mut Source<'_>) -> Result<usize, RecordingError> {
    let len = usize::take(from)?;
    if len > MAX_DATA { Err(RecordingError::Number) } else { Ok(len) }
}

/// More bytes than this in one input are none that a driver gives: it reads at most half a mebibyte at once, and asks
/// a file for less.
pub(super) const MAX_DATA: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn again(data: &[u8], payload: &[Range<usize>]) -> Result<BytesMut, RecordingError> {
        let mut out = Vec::new();
        put(data, payload, &mut out);
        take(&mut Source::new(&out))
    }

    #[test]
    fn payload_comes_back_as_zeros_and_the_rest_as_it_was() {
        assert_eq!(again(b"head", &[]).unwrap(), "head");
        assert_eq!(again(b"3\r\nabc\r\n2\r\nde", &[3..6, 11..13]).unwrap(), "3\r\n\0\0\0\r\n2\r\n\0\0");
        assert_eq!(again(b"", &[]).unwrap(), "");
    }

    #[test]
    fn a_claim_of_endless_payload_is_refused() {
        let mut out = Vec::new();
        1_usize.put(&mut out);
        put_bytes(b"", &mut out);
        (MAX_DATA + 1).put(&mut out);
        assert_eq!(take(&mut Source::new(&out)), Err(RecordingError::Number));
    }
}
