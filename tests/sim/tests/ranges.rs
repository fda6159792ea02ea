//! Origins that treat ranges, lengths and framing honestly, clumsily or with malice.

use core::time::Duration;
use gosh_dl_core::base::Instant;
use gosh_dl_core::base::disk::HashAlgorithm;
use gosh_dl_core::download::{DownloadOptions, ExpectedChecksum, OnChange};
use gosh_dl_core::engine::{DownloadState, EngineConfig};
use gosh_dl_sim::{AfterReply, Behaviour, Content, Cut, End, Framing, Ranges, Resource, Since, World};

const URL: &str = "http://a.example/file.bin";
const MIB: u64 = 1 << 20;

fn content() -> Content {
    Content::generated(1, 8 * MIB)
}

/// A world where connections are slow enough for several to pay.
fn world_with(resource: Resource) -> World {
    let mut world = World::new(11);
    let host = world.serve(URL, resource);
    host.profile.down_rate = Some(2_000_000);
    world
}

fn fetch(behaviour: Behaviour) -> (World, DownloadState) {
    let mut world = world_with(Resource::new(content()).behave(behaviour));
    let state = world.fetch(URL);
    (world, state)
}

fn ranges(ranges: Ranges) -> Behaviour {
    Behaviour { ranges, ..Behaviour::default() }
}

fn framing(framing: Framing) -> Behaviour {
    Behaviour { framing, ..Behaviour::default() }
}

/// Error kind, where it failed; completing is fine too, since then the file was compared.
fn whole_or(kind: &str, state: &DownloadState) {
    match state {
        DownloadState::Completed => {}
        DownloadState::Error { kind: found, .. } if found == kind => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn honest_origin_is_fetched_over_several_connections_and_nothing_twice() {
    let (world, state) = fetch(Behaviour::default());
    assert_eq!(state, DownloadState::Completed);
    let log = world.log("a.example");
    assert!(log.peak > 2, "{} connections", log.peak);
    assert!(log.content_repeated("/file.bin") <= MIB, "{} bytes twice", log.content_repeated("/file.bin"));
    assert!(world.now() < Instant::ZERO + Duration::from_secs(4), "{:?}", world.now());
}

#[test]
fn origin_without_ranges_is_fetched_once_over_one_connection() {
    let (world, state) = fetch(ranges(Ranges::None));
    assert_eq!(state, DownloadState::Completed);
    let log = world.log("a.example");
    assert_eq!((log.requests.len(), log.content_repeated("/file.bin")), (1, 0));
}

#[test]
fn origin_that_claims_ranges_and_sends_the_whole_is_fetched() {
    let (world, state) = fetch(ranges(Ranges::Claimed));
    assert_eq!(state, DownloadState::Completed);
    assert_eq!(world.log("a.example").content_repeated("/file.bin"), 0);
}

#[test]
fn another_range_than_asked_for_is_never_written() {
    for by in [-4096, -1, 1, 4096] {
        let (_, state) = fetch(ranges(Ranges::Shifted(by)));
        whole_or("protocol", &state);
        let (_, state) = fetch(ranges(Ranges::Mislabelled(by)));
        whole_or("protocol", &state);
    }
}

#[test]
fn partial_answer_with_another_total_is_never_written() {
    for by in [-5, 5, 1 << 40] {
        let (_, state) = fetch(ranges(Ranges::WrongTotal(by)));
        assert!(matches!(state, DownloadState::Error { .. }), "{state:?}");
    }
}

#[test]
fn partial_answer_that_does_not_say_which_part_is_not_trusted() {
    let (_, state) = fetch(ranges(Ranges::Unlabelled));
    whole_or("protocol", &state);
}

#[test]
fn partial_answer_with_unknown_total_is_legal() {
    let (_, state) = fetch(ranges(Ranges::UnknownTotal));
    assert_eq!(state, DownloadState::Completed);
}

#[test]
fn less_than_asked_for_at_a_time_is_legal() {
    let (world, state) = fetch(ranges(Ranges::AtMost(300_000)));
    assert_eq!(state, DownloadState::Completed);
    assert!(world.log("a.example").requests.len() >= 28);
}

#[test]
fn origin_that_refuses_every_range_is_fetched_whole() {
    let (_, state) = fetch(ranges(Ranges::Refused));
    assert_eq!(state, DownloadState::Completed);
}

#[test]
fn wrong_bytes_under_the_right_label_are_found_by_the_checksum() {
    let mut world = world_with(Resource::new(content()).behave(ranges(Ranges::WrongBytes(1))));
    let sum: ExpectedChecksum = content().checksum(HashAlgorithm::Sha256).parse().unwrap();
    let id = world.add(URL, DownloadOptions::new().checksum(sum));
    whole_or("protocol", &world.wait_done(id));
}

#[test]
fn answers_that_end_too_early_are_continued() {
    let cut = Some(Cut::always(500_000, End::Close));
    let (world, state) = fetch(Behaviour { cut, ..Behaviour::default() });
    assert_eq!(state, DownloadState::Completed);
    // What is on the way when an answer is cut at the next segment is lost; what was delivered is not.
    assert!(world.received_since(Instant::ZERO) < 8 * MIB + 200_000);
}

#[test]
fn answers_that_are_reset_are_continued() {
    let cut = Some(Cut { answers: 6, after: 200_000, end: End::Reset });
    let (_, state) = fetch(Behaviour { cut, ..Behaviour::default() });
    assert_eq!(state, DownloadState::Completed);
}

#[test]
fn answers_that_stall_are_given_up_and_continued() {
    let cut = Some(Cut { answers: 2, after: 300_000, end: End::Stall });
    let (world, state) = fetch(Behaviour { cut, ..Behaviour::default() });
    assert_eq!(state, DownloadState::Completed);
    assert!(world.now() < Instant::ZERO + Duration::from_secs(90), "{:?}", world.now());
}

#[test]
fn length_that_promises_more_than_comes_never_completes() {
    let (_, state) = fetch(framing(Framing::WrongLength(1000)));
    assert!(matches!(state, DownloadState::Error { .. }), "{state:?}");
}

#[test]
fn length_that_promises_less_than_comes_is_never_taken_for_the_file() {
    let mut world = world_with(Resource::new(content()).behave(framing(Framing::WrongLength(-1000))));
    let sum: ExpectedChecksum = content().checksum(HashAlgorithm::Sha1).parse().unwrap();
    let id = world.add(URL, DownloadOptions::new().checksum(sum));
    assert!(matches!(world.wait_done(id), DownloadState::Error { .. }));
}

#[test]
fn chunks_with_extensions_and_trailers_are_fetched() {
    let trailers = vec![("X-Checksum".to_owned(), "abc".to_owned())];
    for size in [1000, 70_000] {
        let chunked = Framing::Chunked { size, extension: ";name=\"value\"", trailers: trailers.clone() };
        for ranges in [Ranges::Honest, Ranges::None] {
            let (_, state) = fetch(Behaviour { ranges, framing: chunked.clone(), ..Behaviour::default() });
            assert_eq!(state, DownloadState::Completed);
        }
    }
}

#[test]
fn chunks_that_break_off_do_not_make_a_complete_file() {
    let chunked = Framing::Chunked { size: 1000, extension: "", trailers: Vec::new() };
    let cut = Some(Cut::always(100_000, End::Close));
    let (_, state) = fetch(Behaviour { ranges: Ranges::None, framing: chunked, cut, ..Behaviour::default() });
    assert!(matches!(state, DownloadState::Error { .. }), "{state:?}");
}

#[test]
fn chunk_size_that_is_none_breaks_the_answer() {
    let broken = Framing::BrokenChunks(3000);
    let (_, state) =
        fetch(Behaviour { ranges: Ranges::None, framing: broken.clone(), ..Behaviour::default() });
    assert!(matches!(state, DownloadState::Error { .. }), "{state:?}");
    // With ranges each answer brings some sound bytes.
    let (_, state) = fetch(Behaviour { framing: broken, ..Behaviour::default() });
    whole_or("protocol", &state);
}

#[test]
fn body_that_ends_with_the_connection_is_fetched() {
    for ranges in [Ranges::Honest, Ranges::None] {
        let (_, state) = fetch(Behaviour { ranges, framing: Framing::UntilClose, ..Behaviour::default() });
        assert_eq!(state, DownloadState::Completed);
    }
}

#[test]
fn body_that_ends_with_a_cut_off_tls_connection_is_not_complete() {
    let until_close = Behaviour { ranges: Ranges::None, ..framing(Framing::UntilClose) };
    let cut = Some(Cut::always(1_000_000, End::Close));
    let mut world = World::new(11);
    let url = "https://a.example/file.bin";
    let host = world.serve(url, Resource::new(content()).behave(Behaviour { cut, ..until_close }));
    host.cuts_tls = true;
    let state = world.fetch(url);
    assert!(matches!(state, DownloadState::Error { .. }), "{state:?}");
}

#[test]
fn interim_answers_are_skipped() {
    let (_, state) = fetch(Behaviour { interim: vec![100, 103, 102], ..Behaviour::default() });
    assert_eq!(state, DownloadState::Completed);
}

#[test]
fn endless_interim_answers_are_given_up() {
    let (_, state) = fetch(Behaviour { interim: vec![103; 1000], ..Behaviour::default() });
    assert!(matches!(state, DownloadState::Error { .. }), "{state:?}");
}

#[test]
fn file_without_strong_validator_is_fetched() {
    let resources = [
        Resource::new(content()).validators(Some("W/\"weak\""), None),
        Resource::new(content()).validators(None, Some("Mon, 01 Jan 2024 00:00:00 GMT")),
        Resource::new(content()).validators(None, None),
    ];
    for resource in resources {
        assert_eq!(world_with(resource).fetch(URL), DownloadState::Completed);
    }
}

#[test]
fn two_versions_are_never_mixed() {
    for honours_if_range in [true, false] {
        for since in [Since::Bytes(MIB), Since::Bytes(7 * MIB), Since::Requests(1), Since::Requests(5)] {
            for len in [8 * MIB, 5 * MIB, 9 * MIB + 1] {
                let behaviour = Behaviour { honours_if_range, ..Behaviour::default() };
                let resource =
                    Resource::new(content()).then(since, Content::generated(2, len)).behave(behaviour);
                let state = world_with(resource).fetch(URL);
                assert_eq!(state, DownloadState::Completed, "{honours_if_range} {since:?} {len}");
            }
        }
    }
}

#[test]
fn changed_file_fails_where_the_user_wants_that() {
    for honours_if_range in [true, false] {
        let behaviour = Behaviour { honours_if_range, ..Behaviour::default() };
        let resource = Resource::new(content())
            .then(Since::Bytes(MIB), Content::generated(2, 8 * MIB))
            .behave(behaviour);
        let mut world = world_with(resource);
        // The first version is served to the end where its connection never breaks.
        world.run_for(Duration::from_millis(1));
        let id = world.add(URL, DownloadOptions::new().on_change(OnChange::Fail));
        let state = world.wait_done(id);
        assert!(matches!(&state, DownloadState::Error { kind, .. } if kind == "protocol"), "{state:?}");
    }
}

#[test]
fn file_that_changes_all_the_time_is_given_up() {
    let mut resource = Resource::new(content());
    for number in 1..200 {
        resource = resource.then(Since::Requests(number), Content::generated(number, 8 * MIB));
    }
    let cut = Some(Cut::always(200_000, End::Close));
    let mut world = world_with(resource.behave(Behaviour { cut, ..Behaviour::default() }));
    let state = world.fetch(URL);
    assert!(matches!(state, DownloadState::Error { .. }), "{state:?}");
}

#[test]
fn compressed_answer_is_refused() {
    let headers = vec![("Content-Encoding".to_owned(), "gzip".to_owned())];
    let (_, state) = fetch(Behaviour { headers, ..Behaviour::default() });
    assert!(matches!(&state, DownloadState::Error { kind, .. } if kind == "protocol"), "{state:?}");
}

#[test]
fn page_that_says_sorry_is_never_spliced_in() {
    for nth in 1..4 {
        let pages = nth..nth + 1;
        let (_, state) = fetch(Behaviour { pages, ..Behaviour::default() });
        assert_eq!(state, DownloadState::Completed, "page for request {nth}");
    }
}

#[test]
fn many_fields_are_read_and_an_endless_head_is_not() {
    let many = (0..60).map(|number| (format!("X-{number}"), "v".repeat(100))).collect();
    let (_, state) = fetch(Behaviour { headers: many, ..Behaviour::default() });
    assert_eq!(state, DownloadState::Completed);
    let endless = vec![("X-Long".to_owned(), "v".repeat(2 << 20))];
    let (_, state) = fetch(Behaviour { headers: endless, ..Behaviour::default() });
    assert!(matches!(state, DownloadState::Error { .. }), "{state:?}");
}

#[test]
fn empty_file_is_complete() {
    for framing in [Framing::Length, Framing::UntilClose] {
        for ranges in [Ranges::Honest, Ranges::None] {
            let behaviour = Behaviour { ranges, framing: framing.clone(), ..Behaviour::default() };
            let mut world = world_with(Resource::new(Content::from("")).behave(behaviour));
            assert_eq!(world.fetch(URL), DownloadState::Completed, "{framing:?} {ranges:?}");
            assert_eq!(world.file("file.bin"), Some(Vec::new()));
        }
    }
}

#[test]
fn connections_that_close_after_each_answer_cost_no_bytes() {
    for after in [AfterReply::Close, AfterReply::CloseSilently] {
        let behaviour = Behaviour { after, ranges: Ranges::AtMost(500_000), ..Behaviour::default() };
        let (world, state) = fetch(behaviour);
        assert_eq!(state, DownloadState::Completed);
        assert!(world.received_since(Instant::ZERO) < 8 * MIB + 200_000);
    }
}

#[test]
fn delivery_in_single_bytes_changes_nothing() {
    let mut world = World::with_config(3, EngineConfig::new().min_segment_size(1000u64));
    let resource = Resource::new(Content::generated(5, 20_000));
    world.serve(URL, resource).profile.pieces = (1, 1);
    assert_eq!(world.fetch(URL), DownloadState::Completed);
}
