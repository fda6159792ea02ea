//! The names of torrents and peers: 20 bytes each (BEP 3).

use core::fmt;

/// Names a torrent: the SHA-1 of its info dictionary as it was written (BEP 3).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InfoHash(pub [u8; 20]);

/// Names a peer within a swarm; chosen by itself (BEP 20 says what it looks like).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub [u8; 20]);

impl InfoHash {
    /// Reads 40 hexadecimal or 32 base32 digits, as magnet links have them (BEP 9).
    pub fn parse(text: &str) -> Option<Self> {
        match text.len() {
            40 => digits::<16, 4>(text),
            32 => digits::<32, 5>(text),
            _ => None,
        }
        .map(Self)
    }
}

/// Digits of `BITS` bits each.
fn digits<const RADIX: u32, const BITS: u32>(text: &str) -> Option<[u8; 20]> {
    let mut out = [0; 20];
    let (mut held, mut bits, mut at) = (0u32, 0, 0);
    for c in text.chars() {
        let digit = match RADIX {
            16 => c.to_digit(16)?,
            // RFC 4648, section 6: A to Z, then 2 to 7.
            _ => match c.to_ascii_uppercase() {
                c @ 'A'..='Z' => c as u32 - 'A' as u32,
                c @ '2'..='7' => c as u32 - '2' as u32 + 26,
                _ => return None,
            },
        };
        held = held << BITS | digit;
        bits += BITS;
        if bits >= 8 {
            bits -= 8;
            *out.get_mut(at)? = (held >> bits & 0xff) as u8;
            at += 1;
        }
    }
    (at == 20).then_some(out)
}

impl fmt::Display for InfoHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for InfoHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_and_base32_name_the_same_torrent() {
        let hex = InfoHash::parse("0123456789abcdef0123456789ABCDEF01234567").unwrap();
        let base32 = InfoHash::parse("AERUKZ4JVPG66AJDIVTYTK6N54ASGRLH").unwrap();
        assert_eq!(hex, base32);
        assert_eq!(hex.to_string(), "0123456789abcdef0123456789abcdef01234567");
    }

    #[test]
    fn other_texts_name_nothing() {
        for text in
            ["", "0123", "g123456789abcdef0123456789abcdef01234567", "1ERUKZ4JVPG66AJDIVTYTK6N54ASGRLH"]
        {
            assert_eq!(InfoHash::parse(text), None, "{text}");
        }
    }
}
