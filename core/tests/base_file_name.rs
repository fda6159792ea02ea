//! `FileName`: whatever comes in, what comes out is one safe component.

use gosh_dl_core::base::FileName;
use proptest::prelude::*;

/// Names that are built of what hurts.
fn hostile() -> impl Strategy<Value = String> {
    let parts = vec![
        "/",
        "\\",
        ":",
        "..",
        ".",
        " ",
        "\0",
        "\n",
        "\u{7f}",
        "\u{85}",
        "\u{202e}",
        "\u{200b}",
        "\u{61c}",
        "\u{2060}",
        "CON",
        "nul",
        "com1",
        "LPT\u{b9}",
        "a",
        "é",
        "🦀",
        "_",
        ".tar",
        ".gz",
        ".iso",
        "*",
        "?",
        "\u{a0}",
        "\u{3000}",
        ".1",
        "1",
    ];
    prop::collection::vec(prop::sample::select(parts), 0..12).prop_map(|parts| parts.concat())
}

/// Often just about as long as makes a name too long.
fn run_length() -> impl Strategy<Value = usize> {
    prop_oneof![0..300usize, 200..245usize, 100..122usize, 50..62usize]
}

/// Hostile pieces around a long run, so that the name must be cut.
fn long() -> impl Strategy<Value = String> {
    (hostile(), prop::sample::select(vec!["x", "é", "🦀", "_", ".", " ", "a."]), run_length(), hostile())
        .prop_map(|(head, run, count, tail)| format!("{head}{}{tail}", run.repeat(count)))
}

fn any_name() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), hostile(), long()]
}

fn assert_safe(name: &str, longest: usize) {
    assert!(!name.is_empty() && name != "." && name != ".." && name.len() <= longest, "{name:?}");
    let forbidden = |c: char| c.is_control() || r#"/\:*?"<>|"#.contains(c);
    assert!(!name.contains(forbidden), "{name:?}");
    assert!(!name.ends_with(['.', ' ']) && !name.starts_with(char::is_whitespace), "{name:?}");
    let stem = name.split('.').next().unwrap_or(name).trim_end().to_ascii_uppercase();
    assert!(!["CON", "NUL", "COM1", "LPT\u{b9}"].contains(&stem.as_str()), "{name:?}");
    let reorders = |c: char| matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}');
    assert!(!name.contains(reorders), "{name:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn sanitised_name_is_safe_and_stays_as_it_is(name in any_name()) {
        if let Some(safe) = FileName::sanitise(&name) {
            assert_safe(safe.as_str(), FileName::MAX_LEN);
            prop_assert_eq!(FileName::sanitise(safe.as_str()), Some(safe.clone()));
            prop_assert_eq!(FileName::new(safe.as_str()), Some(safe));
        }
    }

    #[test]
    fn derived_names_are_safe_and_distinct(name in any_name(), a: u32, b: u32) {
        if let Some(name) = FileName::sanitise(&name) {
            let (first, second) = (name.numbered(a), name.numbered(b));
            prop_assert_eq!(first == second, a == b);
            prop_assert!(first != name && second != name);
            assert_safe(first.as_str(), FileName::MAX_LEN);
            prop_assert_eq!(FileName::new(first.as_str()), Some(first.clone()), "a numbered name needs no repair");
            for partial in [name.partial(), first.partial()] {
                assert_safe(partial.as_str(), 255);
                prop_assert!(partial.as_str().ends_with(".part"));
            }
            prop_assert!(name.partial() != name && name.partial() != first.partial());
        }
    }

    #[test]
    fn letters_and_digits_are_kept(name in "[a-zA-Z0-9é][a-zA-Z0-9 é._-]{0,60}[a-zA-Z0-9é]") {
        prop_assume!(!["con", "nul", "aux", "prn", "com", "lpt"].iter().any(|device| name.to_lowercase().starts_with(device)));
        let safe = FileName::sanitise(&name);
        prop_assert_eq!(safe.as_ref().map(FileName::as_str), Some(&name[..]));
    }
}

#[test]
fn number_that_a_longest_name_has_already_is_not_taken_for_a_new_name() {
    let name = FileName::new(&format!("{}.1.iso", "x".repeat(FileName::MAX_LEN - 6))).unwrap();
    let numbered = name.numbered(1);
    assert_ne!(numbered, name);
    assert!(numbered.as_str().ends_with("x.1.iso"));
}

#[test]
fn cutting_for_a_number_does_not_bare_a_device_name() {
    let name = FileName::new(&format!("CONx.{}", "y".repeat(FileName::MAX_LEN - 6))).unwrap();
    assert_safe(name.numbered(1).as_str(), FileName::MAX_LEN);
    assert!(name.numbered(1).as_str().starts_with("CONx."));
    let spaces = " ".repeat(300);
    let name = FileName::sanitise(&format!("CON{spaces}x.iso")).unwrap();
    assert_safe(name.as_str(), FileName::MAX_LEN);
    let name = FileName::new(&format!("CON{}x", &spaces[..FileName::MAX_LEN - 4])).unwrap();
    assert_safe(name.numbered(1).as_str(), FileName::MAX_LEN);
}
