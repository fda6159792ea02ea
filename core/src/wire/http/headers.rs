//! Codec: the header fields of a response (RFC 9110 section 5), in one buffer.

use core::fmt;

/// Header fields in the order in which they arrived.
///
/// Values are text: bytes that are not UTF-8 are read as Latin-1. No value holds a line break or a C0 control other
/// than a tab; anything else may stand in it, so it reaches a person only through
/// [`Printable`](crate::wire::printable::Printable).
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers {
    /// Name, value, name, value, ..., without separators.
    text: String,
    fields: Vec<Field>,
}

/// Where a field ends in the text; it starts where the one before it ends.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Field {
    name_end: u32,
    value_end: u32,
}

impl Headers {
    /// The value of the first field of that name, without regard to case.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.get_all(name).next()
    }

    /// The values of all fields of that name, without regard to case.
    pub fn get_all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.iter().filter(move |(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// The members of a comma-separated list (RFC 9110 5.6.1) over all fields of that name; empty ones are left out.
    pub fn list<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.get_all(name).flat_map(|value| value.split(',')).map(trim).filter(|member| !member.is_empty())
    }

    /// All fields: name and value.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let starts = core::iter::once(0).chain(self.fields.iter().map(|field| field.value_end as usize));
        self.fields.iter().zip(starts).map(|(field, start)| {
            let (name_end, value_end) = (field.name_end as usize, field.value_end as usize);
            (&self.text[start..name_end], &self.text[name_end..value_end])
        })
    }

    /// The number of fields.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether there is no field.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    pub(super) fn with_capacity(fields: usize, bytes: usize) -> Self {
        Self { text: String::with_capacity(bytes), fields: Vec::with_capacity(fields) }
    }

    /// Appends a field; `false` where the text would outgrow its offsets.
    pub(super) fn push(&mut self, name: &str, value: &[u8]) -> bool {
        self.text.push_str(name);
        let name_end = self.text.len();
        match core::str::from_utf8(value) {
            Ok(value) => self.push_value(value),
            Err(_) => self.push_value(&latin1(value)),
        }
        let ends = u32::try_from(name_end).ok().zip(u32::try_from(self.text.len()).ok());
        self.fields.extend(ends.map(|(name_end, value_end)| Field { name_end, value_end }));
        ends.is_some()
    }

    /// RFC 9112 5.2: a value folded over several lines is read with a space for each fold.
    fn push_value(&mut self, value: &str) {
        for (position, line) in value.split('\n').enumerate() {
            if position > 0 {
                self.text.push(' ');
            }
            self.text.push_str(trim(line.trim_end_matches('\r')));
        }
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// Bytes as Latin-1 text.
pub(super) fn latin1(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

/// Without the spaces and tabs around it (RFC 9110 5.6.3, OWS).
pub(super) fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&str, &[u8])]) -> Headers {
        let mut headers = Headers::default();
        for (name, value) in fields {
            assert!(headers.push(name, value));
        }
        headers
    }

    #[test]
    fn names_are_found_without_regard_to_case() {
        let headers = headers(&[("ETag", b"\"a\""), ("x-a", b"1"), ("X-A", b"2")]);
        assert_eq!(headers.get("etag"), Some("\"a\""));
        assert_eq!(headers.get("missing"), None);
        assert_eq!(headers.get_all("X-a").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(headers.len(), 3);
        assert!(!headers.is_empty());
    }

    #[test]
    fn values_are_utf8_or_else_latin1() {
        let headers = headers(&[("a", "é".as_bytes()), ("b", b"\xe9")]);
        assert_eq!(headers.iter().collect::<Vec<_>>(), [("a", "é"), ("b", "é")]);
    }

    #[test]
    fn folded_value_becomes_one_line() {
        assert_eq!(headers(&[("a", b"b\r\n  c \n\td")]).get("a"), Some("b c d"));
    }

    #[test]
    fn list_runs_over_all_fields_and_skips_empty_members() {
        let headers = headers(&[("a", b"x, ,y"), ("b", b"z"), ("A", b",w\t")]);
        assert_eq!(headers.list("a").collect::<Vec<_>>(), ["x", "y", "w"]);
    }
}
