//! Sizes: how long a file and a driver may be. (How long a function may be is clippy's to say.)

use crate::Fault;
use crate::scan::{mask, without_tests};
use crate::tree::Source;

/// The product lines that a file may have: beyond it nobody reads it as one thing.
pub const FILE_LINES: usize = 700;

/// The product lines that a driver crate may have: a third runtime shall take a newcomer a day.
pub const DRIVER_LINES: usize = 800;

/// Lines up to the last that is not only for tests, less what is for tests in between.
pub fn product_lines(source: &Source) -> usize {
    if source.is_test() {
        return 0;
    }
    let masked = mask(&source.text);
    let product = without_tests(&masked);
    let is_blank = |line: &str| line.trim().is_empty();
    let kept = |((raw, masked), product): &((&str, &str), &str)| {
        is_blank(raw) || is_blank(masked) || !is_blank(product)
    };
    let end = product.trim_end().lines().count();
    source.text.lines().zip(masked.lines()).zip(product.lines()).take(end).filter(kept).count()
}

/// Checks each file.
pub fn check_files(sources: &[Source]) -> Vec<Fault> {
    let too_long = |source: &&Source| product_lines(source) > FILE_LINES;
    let fault = |source: &Source| Fault {
        file: source.path.clone(),
        line: 0,
        message: format!(
            "{} product lines, the limit is {FILE_LINES}: split it by subject",
            product_lines(source)
        ),
    };
    sources.iter().filter(too_long).map(fault).collect()
}

/// Checks one driver crate as a whole.
pub fn check_driver(name: &str, sources: &[Source]) -> Vec<Fault> {
    let lines: usize = sources.iter().map(product_lines).sum();
    let fault = || Fault {
        file: name.to_owned(),
        line: 0,
        message: format!(
            "{lines} product lines, the limit for a driver is {DRIVER_LINES}: what is not about this runtime belongs in `runtime`"
        ),
    };
    (lines > DRIVER_LINES).then(fault).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_file_is_a_fault_and_long_tests_are_not() {
        let long = "fn a() {}\n".repeat(FILE_LINES + 1);
        assert_eq!(check_files(&[Source::sample("a/src/b.rs", &long)]).len(), 1);
        let tests = format!("fn a() {{}}\n#[cfg(test)]\nmod tests {{\n{long}}}\n");
        assert!(check_files(&[Source::sample("a/src/b.rs", &tests)]).is_empty());
        assert_eq!(product_lines(&Source::sample("a/src/b.rs", &tests)), 1);
    }

    #[test]
    fn comments_count() {
        assert_eq!(product_lines(&Source::sample("a/src/b.rs", "//! A.\n\n/// B.\nfn c() {}\n")), 4);
    }

    #[test]
    fn a_long_driver_is_a_fault() {
        let half = Source::sample("d/src/a.rs", &"fn a() {}\n".repeat(DRIVER_LINES / 2 + 1));
        assert_eq!(check_driver("d", &[half.clone(), half]).len(), 1);
    }
}
