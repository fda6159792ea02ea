//! The house rules as code: each module is one rule, a function from sources to faults.
//!
//! `tests/tidy.rs` runs every rule over this workspace; beside each rule sits a test that feeds it a bad sample, so
//! that a rule that cannot fail does not go unnoticed.

pub mod floors;
pub mod manifests;
pub mod paths;
pub mod purity;
pub mod scan;
pub mod sizes;
pub mod tree;
pub mod words;

use core::fmt;

/// One breach of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The file, relative to the workspace.
    pub file: String,
    /// The line, from 1; 0 where the whole file is meant.
    pub line: usize,
    /// What is wrong and what to do instead.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.message)
    }
}
