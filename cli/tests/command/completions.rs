//! Completion scripts, help and version.

use crate::lab::Home;

#[test]
fn every_shell_has_a_script() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ended = home.run(&["completions", shell]).expect(0);
        assert!(ended.stdout.contains("gosh-dl") && ended.stdout.contains("max-concurrent"), "{shell}");
        assert_eq!(ended.stderr, "");
    }
    let zsh = home.run(&["completions", "zsh"]).expect(0).stdout;
    for values in ["rename overwrite skip fail", "none sparse full", "low normal high critical"] {
        assert!(zsh.contains(values), "{values}");
    }
    home.run(&["completions", "tcsh"]).expect(2);
}

#[test]
fn help_and_version_are_results() {
    let home = Home::new();
    let version = home.run(&["--version"]).expect(0).stdout;
    assert_eq!(version, format!("gosh-dl {}\n", env!("CARGO_PKG_VERSION")));
    let help = home.run(&["get", "--help"]).expect(0).stdout;
    for part in ["--limit-rate", "algo:hex", "Exit codes: 0 all done"] {
        assert!(help.contains(part), "{part}");
    }
}
