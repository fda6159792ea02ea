//! One safe file name: the only way to name a file anywhere in the engine.

use core::fmt;

/// One component of a path that cannot leave its directory and that every common file system takes.
///
/// There is no way to make one that is empty, `.` or `..`, holds a separator, a control character or a character that
/// Windows reserves, is a device name, ends in a dot or space, or is longer than [`FileName::MAX_LEN`] bytes.
///
/// ```
/// use gosh_dl_core::base::FileName;
///
/// assert_eq!(FileName::sanitise("../../etc/pass\u{0}wd").unwrap().as_str(), ".._.._etc_pass_wd");
/// assert_eq!(FileName::sanitise("CON.txt").unwrap().as_str(), "_CON.txt");
/// assert!(FileName::sanitise("..").is_none());
/// assert!(FileName::new("a/b").is_none());
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileName(Box<str>);

impl FileName {
    /// The longest name in bytes of UTF-8. File systems take 255; the rest is room for `.part` and a number.
    pub const MAX_LEN: usize = 240;

    /// The name as it is, if it is safe as it is.
    pub fn new(name: &str) -> Option<Self> {
        Self::is_safe(name).then(|| Self(name.into()))
    }

    /// Whether the name is safe as it is. Allocates nothing.
    pub fn is_safe(name: &str) -> bool {
        let starts_well = !name.starts_with(char::is_whitespace) && !name.is_empty();
        let ends_well = !name.ends_with([' ', '.']) && name.len() <= Self::MAX_LEN;
        let is_clean = if name.is_ascii() {
            name.bytes().all(|byte| IS_SAFE_ASCII[usize::from(byte)])
        } else {
            !name.contains(is_unsafe)
        };
        starts_well && ends_well && is_clean && !is_device(name)
    }

    /// The nearest safe name, whatever `name` holds; `None` where nothing safe is left.
    pub fn sanitise(name: &str) -> Option<Self> {
        if Self::is_safe(name) {
            return Some(Self(name.into()));
        }
        let replaced: String = name.chars().map(|c| if is_unsafe(c) { '_' } else { c }).collect();
        let trimmed = replaced.trim_start().trim_end_matches([' ', '.']);
        if trimmed.is_empty() || trimmed.chars().all(|c| c == '_') && !name.contains('_') {
            return None;
        }
        // Cutting may bare a device name, so the guard comes after; it makes the name longer, so cutting comes again.
        let short = shorten(trimmed);
        let guarded = if is_device(&short) { shorten(&format!("_{short}")) } else { short };
        Some(Self(guarded.into())).filter(|name| !name.0.is_empty())
    }

    /// The name with `_` in place of a dot or dash that it begins with, for names that a server chose: files so called
    /// are hidden, set a shell up, or are taken for options.
    #[must_use]
    pub fn unassuming(self) -> Self {
        match self.0.strip_prefix(['.', '-']) {
            Some(rest) => Self(format!("_{rest}").into()),
            None => self,
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name with `number` put before its extension: `a.tar.gz` becomes `a.1.tar.gz`, `a` becomes `a.1`.
    /// Never the name itself, and another one for each number.
    #[must_use]
    pub fn numbered(&self, number: u32) -> Self {
        let (stem, extension) = self.split();
        let suffix = format!(".{number}{extension}");
        let room = Self::MAX_LEN - suffix.len();
        let make = |guard: &str, room: usize| format!("{guard}{}{suffix}", cut(stem, room - guard.len()));
        // A cut may bare a device name; and a longest name that ends in this number would be cut to itself.
        let is_usable = |name: &String| !is_device(name) && **name != *self.0;
        let ways = [("", room), ("", room - 1), ("_", room)];
        let usable = ways.into_iter().map(|(guard, room)| make(guard, room)).find(is_usable);
        Self(usable.unwrap_or_else(|| make("_", room - 1)).into())
    }

    /// The name under which the file stands until it is whole: `.part` behind the name.
    #[must_use]
    pub fn partial(&self) -> Self {
        Self(format!("{}.part", self.0).into())
    }

    fn split(&self) -> (&str, &str) {
        let name = &*self.0;
        let (stem, extension) = name.split_at(name.len() - extension(name).len());
        let is_archive = stem.len() > 4 && stem.as_bytes()[stem.len() - 4..].eq_ignore_ascii_case(b".tar");
        if extension.is_empty() || !is_archive { (stem, extension) } else { name.split_at(stem.len() - 4) }
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// Separators, what Windows reserves, control characters, and marks that reorder text on screen or do not show.
fn is_unsafe(c: char) -> bool {
    matches!(c, '/' | '\\' | ':' | '*' | '?' | '"' | '<' | '>' | '|')
        || c.is_control()
        || matches!(c, '\u{061C}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}')
}

/// What [`is_unsafe`] says of each ASCII character, the other way round: torrents have a great many names.
const IS_SAFE_ASCII: [bool; 128] = {
    let mut table = [false; 128];
    let mut byte = b' ';
    while byte < 0x7f {
        table[byte as usize] = !matches!(byte, b'/' | b'\\' | b':' | b'*' | b'?' | b'"' | b'<' | b'>' | b'|');
        byte += 1;
    }
    table
};

fn is_device(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or(name).trim_end();
    let is = |device: &str| stem.eq_ignore_ascii_case(device);
    match stem.len() {
        3 => is("CON") || is("PRN") || is("AUX") || is("NUL"),
        4 | 5 => stem.split_at_checked(3).is_some_and(|(port, number)| {
            let is_port = port.eq_ignore_ascii_case("COM") || port.eq_ignore_ascii_case("LPT");
            is_port && (is_digit(number) || matches!(number, "¹" | "²" | "³"))
        }),
        6 => is("CONIN$"),
        7 => is("CONOUT$"),
        _ => false,
    }
}

fn is_digit(text: &str) -> bool {
    matches!(text.as_bytes(), [b'0'..=b'9'])
}

/// The extension with its dot. What stands first or is very long is none.
fn extension(name: &str) -> &str {
    match name.rfind('.') {
        Some(dot) if dot > 0 && name.len() - dot <= MAX_EXTENSION => &name[dot..],
        _ => "",
    }
}

/// Cuts the stem, so that the extension stays, and takes away the dots and spaces that then stand at the end.
fn shorten(name: &str) -> String {
    if name.len() <= FileName::MAX_LEN {
        return name.to_owned();
    }
    let extension = extension(name);
    let stem = &name[..name.len() - extension.len()];
    let short = format!("{}{extension}", cut(stem, FileName::MAX_LEN - extension.len()));
    short.trim_end_matches([' ', '.']).to_owned()
}

fn cut(text: &str, max: usize) -> &str {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// What follows the last dot is an extension only if it is short: then the stem is what gives way when a name is cut.
const MAX_EXTENSION: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn long_name_keeps_its_extension() {
        let name = FileName::sanitise(&format!("{}.iso", "é".repeat(300))).unwrap();
        assert!(name.as_str().len() <= FileName::MAX_LEN && name.as_str().ends_with("é.iso"));
    }

    #[test]
    fn number_goes_before_the_extension() {
        let numbered = |name: &str| FileName::new(name).unwrap().numbered(2).as_str().to_owned();
        assert_eq!(numbered("a.iso"), "a.2.iso");
        assert_eq!(numbered("a.tar.gz"), "a.2.tar.gz");
        assert_eq!(numbered("a"), "a.2");
        assert_eq!(numbered(".bashrc"), ".bashrc.2");
    }

    #[test]
    fn name_that_a_server_chose_is_no_option_and_not_hidden() {
        let unassuming = |name: &str| FileName::new(name).unwrap().unassuming().as_str().to_owned();
        for (name, expected) in [("-rf", "_rf"), (".bashrc", "_bashrc"), ("-", "_"), ("a.-b", "a.-b")] {
            assert_eq!(unassuming(name), expected);
            assert!(FileName::is_safe(expected));
        }
    }

    proptest! {
        #[test]
        fn safe_is_what_making_safe_leaves_alone(name in "[ -~é.¹\\x00-\\x1f/]{0,6}|(con|LPT|nul|ConIn\\$)[0-9¹. a]{0,3}") {
            prop_assert!(FileName::sanitise(&name).is_none_or(|made| FileName::is_safe(made.as_str())));
            prop_assert_eq!(FileName::new(&name).is_some(), FileName::is_safe(&name));
        }
    }

    #[test]
    fn names_made_only_of_forbidden_characters_are_refused() {
        for name in ["", ".", "..", "...", " ", "/", "\\", "\0", "///"] {
            assert_eq!(FileName::sanitise(name), None, "{name:?}");
        }
    }
}
