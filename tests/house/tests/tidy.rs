//! Every house rule over this workspace.

use gosh_dl_house::tree::{Source, read, root, sources};
use gosh_dl_house::{Fault, floors, manifests, purity, sizes, words};
use std::process::Command;

fn assert_none(faults: &[Fault]) {
    let lines: Vec<String> = faults.iter().map(Fault::to_string).collect();
    assert!(lines.is_empty(), "\n{}\n", lines.join("\n"));
}

fn core_sources() -> Vec<Source> {
    let found = sources("core/src", ".rs");
    assert!(found.len() > 20, "core has more files than {}", found.len());
    found
}

#[test]
fn floors_name_only_floors_below() {
    assert_none(&floors::check(&core_sources()));
}

#[test]
fn core_touches_no_clock_no_randomness_and_no_world() {
    assert_none(&purity::check(&core_sources()));
}

#[test]
fn core_forbids_unsafe_code() {
    assert_none(&purity::check_root(&Source::sample("core/src/lib.rs", &read("core/src/lib.rs"))));
}

/// What a package is built from, one `name vVERSION ..` to a line.
fn packages_of(package: &str) -> String {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let arguments =
        ["tree", "-e", "normal,build", "-p", package, "--all-features", "--offline", "--prefix", "none"];
    let output = Command::new(cargo).args(arguments).current_dir(root()).output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let listing = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(listing.contains("bytes v1"), "the listing is not what it should be:\n{listing}");
    listing
}

#[test]
fn core_depends_on_no_runtime_socket_or_database() {
    assert_none(&purity::check_packages(&packages_of("gosh-dl-core")));
}

#[test]
fn a_driver_depends_on_no_other_runtime() {
    for (package, others) in [
        ("gosh-dl-runtime", &["tokio", "async-io", "smol"][..]),
        ("gosh-dl-tokio", &["async-io", "smol"]),
        ("gosh-dl-smol", &["tokio"]),
    ] {
        let listing = packages_of(package);
        let mut names = listing.lines().filter_map(|line| line.split_whitespace().next());
        let found = names.find(|name| others.iter().any(|other| name == other));
        assert_eq!(found, None, "{package} depends on another runtime");
    }
}

#[test]
fn files_stay_short() {
    assert_none(&sizes::check_files(&sources("", ".rs")));
}

#[test]
fn drivers_stay_thin() {
    for driver in ["runtime-tokio/src", "runtime-smol/src"] {
        assert_none(&sizes::check_driver(driver, &sources(driver, ".rs")));
    }
}

#[test]
fn drivers_offer_the_same_names() {
    let offered = |driver: &str| -> Vec<String> {
        let text = ["lib", "reader"].map(|file| read(&format!("runtime-{driver}/src/{file}.rs"))).concat();
        let lines = text.lines().map(str::trim).filter(|line| line.starts_with("pub "));
        lines.map(|line| line.to_lowercase().replace(driver, "_")).collect()
    };
    let (one, other) = (offered("tokio"), offered("smol"));
    assert!(one.len() > 5, "{one:?}");
    assert_eq!(one, other);
}

#[test]
fn the_third_runtime_stays_an_example() {
    let lines = read("runtime/examples/plain_threads/threads.rs").lines().count();
    assert!((1..400).contains(&lines), "{lines} lines");
}

#[test]
fn no_source_holds_unfinished_work_or_a_vague_name() {
    assert_none(&words::check(&sources("", ".rs")));
}

#[test]
fn every_module_of_core_says_what_it_is() {
    assert_none(&words::check_module_docs(&core_sources()));
}

#[test]
fn every_crate_says_what_it_is_and_keeps_the_lints() {
    let manifests = sources("", "Cargo.toml");
    assert!(manifests.len() > 5);
    assert_none(&manifests.iter().flat_map(manifests::check_manifest).collect::<Vec<_>>());
}

#[test]
fn the_readme_names_its_commands() {
    assert_none(&manifests::check_readme(&Source::sample("README.md", &read("README.md"))));
    assert!(read(".ci/run").contains(manifests::COMMANDS[1]), "CI runs the README's test command");
}

#[test]
fn code_in_the_readme_is_compiled() {
    let examples = [sources("runtime-tokio/examples", ".rs"), sources("core/examples", ".rs")].concat();
    assert_none(&manifests::check_code(&Source::sample("README.md", &read("README.md")), &examples));
}

#[test]
fn core_keeps_the_lint_settings_of_the_workspace() {
    let settings = ["clippy.toml", "core/clippy.toml"].map(|path| Source::sample(path, &read(path)));
    assert_none(&manifests::check_lint_settings(&settings[0], &settings[1]));
}

#[test]
fn every_link_in_the_documents_leads_somewhere() {
    for page in sources("", ".md") {
        let directory = root().join(&page.path).parent().expect("a file has one").to_path_buf();
        assert_none(&manifests::check_links(&page, |target| directory.join(target).exists()));
    }
}
