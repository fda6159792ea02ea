//! Codec: text from outside, made safe for a terminal or a log.

use core::fmt::{self, Write};

/// Displays text that a server, peer or file chose, with everything escaped that could steer a terminal, reorder what
/// a person reads or forge a line of a log; cut after [`Printable::MAX_CHARS`] characters.
///
/// ```
/// use gosh_dl_core::wire::printable::Printable;
///
/// assert_eq!(Printable("\u{1b}]0;owned\u{7}").to_string(), r"\u{1b}]0;owned\u{7}");
/// assert_eq!(Printable("naïve 日本").to_string(), "naïve 日本");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Printable<'a>(pub &'a str);

impl Printable<'_> {
    /// More than this tells a person nothing and floods a log.
    pub const MAX_CHARS: usize = 256;
}

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, c) in self.0.chars().enumerate() {
            if position == Self::MAX_CHARS {
                return f.write_char('…');
            }
            if steers(c) {
                write!(f, "{}", c.escape_unicode())?;
            } else {
                f.write_char(c)?;
            }
        }
        Ok(())
    }
}

/// C0 and C1 controls, line separators, bidirectional marks, invisible characters and tags.
fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{AD}' | '\u{61C}' | '\u{180E}' | '\u{FEFF}')
        || matches!(c, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}')
        || matches!(c, '\u{FFF9}'..='\u{FFFB}' | '\u{E0000}'..='\u{E007F}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn controls_and_bidi_marks_are_escaped() {
        let shown = Printable("a\r\nb\u{9b}31m\u{202e}gpj.exe\u{2066}\u{200f}\u{7f}").to_string();
        assert_eq!(shown, r"a\u{d}\u{a}b\u{9b}31m\u{202e}gpj.exe\u{2066}\u{200f}\u{7f}");
    }

    #[test]
    fn long_text_is_cut() {
        let exact = "é".repeat(Printable::MAX_CHARS);
        assert_eq!(Printable(&exact).to_string(), exact);
        assert_eq!(Printable(&format!("{exact}x")).to_string(), format!("{exact}…"));
    }

    proptest! {
        #[test]
        fn nothing_that_steers_gets_through(text in any::<String>()) {
            prop_assert!(!Printable(&text).to_string().chars().any(steers));
        }
    }
}
