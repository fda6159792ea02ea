//! The files of the workspace.

use std::fs;
use std::path::{Path, PathBuf};

/// One source file.
#[derive(Clone, Debug)]
pub struct Source {
    /// Its path relative to the workspace, with `/` between the parts.
    pub path: String,
    /// Its text.
    pub text: String,
}

impl Source {
    /// A source that exists only here; for the tests of the rules.
    pub fn sample(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }

    /// Whether the whole file is test code, by where it lies or what it is called.
    pub fn is_test(&self) -> bool {
        self.path.split('/').skip(1).any(|part| matches!(part, "tests" | "tests.rs" | "benches"))
    }
}

/// The directory of the workspace.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("this crate lies two directories down").to_path_buf()
}

/// Every file under `dir` (relative to the workspace) whose name ends with `suffix`, in order of path.
pub fn sources(dir: &str, suffix: &str) -> Vec<Source> {
    let root = root();
    let mut found = Vec::new();
    let mut pending = vec![root.join(dir)];
    while let Some(path) = pending.pop() {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if path.is_dir() {
            if name != "target" && (!name.starts_with('.') || path == root) {
                pending.extend(
                    fs::read_dir(&path).expect("readable directory").map(|e| e.expect("entry").path()),
                );
            }
        } else if name.ends_with(suffix) {
            let text = fs::read_to_string(&path).expect("sources are UTF-8");
            let relative = path.strip_prefix(&root).expect("below the root");
            found.push(Source { path: relative.to_string_lossy().replace('\\', "/"), text });
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// The text of one file of the workspace.
pub fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}
