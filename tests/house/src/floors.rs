//! The floors of core: a module names only floors below its own, and conversations do not name each other.

use crate::Fault;
use crate::paths::{self, Named};
use crate::scan::mask;
use crate::tree::Source;
use std::collections::BTreeMap;

/// The floors, lowest first.
pub const FLOORS: [&str; 5] = ["base", "wire", "proto", "download", "engine"];

/// Modules that are strangers to their neighbours, because the floor above assembles them: every conversation, and
/// every kind of download. (What kinds of downloads share, such as options and the file they fill, stands beside them.)
fn is_stranger(floor: &str, module: &str) -> bool {
    floor == "proto" || floor == "download" && matches!(module, "http" | "torrent")
}

/// Checks every edge between the modules of `core/src`.
pub fn check(core: &[Source]) -> Vec<Fault> {
    let reexports = reexports(core);
    let mut faults = Vec::new();
    for source in core {
        for named in names(source) {
            if let Some(message) = breach(&named, &reexports) {
                faults.push(Fault { file: source.path.clone(), line: named.line, message });
            }
        }
    }
    faults
}

/// Which module of a floor a name comes from that the floor's `mod.rs` hands out.
type Reexports = BTreeMap<(String, String), String>;

fn names(source: &Source) -> Vec<Named> {
    let below = source.path.trim_start_matches("core/src/");
    paths::named(&mask(&source.text), &paths::module_of(below))
}

fn breach(named: &Named, reexports: &Reexports) -> Option<String> {
    let from_floor = named.from.first()?;
    let [root, to_floor, rest @ ..] = named.segments.as_slice() else { return None };
    if root != "crate" {
        return None;
    }
    if from_floor == "fuzzing" {
        // It stands beside the floors, behind a feature, and looks at all of them.
        return None;
    }
    let height = |floor: &str| FLOORS.iter().position(|name| *name == floor);
    let Some(from) = height(from_floor) else {
        return Some(format!("`{from_floor}` is no floor of core ({})", FLOORS.join(" < ")));
    };
    let to = height(to_floor)?;
    if to > from {
        return Some(format!(
            "`{from_floor}` names `{to_floor}`, which lies above it: pass it in as an argument"
        ));
    }
    if to < from {
        return None;
    }
    let own = named.from.get(1)?;
    let other = module_on(to_floor, rest.first()?, reexports);
    (other != own && is_stranger(from_floor, other))
        .then(|| format!("`{from_floor}::{own}` names its neighbour `{from_floor}::{other}`: the floor above assembles them"))
}

fn module_on<'a>(floor: &str, name: &'a str, reexports: &'a Reexports) -> &'a str {
    reexports.get(&(floor.to_owned(), name.to_owned())).map_or(name, String::as_str)
}

fn reexports(core: &[Source]) -> Reexports {
    let mut found = Reexports::new();
    for floor in FLOORS {
        let path = format!("core/src/{floor}/mod.rs");
        let Some(source) = core.iter().find(|source| source.path == path) else { continue };
        // A floor's own `use http::X` is `use self::http::X`.
        let text = mask(&source.text)
            .replace("pub use ", "pub use self::")
            .replace("self::crate::", "crate::")
            .replace("self::self::", "self::");
        for named in paths::named(&text, &[floor.to_owned()]) {
            if let [_, _, module, .., name] = named.segments.as_slice() {
                found.insert((floor.to_owned(), name.clone()), module.clone());
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(path: &str, text: &str) -> Vec<String> {
        let floor = Source::sample("core/src/proto/mod.rs", "pub use dial::Dial;\npub use http::Conn;");
        check(&[floor, Source::sample(path, text)]).into_iter().map(|fault| fault.to_string()).collect()
    }

    #[test]
    fn looking_up_is_a_fault() {
        for text in [
            "use crate::engine::Engine;",
            "fn a() { crate::download::b() }",
            "use super::super::download::X;",
            "use crate::{base::A, engine::B};",
        ] {
            assert_eq!(faults("core/src/proto/http.rs", text).len(), 1, "{text}");
        }
    }

    #[test]
    fn naming_a_neighbour_is_a_fault_even_through_the_floor_s_door() {
        assert_eq!(faults("core/src/download/backoff.rs", "use super::http::HttpDownload;").len(), 1);
        for text in ["use super::dial::Dial;", "use super::Dial;", "use crate::proto::{Dial, http::Conn};"] {
            assert_eq!(faults("core/src/proto/http.rs", text).len(), 1, "{text}");
        }
        assert_eq!(faults("core/src/proto/http/body.rs", "use super::super::dial::Dial;").len(), 1);
    }

    #[test]
    fn looking_down_and_at_one_s_own_parts_is_fine() {
        for text in [
            "use crate::base::Instant;\nuse crate::wire::http1::Head;",
            "use super::Conn;",
            "use super::head::Head;",
        ] {
            assert!(faults("core/src/proto/http/body.rs", text).is_empty(), "{text}");
        }
        assert!(
            faults(
                "core/src/download/http/mod.rs",
                "use crate::download::{DownloadOptions, target::Target};"
            )
            .is_empty()
        );
    }

    #[test]
    fn a_module_beside_the_floors_is_a_fault() {
        assert_eq!(faults("core/src/extra.rs", "use crate::base::A;").len(), 1);
    }
}
