//! The paths that a source names, `use` trees flattened and `super` resolved.

use crate::scan::line_of;

/// A path from a source, as whole segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// `["crate", "base", "Instant"]`, `["std", "fs"]`; `self` and `super` are resolved to `crate`.
    pub segments: Vec<String>,
    /// The module that names it, from the crate's root.
    pub from: Vec<String>,
    /// The line, from 1.
    pub line: usize,
}

/// Every path in masked text that begins with `crate`, `self`, `super`, `std`, `core` or `alloc`.
///
/// `module` is where the file stands, as [`module_of`] tells.
pub fn named(masked: &str, module: &[String]) -> Vec<Named> {
    let tokens = tokens(masked);
    let mut reader = Reader {
        masked,
        tokens: &tokens,
        at: 0,
        module: module.to_vec(),
        inner: Vec::new(),
        found: Vec::new(),
    };
    reader.run();
    reader.found
}

/// The module path of a file below `src`: `proto/http/body.rs` is `proto::http::body`.
pub fn module_of(below_src: &str) -> Vec<String> {
    let stem = below_src.trim_end_matches(".rs");
    let mut parts: Vec<String> = stem.split('/').map(str::to_owned).collect();
    if parts.last().is_some_and(|last| last == "mod" || last == "lib") {
        parts.pop();
    }
    parts
}

struct Reader<'a> {
    masked: &'a str,
    tokens: &'a [(usize, &'a str)],
    at: usize,
    module: Vec<String>,
    /// Modules written in place, each with the depth of braces that it was opened at.
    inner: Vec<usize>,
    found: Vec<Named>,
}

impl Reader<'_> {
    fn run(&mut self) {
        let mut depth = 0;
        while let Some(token) = self.peek(0) {
            match token {
                "{" => depth += 1,
                "}" => {
                    depth -= 1;
                    if self.inner.last() == Some(&depth) {
                        self.inner.pop();
                        self.module.pop();
                    }
                }
                "mod" if self.peek(2) == Some("{") => {
                    self.module.push(self.peek(1).unwrap_or_default().to_owned());
                    self.inner.push(depth);
                    self.at += 1;
                }
                "crate" | "self" | "super" | "std" | "core" | "alloc" if self.begins_path() => {
                    self.path(Vec::new());
                    continue;
                }
                "use" => {
                    self.at += 1;
                    self.path(Vec::new());
                    continue;
                }
                _ => {}
            }
            self.at += 1;
        }
    }

    fn begins_path(&self) -> bool {
        let within = self.at > 0
            && self.tokens[self.at - 1].1 == "::"
            && self.at > 1
            && is_word(self.tokens[self.at - 2].1);
        self.peek(1) == Some("::") && !within
    }

    fn peek(&self, ahead: usize) -> Option<&str> {
        self.tokens.get(self.at + ahead).map(|token| token.1)
    }

    /// Reads one path, or the tree that it opens into, and notes its leaves.
    fn path(&mut self, mut prefix: Vec<String>) {
        let line = self.tokens.get(self.at).map_or(0, |token| line_of(self.masked, token.0));
        while let Some(token) = self.peek(0).map(str::to_owned) {
            if token == "::" {
                self.at += 1;
            } else if token == "{" && (prefix.is_empty() || self.tokens[self.at - 1].1 == "::") {
                return self.group(&prefix);
            } else if is_word(&token) || token == "*" {
                prefix.push(token);
                self.at += 1;
                if self.peek(0) != Some("::") {
                    break;
                }
            } else {
                break;
            }
        }
        self.note(prefix, line);
    }

    fn group(&mut self, prefix: &[String]) {
        self.at += 1;
        while let Some(token) = self.peek(0) {
            match token {
                "}" => {
                    self.at += 1;
                    return;
                }
                "," => self.at += 1,
                "as" => self.at += 2,
                _ => {
                    let before = self.at;
                    self.path(prefix.to_vec());
                    self.at = self.at.max(before + 1);
                }
            }
        }
    }

    fn note(&mut self, segments: Vec<String>, line: usize) {
        let Some(first) = segments.first().map(String::as_str) else { return };
        let mut resolved = match first {
            "self" | "super" => [vec!["crate".to_owned()], self.module.clone()].concat(),
            "crate" | "std" | "core" | "alloc" => Vec::new(),
            _ => return,
        };
        for segment in segments {
            match segment.as_str() {
                "super" => drop(resolved.pop()),
                "self" => {}
                _ => resolved.push(segment),
            }
        }
        self.found.push(Named { segments: resolved, from: self.module.clone(), line });
    }
}

fn is_word(token: &str) -> bool {
    token.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
}

fn tokens(masked: &str) -> Vec<(usize, &str)> {
    let bytes = masked.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let word = bytes[at..].iter().take_while(|b| b.is_ascii_alphanumeric() || **b == b'_').count();
        let len = if word > 0 {
            word
        } else if bytes[at..].starts_with(b"::") {
            2
        } else {
            masked[at..].chars().next().map_or(1, char::len_utf8)
        };
        if !bytes[at].is_ascii_whitespace() {
            found.push((at, &masked[at..at + len]));
        }
        at += len;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(text: &str, file: &str) -> Vec<String> {
        named(text, &module_of(file)).into_iter().map(|n| n.segments.join("::")).collect()
    }

    #[test]
    fn trees_are_flattened_and_super_is_resolved() {
        let text = "use crate::{base::{A, B as C}, wire::d::*};\nuse super::e::F;\nmod tests { use super::G; } fn h(i: crate::base::J) { std::fs::read(k) }";
        let expected = [
            "crate::base::A",
            "crate::base::B",
            "crate::wire::d::*",
            "crate::proto::http::e::F",
            "crate::proto::http::body::G",
            "crate::base::J",
            "std::fs::read",
        ];
        assert_eq!(leaves(text, "proto/http/body.rs"), expected);
    }

    #[test]
    fn visibility_and_paths_of_others_are_left_alone() {
        assert_eq!(
            leaves("pub(super) fn a() { other::core::b(); } use bytes::Bytes; use std::{self, fs};", "a.rs"),
            ["std", "std::fs"]
        );
    }
}
