//! Manifests and front door: what every crate says of itself, and the commands that the README promises.

use crate::Fault;
use crate::tree::Source;

/// The commands that the README must name, word for word, because people and CI run them.
pub const COMMANDS: [&str; 2] = ["cargo run --release -p gosh-dl -- get ", "cargo test --workspace"];

/// Checks one crate's manifest.
pub fn check_manifest(manifest: &Source) -> Vec<Fault> {
    let lines = || manifest.text.lines().map(str::trim);
    if !lines().any(|line| line == "[package]") {
        return Vec::new();
    }
    let mut faults = Vec::new();
    for key in ["description", "license"] {
        let given =
            |line: &str| line.starts_with(key) && line[key.len()..].trim_start().starts_with(['=', '.']);
        if !lines().any(given) {
            faults.push(fault(manifest, format!("`{key}` is missing")));
        }
    }
    let own_workspace = lines().any(|line| line == "[workspace]");
    if !own_workspace && !manifest.text.contains("[lints]\nworkspace = true") {
        faults.push(fault(manifest, "the workspace's lints are not turned on".to_owned()));
    }
    faults
}

/// Checks that the README names its commands.
pub fn check_readme(readme: &Source) -> Vec<Fault> {
    let missing = COMMANDS.iter().filter(|command| !readme.text.contains(*command));
    missing.map(|command| fault(readme, format!("`{}` is not named", command.trim()))).collect()
}

/// Checks that every relative link of a Markdown page leads to something, as `exists` tells.
pub fn check_links(page: &Source, exists: impl Fn(&str) -> bool) -> Vec<Fault> {
    let targets = page.text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let local = targets.filter(|target| !target.contains("://") && !target.starts_with('#'));
    let dead = local.filter(|target| !exists(target.split('#').next().unwrap_or_default()));
    dead.map(|target| fault(page, format!("the link to `{target}` leads nowhere"))).collect()
}

/// Checks that every block of Rust on a page stands, line by line, in one of the examples, where it is compiled.
pub fn check_code(page: &Source, examples: &[Source]) -> Vec<Fault> {
    let blocks = page.text.split("```rust\n").skip(1).filter_map(|rest| rest.split("```").next());
    let copied = |block: &&str| examples.iter().any(|example| example.text.contains(block.trim_end()));
    let stray = blocks.filter(|block| !copied(block));
    stray.map(|block| fault(page, format!("this code is in no example:\n{block}"))).collect()
}

/// Checks that core's settings of clippy hold all of the workspace's, because only the nearest file is read.
pub fn check_lint_settings(root: &Source, core: &Source) -> Vec<Fault> {
    let lost = root.text.lines().filter(|line| !core.text.lines().any(|other| other == *line));
    lost.map(|line| fault(core, format!("`{line}` of {} is missing", root.path))).collect()
}

fn fault(source: &Source, message: String) -> Fault {
    Fault { file: source.path.clone(), line: 0, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_manifest_is_a_fault() {
        assert_eq!(check_manifest(&Source::sample("a/Cargo.toml", "[package]\nname = \"a\"\n")).len(), 3);
        let good = "[package]\nname = \"a\"\ndescription = \"b\"\nlicense.workspace = true\n[lints]\nworkspace = true\n";
        assert!(check_manifest(&Source::sample("a/Cargo.toml", good)).is_empty());
    }

    #[test]
    fn a_readme_without_its_commands_is_a_fault() {
        assert_eq!(check_readme(&Source::sample("README.md", "cargo test")).len(), 2);
    }

    #[test]
    fn code_that_is_compiled_nowhere_is_a_fault() {
        let page = Source::sample(
            "README.md",
            "A\n```rust\nfn a() {}\n```\n```sh\nls\n```\n```rust\nfn b() {}\n```\n",
        );
        assert_eq!(check_code(&page, &[Source::sample("x.rs", "//! X.\nfn b() {}\n")]).len(), 1);
    }

    #[test]
    fn a_lost_lint_setting_is_a_fault() {
        let root = Source::sample("clippy.toml", "a = 1\nb = 2\n");
        assert_eq!(
            check_lint_settings(&root, &Source::sample("core/clippy.toml", "a = 1\nb = 3\n")).len(),
            1
        );
    }

    #[test]
    fn a_dead_link_is_a_fault() {
        let page = Source::sample("README.md", "[a](A.md) [b](B.md#c) [d](https://example.com) [e](#f)");
        assert_eq!(check_links(&page, |target| target == "A.md").len(), 1);
    }
}
