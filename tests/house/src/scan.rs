//! Reading Rust just well enough: blanking comments and literals, and finding what is only for tests.

/// `text` with comments, strings and character literals blanked; lines and columns stay where they are.
pub fn mask(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = opaque_end(bytes, at);
        if end > at {
            blank(&mut out[at..end]);
            at = end;
        } else {
            at += 1;
        }
    }
    String::from_utf8(out).expect("whole literals are blanked")
}

/// `text` with every item under `#[cfg(test)]` blanked as well; takes masked text.
pub fn without_tests(masked: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut out = masked.as_bytes().to_vec();
    let mut from = 0;
    while let Some(found) = masked[from..].find(MARK) {
        let start = from + found;
        let end = item_end(masked.as_bytes(), start + MARK.len());
        blank(&mut out[start..end]);
        from = end;
    }
    String::from_utf8(out).expect("items begin and end at ASCII")
}

/// The line of the byte at `offset`, from 1.
pub fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes()[..offset].iter().filter(|byte| **byte == b'\n').count() + 1
}

/// Whether the word at `offset` of length `len` stands alone.
pub fn stands_alone(text: &str, offset: usize, len: usize) -> bool {
    let part = |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
    let bytes = text.as_bytes();
    let before = offset.checked_sub(1).and_then(|at| bytes.get(at));
    !part(before) && !part(bytes.get(offset + len))
}

fn blank(bytes: &mut [u8]) {
    bytes.iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
}

/// The end of the comment or literal that starts at `at`, or `at` where none does.
fn opaque_end(bytes: &[u8], at: usize) -> usize {
    let rest = &bytes[at..];
    let starts_word = at == 0 || !(bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
    match rest[0] {
        b'/' if rest.starts_with(b"//") => find(bytes, at, b"\n").unwrap_or(bytes.len()),
        b'/' if rest.starts_with(b"/*") => comment_end(bytes, at),
        b'"' => string_end(bytes, at + 1),
        b'r' | b'b' | b'c' if starts_word => prefixed_end(bytes, at),
        b'\'' => char_end(bytes, at),
        _ => at,
    }
}

fn comment_end(bytes: &[u8], start: usize) -> usize {
    let (mut at, mut depth) = (start + 2, 1);
    while at < bytes.len() && depth > 0 {
        match bytes[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    at
}

fn string_end(bytes: &[u8], mut at: usize) -> usize {
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// A literal with a prefix: `b".."`, `c".."`, `r".."`, `r#".."#` and their mixtures.
fn prefixed_end(bytes: &[u8], start: usize) -> usize {
    let word = bytes[start..].iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
    let prefix = &bytes[start..start + word];
    let hashes = bytes[start + word..].iter().take_while(|byte| **byte == b'#').count();
    let quote = start + word + hashes;
    match (prefix, bytes.get(quote)) {
        (b"r" | b"br" | b"cr", Some(b'"')) => {
            let mut close = vec![b'"'];
            close.resize(1 + hashes, b'#');
            find(bytes, quote + 1, &close).map_or(bytes.len(), |end| end + close.len())
        }
        (b"b" | b"c", Some(b'"')) if hashes == 0 => string_end(bytes, quote + 1),
        (b"b", Some(b'\'')) if hashes == 0 => char_end(bytes, quote),
        _ => start,
    }
}

/// A character literal, or nothing where the quote begins a lifetime.
fn char_end(bytes: &[u8], start: usize) -> usize {
    if bytes.get(start + 1) == Some(&b'\\') {
        return find(bytes, start + 3, b"'").map_or(bytes.len(), |end| end + 1);
    }
    let width = bytes.get(start + 1).map_or(1, |first| match first {
        0xf0.. => 4,
        0xe0.. => 3,
        0xc0.. => 2,
        _ => 1,
    });
    if bytes.get(start + 1 + width) == Some(&b'\'') { start + width + 2 } else { start }
}

fn find(bytes: &[u8], from: usize, needle: &[u8]) -> Option<usize> {
    let rest = bytes.get(from..)?;
    rest.windows(needle.len()).position(|window| window == needle).map(|at| from + at)
}

/// The end of the item that begins at `at`: its `;`, or the brace that closes its first block.
fn item_end(bytes: &[u8], mut at: usize) -> usize {
    let mut depth = 0usize;
    while at < bytes.len() {
        match bytes[at] {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' => depth = depth.saturating_sub(1),
            b'}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    let gap = bytes[at + 1..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
                    let closed = bytes.get(at + 1 + gap) == Some(&b';');
                    return if closed { at + gap + 2 } else { at + 1 };
                }
            }
            b';' | b',' if depth == 0 => return at + 1,
            _ => {}
        }
        at += 1;
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked_and_code_stays() {
        let text = "a /* b /* c */ d */ e // f\n\"g \\\" h\" r#\"i\"j\"# b'k' 'l' '\\'' m<'n>(o) r#type";
        let masked = mask(text);
        assert_eq!(masked.len(), text.len());
        let words: Vec<&str> = masked.split_whitespace().collect();
        assert_eq!(words, ["a", "e", "m<'n>(o)", "r#type"]);
    }

    #[test]
    fn items_for_tests_are_blanked_wherever_they_stand() {
        let text = "fn a() {}\n#[cfg(test)]\nuse b::{c, d};\nfn e() {}\n#[cfg(test)]\nmod tests {\n fn f() {}\n}\nfn g() {}";
        let product = without_tests(&mask(text));
        let words: Vec<&str> = product.split_whitespace().collect();
        assert_eq!(words, ["fn", "a()", "{}", "fn", "e()", "{}", "fn", "g()", "{}"]);
    }
}
