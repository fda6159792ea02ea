//! Text from outside, made fit for a terminal: nothing in it can move the cursor, change colours or reorder a line.

use std::borrow::Cow;
use std::path::Path;
use url::Url;

/// `text` with everything that could drive a terminal or deceive a reader written as an escape.
pub(crate) fn escape(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '\n' => safe.push_str("\\n"),
            '\r' => safe.push_str("\\r"),
            '\t' => safe.push_str("\\t"),
            c if is_unsafe(c) => safe.extend(c.escape_unicode()),
            c => safe.push(c),
        }
    }
    Cow::Owned(safe)
}

/// A line of JSON with the same characters as `\uXXXX`, which means the same to every reader.
///
/// They only ever stand within strings, so the whole line can be treated at once.
pub(crate) fn escape_json(line: &str) -> Cow<'_, str> {
    if !line.chars().any(is_unsafe) {
        return Cow::Borrowed(line);
    }
    let mut safe = String::with_capacity(line.len() + 16);
    for c in line.chars() {
        if is_unsafe(c) {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                safe.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            safe.push(c);
        }
    }
    Cow::Owned(safe)
}

/// A path for people.
pub(crate) fn path(path: &Path) -> String {
    escape(&path.to_string_lossy()).into_owned()
}

/// A URL for people: without user name and password, and escaped.
pub(crate) fn url(url: &str) -> String {
    escape(&without_user_info(url)).into_owned()
}

/// The URL as its parser writes it, without user name and password; as it is where it is no URL.
pub(crate) fn without_user_info(url: &str) -> String {
    let Ok(mut parsed) = Url::parse(url) else { return url.to_owned() };
    // These fail only where there is no host, and then there is no user-info either.
    let _ = parsed.set_username("");
    let _ = parsed.set_password(None);
    parsed.into()
}

/// Control characters (C0, DEL, C1), marks that reorder or hide text, and the invisible tags.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{061C}'
            | '\u{200B}'..='\u{200F}'
            | '\u{2028}'..='\u{202E}'
            | '\u{2060}'..='\u{206F}'
            | '\u{FEFF}'
            | '\u{FFF9}'..='\u{FFFB}'
            | '\u{E0000}'..='\u{E007F}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_stays() {
        for text in ["", "a b", "Grüße 世界 🦀", "C:\\x"] {
            assert!(matches!(escape(text), Cow::Borrowed(same) if same == text));
        }
    }

    #[test]
    fn nothing_unsafe_is_left() {
        let hostile = "a\x1b[2J\x07\u{9b}31m\u{7f}\r\nb\u{202e}gpj.exe\u{200b}\u{e0041}";
        let safe = escape(hostile);
        assert!(!safe.chars().any(is_unsafe), "{safe}");
        assert!(safe.starts_with("a\\u{1b}[2J\\u{7}\\u{9b}31m\\u{7f}\\r\\nb\\u{202e}gpj.exe"), "{safe}");
    }

    #[test]
    fn json_means_the_same_after_escaping() {
        let hostile = "\x1b[2J\u{7f}\u{9b}\u{202e}\u{e0041} \"quoted\" \\ ü";
        let line = serde_json::to_string(hostile).unwrap();
        let safe = escape_json(&line);
        assert!(!safe.chars().any(is_unsafe), "{safe}");
        assert_eq!(serde_json::from_str::<String>(&safe).unwrap(), hostile);
    }

    #[test]
    fn urls_lose_their_secrets() {
        assert_eq!(url("https://me:secret@h.example/a?b=c"), "https://h.example/a?b=c");
        assert_eq!(url("https://h.example/a\u{202e}b"), "https://h.example/a%E2%80%AEb");
        assert_eq!(url("no url\x1b"), "no url\\u{1b}");
    }
}
