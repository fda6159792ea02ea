//! Codec: the file name in `Content-Disposition` (RFC 6266, RFC 8187).

use super::headers::{latin1, trim};
use crate::base::FileName;
use percent_encoding::percent_decode_str;
use std::borrow::Cow;

/// A safe file name from a field value; `None` where it names none or nothing safe is left.
///
/// `filename*` goes before `filename` (RFC 6266 4.3). Only what follows the last `/` or `\` counts.
///
/// ```
/// use gosh_dl_core::wire::http::content_disposition::file_name;
///
/// let name = file_name("attachment; filename=\"EURO rates\"; filename*=utf-8''%e2%82%ac%20rates").unwrap();
/// assert_eq!(name.as_str(), "€ rates");
/// assert_eq!(file_name("attachment; filename=\"../../.bashrc\"").unwrap().as_str(), ".bashrc");
/// ```
pub fn file_name(value: &str) -> Option<FileName> {
    let first = |wanted: &str| {
        Parameters { rest: value }.find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value)
    };
    let extended = first("filename*").and_then(|value| extended_value(&value)).and_then(|name| safe(&name));
    extended.or_else(|| safe(&plain_value(first("filename")?)))
}

/// The parameters of a field value, read as forgivingly as is safe: name and unquoted value.
struct Parameters<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Parameters<'a> {
    type Item = (&'a str, Cow<'a, str>);

    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() {
            let end = self.rest.find([';', '=']).unwrap_or(self.rest.len());
            let (name, rest) = self.rest.split_at(end);
            if let Some(value) = rest.strip_prefix('=') {
                let value = self.take_value(value.trim_start_matches([' ', '\t']));
                return Some((trim(name), value));
            }
            // The disposition type, or an empty parameter.
            self.rest = rest.strip_prefix(';').unwrap_or("");
        }
        None
    }
}

impl<'a> Parameters<'a> {
    /// Takes a value and everything up to the next parameter.
    fn take_value(&mut self, text: &'a str) -> Cow<'a, str> {
        let (value, behind) = match text.strip_prefix('"') {
            Some(quoted) => unquote(quoted),
            None => {
                let (token, behind) = text.split_at(text.find(';').unwrap_or(text.len()));
                (Cow::Borrowed(trim(token)), behind)
            }
        };
        self.rest = behind.find(';').map_or("", |semicolon| &behind[semicolon + 1..]);
        value
    }
}

/// A quoted string (RFC 9110 5.6.4) behind its opening quote, and what follows it. The closing one may be missing.
fn unquote(quoted: &str) -> (Cow<'_, str>, &str) {
    let mut text = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (Cow::Owned(text), &quoted[at + 1..]),
            '\\' => text.extend(chars.next().map(|(_, escaped)| escaped)),
            _ => text.push(c),
        }
    }
    (Cow::Owned(text), "")
}

/// RFC 8187 3.2: `charset'language'escaped`; `None` for another charset or bytes that are not in it.
fn extended_value(value: &str) -> Option<String> {
    let (charset, rest) = value.split_once('\'')?;
    let (_language, escaped) = rest.split_once('\'')?;
    let bytes: Vec<u8> = percent_decode_str(escaped).collect();
    if charset.eq_ignore_ascii_case("utf-8") {
        return String::from_utf8(bytes).ok();
    }
    charset.eq_ignore_ascii_case("iso-8859-1").then(|| latin1(&bytes))
}

/// Many servers escape `filename` like a URL, though it is plain; that is undone where it gives UTF-8.
fn plain_value(value: Cow<'_, str>) -> Cow<'_, str> {
    match percent_decode_str(&value).decode_utf8() {
        Ok(decoded) if decoded != value => Cow::Owned(decoded.into_owned()),
        _ => value,
    }
}

fn safe(name: &str) -> Option<FileName> {
    FileName::sanitise(name.rsplit(['/', '\\']).next()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(value: &str) -> Option<String> {
        file_name(value).map(|name| name.as_str().to_owned())
    }

    #[test]
    fn vectors_of_the_standards() {
        let vectors = [
            ("Attachment; filename=example.html", "example.html"),
            ("INLINE; FILENAME= \"an example.html\"", "an example.html"),
            ("attachment; filename*= UTF-8''%e2%82%ac%20rates", "€ rates"),
            ("attachment; filename=\"EURO rates\"; filename*=utf-8''%e2%82%ac%20rates", "€ rates"),
            ("attachment; filename*=UTF-8'en'%c2%a3%20rates; filename=x", "£ rates"),
            ("attachment; filename*=iso-8859-1'en'%A3%20rates", "£ rates"),
            ("attachment; filename=\"f\\oo.html\"", "foo.html"),
            ("attachment; filename=\"\\\"quoting\\\" tested.html\"", "_quoting_ tested.html"),
            ("attachment; foo=\"\\\"\\\\\";filename=\"foo.html\"", "foo.html"),
            ("attachment; foo=\"bar;filename=evil\"; filename=\"f;oo.bin\"", "f;oo.bin"),
        ];
        for (value, expected) in vectors {
            assert_eq!(name(value).as_deref(), Some(expected), "{value:?}");
        }
    }

    #[test]
    fn what_servers_really_send() {
        let vectors = [
            ("attachment; filename=foo bar.iso;", "foo bar.iso"),
            ("attachment;filename = \"a.iso\" ; ", "a.iso"),
            ("attachment;;filename=a.iso", "a.iso"),
            ("filename=a.iso", "a.iso"),
            ("attachment; filename=\"a.iso", "a.iso"),
            ("attachment; filename=\"a.iso\"junk; x=y", "a.iso"),
            ("attachment; filename=a.iso; filename=b.iso", "a.iso"),
            ("attachment; filename=\"%E6%97%A5.txt\"", "日.txt"),
            ("attachment; filename=\"100%.txt\"", "100%.txt"),
            ("attachment; filename=\"caf%E9.txt\"", "caf%E9.txt"),
            ("attachment; filename=\"日本.txt\"", "日本.txt"),
            ("attachment; filename*=\"UTF-8''a%20b\"", "a b"),
            ("attachment; filename*=UTF-8''caf%E9; filename=plain", "plain"),
            ("attachment; filename*=koi8-r''x; filename=plain", "plain"),
            ("attachment; filename*=nocharset; filename=plain", "plain"),
            ("attachment; filename*0=a; filename=plain", "plain"),
        ];
        for (value, expected) in vectors {
            assert_eq!(name(value).as_deref(), Some(expected), "{value:?}");
        }
    }

    #[test]
    fn no_name_leaves_its_directory() {
        let vectors = [
            ("attachment; filename=\"../../etc/passwd\"", "passwd"),
            ("attachment; filename=\"C:\\\\windows\\\\a.exe\"", "a.exe"),
            ("attachment; filename*=UTF-8''..%2f..%5c.ssh%2Fid", "id"),
            ("attachment; filename=%2e%2e%2fa", "a"),
            ("attachment; filename=\"CON\"", "_CON"),
            ("attachment; filename=\"a\u{1b}[31m\u{202e}b. \"", "a_[31m_b"),
            ("attachment; filename*=UTF-8''a%00b%0d%0a", "a_b__"),
        ];
        for (value, expected) in vectors {
            assert_eq!(name(value).as_deref(), Some(expected), "{value:?}");
        }
    }

    #[test]
    fn no_name_is_none() {
        let values =
            ["", "attachment", "attachment; filename=", "attachment; filename=\"\"", "a; filename=..", ";=;"];
        for value in
            values.into_iter().chain(["a; filename=\"a/\"", "a; name=b", "a; filename", "\"", "a; =\"b"])
        {
            assert_eq!(name(value), None, "{value:?}");
        }
    }

    proptest! {
        #[test]
        fn every_name_is_safe(value in "(attachment; ?)?(filename\\*?=)?(\"|utf-8'')?.{0,30}[;\"\\\\]?.{0,20}") {
            if let Some(name) = file_name(&value) {
                prop_assert!(FileName::new(name.as_str()).is_some(), "{name:?}");
            }
        }

        #[test]
        fn quoted_names_are_read_back(original in "[a-zA-Z0-9 ;=',é日]{0,20}[a-z]") {
            let original = original.trim_start();
            let found = name(&format!("attachment; filename=\"{original}\"; x=y"));
            prop_assert_eq!(found.as_deref(), Some(original));
        }
    }
}
