//! Where files end up, whatever servers call them and whatever is there already.

use core::time::Duration;
use gosh_dl_core::base::FileName;
use gosh_dl_core::download::{ConflictPolicy, DownloadId, DownloadOptions};
use gosh_dl_core::engine::{DownloadState, EngineError};
use gosh_dl_sim::{Behaviour, Content, CrashMode, Resource, World};

const URL: &str = "http://a.example/file.bin";

fn content() -> Content {
    Content::generated(1, 300_000)
}

fn named(disposition: &str) -> Resource {
    let headers = vec![("Content-Disposition".to_owned(), disposition.to_owned())];
    Resource::new(content()).behave(Behaviour { headers, ..Behaviour::default() })
}

/// The one name that a download left in its directory.
fn name_of(url: &str, resource: Resource, options: DownloadOptions) -> String {
    let mut world = World::new(5);
    world.serve(url, resource);
    let id = world.add(url, options);
    assert_eq!(world.wait_done(id), DownloadState::Completed);
    let names = world.disk.names(World::DIR);
    assert_eq!(names.len(), 1, "{names:?}");
    names[0].clone()
}

#[test]
fn server_may_choose_the_name() {
    for (disposition, expected) in [
        ("attachment; filename=report.pdf", "report.pdf"),
        ("attachment; filename=\"two words.pdf\"", "two words.pdf"),
        ("attachment; filename=plain.pdf; filename*=UTF-8''%e2%82%ac.pdf", "\u{20ac}.pdf"),
        ("inline", "file.bin"),
    ] {
        assert_eq!(name_of(URL, named(disposition), DownloadOptions::new()), expected);
    }
}

#[test]
fn server_does_not_choose_what_is_hidden_or_looks_like_an_option() {
    for (name, expected) in [("-rf", "_rf"), (".bashrc", "_bashrc"), ("..x", "_.x")] {
        let from_head = named(&format!("attachment; filename=\"{name}\""));
        assert_eq!(name_of(URL, from_head, DownloadOptions::new()), expected);
        let from_url =
            name_of(&format!("http://a.example/{name}"), Resource::new(content()), DownloadOptions::new());
        assert_eq!(from_url, expected);
        let asked_for = DownloadOptions::new().filename(name);
        assert_eq!(name_of(URL, Resource::new(content()), asked_for), name, "the user may");
    }
}

#[test]
fn user_has_the_last_word_about_the_name() {
    let options = DownloadOptions::new().filename("mine.bin");
    assert_eq!(name_of(URL, named("attachment; filename=theirs.bin"), options), "mine.bin");
}

#[test]
fn no_name_leads_out_of_the_directory() {
    for name in ["../../etc/passwd", "/etc/passwd", "..", "a/b", "a\\..\\b", "CON", ".", "x\u{202e}gpj.exe"] {
        for resource in [
            named(&format!("attachment; filename=\"{}\"", name.replace('\\', "\\\\"))),
            named(&format!("attachment; filename*=UTF-8''{}", name.replace('/', "%2F"))),
        ] {
            let found = name_of(URL, resource, DownloadOptions::new());
            assert!(FileName::new(&found).is_some(), "{name:?} became {found:?}");
        }
    }
}

#[test]
fn no_name_that_the_user_gives_leads_out_of_the_directory() {
    for name in ["../../etc/passwd", "/etc/passwd", "a/b", "a\\..\\b", "CON", "x\u{202e}gpj.exe"] {
        let found = name_of(URL, Resource::new(content()), DownloadOptions::new().filename(name));
        assert!(FileName::new(&found).is_some(), "{name:?} became {found:?}");
    }
    for name in ["..", ".", "", "/"] {
        let added = World::new(5).try_add(URL, DownloadOptions::new().filename(name));
        assert!(matches!(added, Err(EngineError::InvalidInput { field: "filename", .. })), "{added:?}");
    }
}

#[test]
fn url_without_a_name_gets_one() {
    for url in ["http://a.example/", "http://a.example/?q=1", "http://a.example/dir/"] {
        let found = name_of(url, Resource::new(content()), DownloadOptions::new());
        assert!(FileName::new(&found).is_some(), "{found:?}");
    }
}

#[test]
fn escapes_in_a_url_are_undone_for_the_name() {
    let found = name_of("http://a.example/two%20words.txt", Resource::new(content()), DownloadOptions::new());
    assert_eq!(found, "two words.txt");
}

/// A download to a directory where a file of its name stands.
fn conflict(policy: ConflictPolicy) -> (World, DownloadId, DownloadState) {
    let mut world = World::new(5);
    world.serve(URL, Resource::new(content()));
    world.disk.put(World::DIR, "file.bin", b"precious");
    let id = world.add(URL, DownloadOptions::new().on_conflict(policy));
    if policy == ConflictPolicy::Skip {
        world.expect_anything(id);
    }
    let state = world.wait_done(id);
    (world, id, state)
}

#[test]
fn taken_name_is_left_alone_by_default() {
    let (mut world, id, state) = conflict(ConflictPolicy::default());
    assert_eq!(state, DownloadState::Completed);
    assert_eq!(world.disk.names(World::DIR), ["file.1.bin", "file.bin"]);
    assert_eq!(world.file("file.bin").unwrap(), b"precious");
    assert_eq!(world.status(id).unwrap().metadata.filename.as_deref(), Some("file.1.bin"));
}

#[test]
fn taken_name_is_replaced_only_when_the_new_file_is_whole() {
    let (world, _, state) = conflict(ConflictPolicy::Overwrite);
    assert_eq!(state, DownloadState::Completed);
    assert_eq!(world.disk.names(World::DIR), ["file.bin"]);

    let mut world = World::new(5);
    world.serve(URL, Resource::new(content())).profile.down_rate = Some(100_000);
    world.disk.put(World::DIR, "file.bin", b"precious");
    world.add(URL, DownloadOptions::new().on_conflict(ConflictPolicy::Overwrite).max_connections(1usize));
    world.run_for(Duration::from_secs(2));
    world.crash(CrashMode::Torn);
    assert_eq!(world.file("file.bin").unwrap(), b"precious");
}

#[test]
fn folder_of_that_name_is_no_file_to_keep_or_replace() {
    for policy in [ConflictPolicy::Overwrite, ConflictPolicy::Skip, ConflictPolicy::Fail] {
        let mut world = World::new(5);
        world.serve(URL, Resource::new(content()));
        world.disk.put_irregular(World::DIR, "file.bin");
        let id = world.add(URL, DownloadOptions::new().on_conflict(policy));
        assert!(matches!(world.wait_done(id), DownloadState::Error { retryable: false, .. }), "{policy:?}");
        assert_eq!(world.disk.bytes_written, 0, "{policy:?}");
        assert_eq!(world.disk.names(World::DIR), ["file.bin"], "{policy:?}");
    }
}

#[test]
fn taken_name_is_skipped_where_the_user_wants_that() {
    let (world, _, state) = conflict(ConflictPolicy::Skip);
    assert_eq!(state, DownloadState::Completed);
    assert_eq!(world.file("file.bin").unwrap(), b"precious");
    // The name is known from the head only, so that some of the body may be on its way.
    assert_eq!(world.disk.bytes_written, 0);
}

#[test]
fn taken_name_fails_where_the_user_wants_that() {
    let (world, id, state) = conflict(ConflictPolicy::Fail);
    assert!(matches!(state, DownloadState::Error { .. }), "{state:?}");
    assert!(matches!(world.failure(id), Some(EngineError::Storage { .. })), "{:?}", world.failure(id));
    assert_eq!(world.disk.names(World::DIR), ["file.bin"]);
    assert_eq!(world.file("file.bin").unwrap(), b"precious");
}

#[test]
fn name_that_is_taken_while_the_download_runs_is_left_alone() {
    for policy in [ConflictPolicy::Rename, ConflictPolicy::Fail, ConflictPolicy::Skip] {
        let mut world = World::new(5);
        world.serve(URL, Resource::new(content())).rate = Some(100_000);
        let id = world.add(URL, DownloadOptions::new().on_conflict(policy));
        world.expect_anything(id);
        world.run_for(Duration::from_secs(1));
        world.disk.put(World::DIR, "file.bin", b"precious");
        world.wait_done(id);
        assert_eq!(world.file("file.bin").unwrap(), b"precious", "{policy:?}");
    }
}

#[test]
fn link_or_directory_in_the_way_is_not_followed() {
    for name in ["file.bin", "file.bin.part"] {
        let mut world = World::new(5);
        world.serve(URL, Resource::new(content()));
        world.disk.put_irregular(World::DIR, name);
        let state = world.fetch(URL);
        assert!(matches!(state, DownloadState::Completed | DownloadState::Error { .. }), "{state:?}");
        assert!(world.disk.names(World::DIR).contains(&name.to_owned()));
    }
}

#[test]
fn downloads_of_the_same_name_do_not_share_a_file() {
    let mut world = World::new(5);
    let ids: Vec<_> = (0..5)
        .map(|number| {
            let url = format!("http://a.example/{number}/file.bin");
            world.serve(&url, Resource::new(Content::generated(number, 300_000)));
            world.add(&url, DownloadOptions::new())
        })
        .collect();
    for id in ids {
        assert_eq!(world.wait_done(id), DownloadState::Completed);
    }
    assert_eq!(world.disk.names(World::DIR).len(), 5);
}

#[test]
fn part_of_another_program_is_not_touched() {
    let mut world = World::new(5);
    world.serve(URL, Resource::new(content()));
    world.disk.put(World::DIR, "file.bin.part", b"theirs");
    assert_eq!(world.fetch(URL), DownloadState::Completed);
    assert_eq!(world.file("file.bin.part").unwrap(), b"theirs");
}

#[test]
fn file_goes_to_the_directory_that_the_user_named() {
    let mut world = World::new(5);
    world.serve(URL, Resource::new(content()));
    let id = world.add(URL, DownloadOptions::new().save_dir("/elsewhere"));
    assert_eq!(world.wait_done(id), DownloadState::Completed);
    assert_eq!(world.disk.names("/elsewhere"), ["file.bin"]);
    assert!(world.disk.names(World::DIR).is_empty());
}

#[test]
fn long_names_are_cut_and_keep_their_extension() {
    let url = format!("http://a.example/{}.iso", "n".repeat(400));
    let found = name_of(&url, Resource::new(content()), DownloadOptions::new());
    assert!(found.len() <= 255 && found.ends_with(".iso"), "{found:?}");
}

#[test]
fn bad_urls_are_refused_when_they_are_added() {
    let mut world = World::new(5);
    for url in ["", "file.bin", "ftp://a.example/f", "file:///etc/passwd", "http://", "http://a b/"] {
        let error = world.try_add(url, DownloadOptions::new()).unwrap_err();
        assert!(
            matches!(error, EngineError::InvalidInput { .. } | EngineError::Protocol { .. }),
            "{error:?}"
        );
    }
    for (name, value) in [("X-A", "b\r\nHost: evil"), ("X A", "b"), ("X-A:", "b"), ("", "b")] {
        let options = DownloadOptions::new().header(name, value);
        assert!(world.try_add(URL, options).is_err(), "{name:?}: {value:?}");
    }
    let injected = ["http://a.example/\r\nHost:%20evil", "http://a.example/a b"];
    for url in injected {
        // Whether refused or escaped, the strict origin sees no illegal request.
        if let Ok(id) = world.try_add(url, DownloadOptions::new()) {
            world.wait_done(id);
        }
    }
}
