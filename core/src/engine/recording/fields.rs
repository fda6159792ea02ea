//! Codec: how the values of a recording are written: numbers as LEB128, texts and lists with their length before them,
//! structures field by field, choices by number. Each type says it once, for both directions.

use super::RecordingError;
use bytes::{Bytes, BytesMut};
use core::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6};
use core::time::Duration;
use std::path::PathBuf;
use std::sync::Arc;

/// A value that can stand in a recording.
pub(super) trait Field: Sized {
    fn put(&self, out: &mut Vec<u8>);
    fn take(from: &mut Source<'_>) -> Result<Self, RecordingError>;
}

/// What remains to be read.
#[derive(Clone, Debug)]
pub(super) struct Source<'a> {
    left: &'a [u8],
}

impl<'a> Source<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { left: bytes }
    }

    pub(super) fn len(&self) -> usize {
        self.left.len()
    }

    pub(super) fn bytes(&mut self, len: usize) -> Result<&'a [u8], RecordingError> {
        let (taken, left) = self.left.split_at_checked(len).ok_or(RecordingError::Short)?;
        self.left = left;
        Ok(taken)
    }

    /// A length that is followed by at least as many bytes: nothing is reserved on the word of a file.
    pub(super) fn count(&mut self) -> Result<usize, RecordingError> {
        let count = usize::take(self)?;
        if count > self.left.len() { Err(RecordingError::Short) } else { Ok(count) }
    }

    pub(super) fn octet(&mut self) -> Result<u8, RecordingError> {
        self.bytes(1).map(|bytes| bytes[0])
    }
}

impl Field for u64 {
    fn put(&self, out: &mut Vec<u8>) {
        let mut left = *self;
        while left >= 0x80 {
            out.push(left.to_le_bytes()[0] | 0x80);
            left >>= 7;
        }
        out.push(left.to_le_bytes()[0]);
    }

    fn take(from: &mut Source<'_>) -> Result<Self, RecordingError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let octet = from.octet()?;
            let bits = u64::from(octet & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(RecordingError::Number);
            }
            value |= bits << shift;
            if octet < 0x80 {
                return Ok(value);
            }
        }
        Err(RecordingError::Number)
    }
}

macro_rules! numbers {
    ($($type:ty),*) => {$(
        impl Field for $type {
            fn put(&self, out: &mut Vec<u8>) {
                // Every one of them is at most 64 bits wide.
                u64::try_from(*self).unwrap_or(u64::MAX).put(out);
            }

            fn take(from: &mut Source<'_>) -> Result<Self, RecordingError> {
                Self::try_from(u64::take(from)?).map_err(|_| RecordingError::Number)
            }
        }
    )*};
}

numbers!(u8, u16, u32, usize);

impl Field for i32 {
    fn put(&self, out: &mut Vec<u8>) {
        self.cast_unsigned().put(out);
    }

    fn take(from: &mut Source<'_>) -> Result<Self, RecordingError> {
        u32::take(from).map(u32::cast_signed)
    }
}

impl Field for f64 {
    fn put(&self, out: &mut Vec<u8>) {
        self.to_bits().put(out);
    }

    fn take(from: &mut Source<'_>) -> Result<Self, RecordingError> {
        Ok(Self::from_bits(u64::take(from)?))
    }
}

impl Field for bool {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    fn take(from: &mut Source<'_>) -> Result<Self, RecordingError> {
        match from.octet()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(RecordingError::Choice("bool")),
        }
    }
}

impl<const N: usize> Field for [u8; N] {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }

    fn take(from: &mut Source<'_>) -> Result<Self, RecordingError> {
        from.bytes(N)?.try_into().map_err(|_| RecordingError::Short)
    }
}

/// Bytes as they are, behind their number.
pub(super) fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    bytes.len().put(out);
    out.extend_from_slice(bytes);
}

impl Field for Bytes {
    fn put(&self, out: &mut Vec<u8>) {
        put_bytes(self, out);
    }

    fn take(from: &mut Source<'_>) -> Result<Self, RecordingError> {
        let len = from.count()?;
        Ok(Self::copy_from_slice(from.bytes(len)?))
    }
}

impl Field for BytesMut {
    fn put(&self, out: &mut Vec<u8>) {
        put_bytes(self, out);
    }

    fn take(from: &mut Source<'_>) -> Result<Self, RecordingError> {
        let len = from.count()?;
        Ok(Self::from(from.bytes(len)?))
    }
}

impl Field for String {
    fn put(&self, out: &mut Vec<u8>) {
        put_bytes(self.as_bytes(), out);
    }

    fn take(from: &mut Source<'_>) -> Result<Self, RecordingError> {
        let len = from.count()?;
        let text = core::str::from_utf8(from.bytes(len)?).map_err(|_| RecordingError::Text)?;
        Ok(text.to_owned())
    }
}

impl Field for Arc<str> {
    fn put(&self, out: &mut Vec<u8>) {
        put_bytes(self.as_bytes(), out);
    }

    fn take(from: &mut Source<'_>) -> Result<Self, RecordingError> {
        String::take(from).map(Into::into)
    }
}

/// What of a path is not UTF-8 is replaced, as in the store's records.
impl Field for PathBuf {
    fn put(&self, out: &mut Vec<u8>) {
        put_bytes(self.to_string_lossy().as_bytes(), out);
    }

    fn take(from: &mut Source<'_>) -> Result<Self, RecordingError> {
        String::take(from).map(Into::into)
    }
}

impl Field for Duration {
    fn put(&self, out: &mut Vec<u8>) {
        self.as_secs().put(out);
        self.subsec_nanos().put(out);
    }

    fn take(from: &mut Source<'_>) -> Result<Self, RecordingError> {
        let (seconds, nanos) = (u64::take(from)?, u32::take(from)?);
        if nanos < 1_000_000_000 { Ok(Self::new(seconds, nanos)) } else { Err(RecordingError::Number) }
    }
}

impl Field for IpAddr {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::V4(address) => {
                out.push(4);
                address.octets().put(out);
            }
            Self::V6(address) => {
                out.push(6);
                address.octets().put(out);
            }
        }
    }

    fn take(from: &mut Source<'_>) -> Result<Self, RecordingError> {
        match from.octet()? {
            4 => <[u8; 4]>::take(from).map(Self::from),
            6 => <[u8; 16]>::take(from).map(Self::from),
            _ => Err(RecordingError::Choice("address")),
        }
    }
}

impl Field for SocketAddr {
    fn put(&self, out: &mut Vec<u8>) {
        self.ip().put(out);
        self.port().put(out);
        if let Self::V6(address) = self {
            address.flowinfo().put(out);
            address.scope_id().put(out);
        }
    }

    fn take(from: &mut Source<'_>) -> Result<Self, RecordingError> {
        let (ip, port) = (IpAddr::take(from)?, u16::take(from)?);
        Ok(match ip {
            IpAddr::V4(ip) => SocketAddrV4::new(ip, port).into(),
            IpAddr::V6(ip) => SocketAddrV6::new(ip, port, u32::take(from)?, u32::take(from)?).into(),
        })
    }
}

impl<A: Field, B: Field> Field for (A, B) {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
        self.1.put(out);
    }

    fn take(from: &mut Source<'_>) -> Result<Self, RecordingError> {
        Ok((A::take(from)?, B::take(from)?))
    }
}

impl<T: Field> Field for Option<T> {
    fn put(&self, out: &mut Vec<u8>) {
        self.is_some().put(out);
        if let Some(value) = self {
            value.put(out);
        }
    }

    fn take(from: &mut Source<'_>) -> Result<Self, RecordingError> {
        bool::take(from)?.then(|| T::take(from)).transpose()
    }
}

impl<T: Field, E: Field> Field for Result<T, E> {
    fn put(&self, out: &mut Vec<u8>) {
        self.is_ok().put(out);
        match self {
            Ok(value) => value.put(out),
            Err(error) => error.put(out),
        }
    }

    fn take(from: &mut Source<'_>) -> Result<Self, RecordingError> {
        Ok(if bool::take(from)? { Ok(T::take(from)?) } else { Err(E::take(from)?) })
    }
}

impl Field for () {
    fn put(&self, _: &mut Vec<u8>) {}

    fn take(_: &mut Source<'_>) -> Result<Self, RecordingError> {
        Ok(())
    }
}

/// Each entry takes a byte at least, so a list is never longer than what is left.
impl<T: Field> Field for Vec<T> {
    fn put(&self, out: &mut Vec<u8>) {
        self.len().put(out);
        self.iter().for_each(|entry| entry.put(out));
    }

    fn take(from: &mut Source<'_>) -> Result<Self, RecordingError> {
        let count = from.count()?;
        let mut entries = Self::new();
        for _ in 0..count {
            entries.push(T::take(from)?);
        }
        Ok(entries)
    }
}

/// A structure, field by field. Naming all of them is checked: one that is added has to be added here.
macro_rules! record {
    ($type:ident { $($field:ident),* $(,)? }) => {
        impl Field for $type {
            fn put(&self, out: &mut Vec<u8>) {
                let Self { $($field),* } = self;
                $($field.put(out);)*
            }

            fn take(from: &mut Source<'_>) -> Result<Self, RecordingError> {
                $(let $field = Field::take(from)?;)*
                Ok(Self { $($field),* })
            }
        }
    };
}

/// A choice, each with its number. A choice that is added has to be added here, with a number that was never used.
macro_rules! choice {
    ($type:ident { $($number:literal => $name:ident
        $( ( $($value:ident),* ) )? $( { $($field:ident),* } )? ),* $(,)? }) => {
        impl Field for $type {
            fn put(&self, out: &mut Vec<u8>) {
                match self {
                    $(Self::$name $( ( $($value),* ) )? $( { $($field),* } )? => {
                        out.push($number);
                        $($($value.put(out);)*)?
                        $($($field.put(out);)*)?
                    })*
                }
            }

            fn take(from: &mut Source<'_>) -> Result<Self, RecordingError> {
                Ok(match from.octet()? {
                    $($number => {
                        $($(let $value = Field::take(from)?;)*)?
                        $($(let $field = Field::take(from)?;)*)?
                        Self::$name $( ( $($value),* ) )? $( { $($field),* } )?
                    })*
                    _ => return Err(RecordingError::Choice(stringify!($type))),
                })
            }
        }
    };
}

/// What is one number or one text inside.
macro_rules! newtype {
    ($($type:ident as $inner:ty: $into:expr, $from:expr);* $(;)?) => {$(
        impl Field for $type {
            fn put(&self, out: &mut Vec<u8>) {
                let into: fn(&$type) -> $inner = $into;
                into(self).put(out);
            }

            fn take(from: &mut Source<'_>) -> Result<Self, RecordingError> {
                let read: fn($inner) -> Option<$type> = $from;
                read(Field::take(from)?).ok_or(RecordingError::Choice(stringify!($type)))
            }
        }
    )*};
}

pub(super) use {choice, newtype, record};

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn again<T: Field>(value: &T) -> Result<T, RecordingError> {
        let mut bytes = Vec::new();
        value.put(&mut bytes);
        let mut source = Source::new(&bytes);
        let read = T::take(&mut source);
        assert_eq!(source.len(), 0);
        read
    }

    #[test]
    fn a_list_is_not_believed_to_be_longer_than_the_file() {
        let mut bytes = Vec::new();
        u64::MAX.put(&mut bytes);
        assert_eq!(Vec::<u8>::take(&mut Source::new(&bytes)), Err(RecordingError::Short));
        assert_eq!(Bytes::take(&mut Source::new(&bytes)), Err(RecordingError::Short));
    }

    #[test]
    fn a_number_that_is_too_wide_is_refused() {
        assert_eq!(u64::take(&mut Source::new(&[0xff; 10])), Err(RecordingError::Number));
        assert_eq!(u8::take(&mut Source::new(&[0x80, 2])), Err(RecordingError::Number));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(number: u64, signed: i32, text: String, list: Vec<(u32, bool)>, nanos in 0..1_000_000_000_u32) {
            prop_assert_eq!(again(&number), Ok(number));
            let address = SocketAddrV6::new(u128::from(number).into(), 7, nanos, nanos);
            prop_assert_eq!(again(&SocketAddr::V6(address)), Ok(address.into()));
            prop_assert_eq!(again(&signed), Ok(signed));
            prop_assert_eq!(again(&text), Ok(text.clone()));
            prop_assert_eq!(again(&list), Ok(list.clone()));
            prop_assert_eq!(again(&Some(list.clone())), Ok(Some(list)));
            prop_assert_eq!(again(&Duration::new(number, nanos)), Ok(Duration::new(number, nanos)));
            prop_assert_eq!(again(&Err::<(), _>(text.clone())), Ok(Err(text)));
        }
    }
}
