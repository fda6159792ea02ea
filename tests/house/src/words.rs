//! Words: what may not stand in a source, what a file may not be called, and how it begins.

use crate::Fault;
use crate::scan::{line_of, mask, stands_alone};
use crate::tree::Source;

/// Code that is not finished or not honest, looked for outside comments and strings.
const CODE: [(&str, &str); 6] = [
    (concat!("to", "do!"), "finish it"),
    (concat!("un", "implemented!"), "finish it"),
    (concat!("#[ig", "nore"), "a test that does not run is no test"),
    (concat!("#[al", "low("), "write `#[expect(.., reason = \"..\")]`"),
    (concat!("#![al", "low("), "write `#![expect(.., reason = \"..\")]`"),
    (concat!("db", "g!"), "use `tracing`"),
];

/// Marks of unfinished work, looked for everywhere.
const MARKS: [&str; 4] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X"), concat!("HA", "CK")];

/// Names that say nothing.
const NAMES: [&str; 8] = ["utils", "util", "helpers", "helper", "types", "common", "misc", "stuff"];

/// Checks the words and the name of every source.
pub fn check(sources: &[Source]) -> Vec<Fault> {
    sources.iter().flat_map(|source| [code(source), marks(source), name(source)].concat()).collect()
}

/// Checks that every source begins by saying what it is.
pub fn check_module_docs(sources: &[Source]) -> Vec<Fault> {
    let silent = |source: &&Source| !source.text.starts_with("//! ");
    let message = "a module begins with `//!` and what it is (Codec, Policy, Machine, ..)";
    sources.iter().filter(silent).map(|source| fault(source, 1, message.to_owned())).collect()
}

fn code(source: &Source) -> Vec<Fault> {
    let masked = mask(&source.text);
    let found = |(word, instead): &(&str, &str)| {
        let faults = masked.match_indices(word).filter(|found| {
            stands_alone(&masked, found.0, word.len()) || !word.starts_with(char::is_alphabetic)
        });
        faults
            .map(|(at, _)| fault(source, line_of(&masked, at), format!("`{word}`: {instead}")))
            .collect::<Vec<_>>()
    };
    CODE.iter().flat_map(found).collect()
}

fn marks(source: &Source) -> Vec<Fault> {
    let text = &source.text;
    let found = |mark: &&str| {
        let alone = text.match_indices(*mark).filter(|found| stands_alone(text, found.0, mark.len()));
        alone
            .map(|(at, _)| fault(source, line_of(text, at), format!("`{mark}`: do it, or drop it")))
            .collect::<Vec<_>>()
    };
    MARKS.iter().flat_map(found).collect()
}

fn name(source: &Source) -> Vec<Fault> {
    let vague = source.path.split('/').find(|part| NAMES.contains(&part.trim_end_matches(".rs")));
    vague.map(|part| fault(source, 0, format!("`{part}` names no subject"))).into_iter().collect()
}

fn fault(source: &Source, line: usize, message: String) -> Fault {
    Fault { file: source.path.clone(), line, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(path: &str, text: &str) -> usize {
        check(&[Source::sample(path, text)]).len()
    }

    #[test]
    fn each_unfinished_word_is_a_fault() {
        for (word, _) in CODE {
            assert_eq!(faults("a/src/b.rs", &format!("fn a() {{}}\n {word}")), 1, "{word}");
        }
        for mark in MARKS {
            assert_eq!(faults("a/src/b.rs", &format!("// {mark}: later")), 1, "{mark}");
        }
    }

    #[test]
    fn code_words_in_comments_and_strings_are_fine() {
        assert_eq!(
            faults("a/src/b.rs", concat!("// no #[al", "low(x)]\nconst A: &str = \"#[ig", "nore]\";")),
            0
        );
    }

    #[test]
    fn a_vague_name_is_a_fault() {
        assert_eq!(faults("a/src/utils.rs", ""), 1);
        assert_eq!(faults("a/tests/common/mod.rs", ""), 1);
        assert_eq!(faults("a/src/segments.rs", ""), 0);
    }

    #[test]
    fn a_silent_module_is_a_fault() {
        assert_eq!(check_module_docs(&[Source::sample("core/src/wire/a.rs", "use b;")]).len(), 1);
        assert!(check_module_docs(&[Source::sample("core/src/wire/a.rs", "//! Codec: b.\n")]).is_empty());
    }
}
