//! Several URLs of one file: all are used, none can spoil it.

use core::time::Duration;
use gosh_dl_core::base::disk::HashAlgorithm;
use gosh_dl_core::base::{Instant, LinkError};
use gosh_dl_core::download::{DownloadOptions, ExpectedChecksum};
use gosh_dl_core::engine::DownloadState;
use gosh_dl_sim::{
    Behaviour, Content, Cut, Dial, End, Framing, Latency, Ranges, Refusal, Resource, Since, World,
};

const A: &str = "http://a.example/file.bin";
const B: &str = "http://b.example/pub/file.bin";
const C: &str = "http://c.example/file.bin";
const MIB: u64 = 1 << 20;

fn content() -> Content {
    Content::generated(1, 16 * MIB)
}

fn file() -> Resource {
    Resource::new(content())
}

fn sum() -> ExpectedChecksum {
    content().checksum(HashAlgorithm::Sha256).parse().expect("it is written as users write it")
}

/// Two mirrors of 1 MB/s for each connection, of which `b` is given.
fn fetch(b: Resource, options: DownloadOptions) -> (World, DownloadState) {
    let mut world = World::new(4);
    world.serve(A, file()).profile.down_rate = Some(1_000_000);
    world.serve(B, b).profile.down_rate = Some(1_000_000);
    let id = world.add(A, options.mirror(B));
    world.expect(id, content());
    let state = world.wait_done(id);
    (world, state)
}

#[test]
fn all_mirrors_are_used_at_the_same_time() {
    let (world, state) = fetch(file(), DownloadOptions::new());
    assert_eq!(state, DownloadState::Completed);
    for host in ["a.example", "b.example"] {
        assert!(world.log(host).bytes > MIB, "{host} sent {} bytes", world.log(host).bytes);
    }
}

#[test]
fn mirror_that_fails_is_replaced_by_the_others() {
    let broken = [
        Resource::refusal(Refusal::new(404)),
        Resource::refusal(Refusal::new(403)),
        Resource::refusal(Refusal::new(503)),
        file().behave(Behaviour { cut: Some(Cut::always(1000, End::Reset)), ..Behaviour::default() }),
        file().behave(Behaviour { cut: Some(Cut::always(1000, End::Stall)), ..Behaviour::default() }),
        file().behave(Behaviour { ranges: Ranges::Shifted(1), ..Behaviour::default() }),
        file().behave(Behaviour { ranges: Ranges::None, ..Behaviour::default() }),
        file().behave(Behaviour { delay: Duration::from_secs(3600), ..Behaviour::default() }),
    ];
    for (number, b) in broken.into_iter().enumerate() {
        let (world, state) = fetch(b, DownloadOptions::new());
        assert_eq!(state, DownloadState::Completed, "case {number}");
        let limit = Instant::ZERO + Duration::from_secs(120);
        assert!(world.now() < limit, "case {number}: {:?}", world.now());
    }
}

#[test]
fn dead_first_url_does_not_matter_where_a_mirror_lives() {
    for dial in [Dial::Fail(LinkError::Refused), Dial::Silent] {
        let mut world = World::new(4);
        world.serve(A, file()).dial_all(dial, &[[198, 18, 0, 1].into()]);
        world.serve(B, file());
        let id = world.add(A, DownloadOptions::new().mirror(B));
        assert_eq!(world.wait_done(id), DownloadState::Completed, "{dial:?}");
        assert!(world.now() < Instant::ZERO + Duration::from_secs(60), "{dial:?}: {:?}", world.now());
    }
}

#[test]
fn mirror_with_another_length_is_never_mixed_in() {
    let (_, state) = fetch(Resource::new(Content::generated(2, 15 * MIB)), DownloadOptions::new());
    assert_eq!(state, DownloadState::Completed);
}

#[test]
fn mirror_with_another_validator_is_never_mixed_in() {
    let other = Resource::new(Content::generated(2, 16 * MIB)).validators(Some("\"other\""), None);
    let (_, state) = fetch(other, DownloadOptions::new());
    assert_eq!(state, DownloadState::Completed);
}

#[test]
fn mirror_that_says_sorry_with_status_200_is_never_mixed_in() {
    for from in 0..3 {
        let lying = file().behave(Behaviour { pages: from..u64::MAX, ..Behaviour::default() });
        let (_, state) = fetch(lying, DownloadOptions::new());
        assert_eq!(state, DownloadState::Completed, "from request {from}");
    }
}

/// Several connections to the second mirror had asked before any was answered. The first answer was of the file that was
/// begun; what another one said of its version was then compared with nothing.
#[test]
fn mirror_that_changes_between_its_first_answers_is_not_mixed_in() {
    let version = |seed| Content::generated(seed, 2 * MIB);
    let changing = Resource::new(version(1))
        .then(Since::Requests(1), version(2))
        .behave(Behaviour { delay: Duration::from_secs(3), ..Behaviour::default() });
    let mut world = World::new(4);
    world.serve(A, Resource::new(version(1))).profile.down_rate = Some(200_000);
    world.serve(B, changing).profile.down_rate = Some(200_000);
    let id = world.add(A, DownloadOptions::new().mirror(B).max_connections(2usize));
    world.run_for(Duration::from_secs(2));
    world.host("a.example").dial_all(Dial::Fail(LinkError::Refused), &[[198, 18, 0, 1].into()]);
    world.end_connections("a.example", LinkError::Reset);
    assert_eq!(world.wait_done(id), DownloadState::Completed);
}

/// Two files of different lengths had the same ETag at two hosts, and the second host never said how long its file was.
#[test]
fn mirror_that_never_tells_its_length_is_not_mixed_in() {
    let longer = Content::generated(2, 17 * MIB);
    for framing in [Framing::Length, Framing::UntilClose] {
        let silent = Behaviour { ranges: Ranges::UnknownTotal, framing, ..Behaviour::default() };
        let (_, state) = fetch(Resource::new(longer.clone()).behave(silent), DownloadOptions::new());
        assert_eq!(state, DownloadState::Completed);
    }
}

/// The first URL's host took long to dial, so the second was asked too, and began the file. The answer of the first, asked for
/// before any length was known, told another length, and was taken for a part of the file that was begun.
#[test]
fn answer_of_another_length_is_not_mixed_in_although_it_was_asked_for_before_any_was_known() {
    for sum in [None, Some(Content::generated(2, 111).checksum(HashAlgorithm::Sha256))] {
        let mut world = World::new(4);
        world.serve(A, Resource::new(Content::generated(1, 559))).profile.latency = Latency::millis(150, 150);
        let cut = Some(Cut::once(110, End::Reset));
        let short = Resource::new(Content::generated(2, 111));
        let delay = Duration::from_millis(100);
        world.serve(B, short.behave(Behaviour { cut, delay, ..Behaviour::default() }));
        let mut options = DownloadOptions::new().mirror(B);
        options.checksum = sum.map(|sum| sum.parse().expect("it is written as users write it"));
        let id = world.add(A, options);
        assert_eq!(world.wait_done(id), DownloadState::Completed);
    }
}

/// The first URL told the length and sent nothing. The second, longer one was fetched in its place, up to that length.
#[test]
fn mirror_that_only_ends_its_answer_is_not_cut_to_the_length_of_another() {
    let longer = Content::generated(2, 17 * MIB);
    let behaviour = Behaviour { ranges: Ranges::None, framing: Framing::UntilClose, ..Behaviour::default() };
    let cut = Some(Cut::always(0, End::Reset));
    let mut world = World::new(4);
    world.serve(A, file().behave(Behaviour { cut, ..Behaviour::default() }));
    world.serve(B, Resource::new(longer.clone()).behave(behaviour));
    let id = world.add(A, DownloadOptions::new().mirror(B));
    world.expect(id, longer);
    assert_eq!(world.wait_done(id), DownloadState::Completed);
}

#[test]
fn mirror_that_lies_in_every_header_is_found_by_the_checksum() {
    // Same length, same validators, other bytes.
    let lying = Resource::new(Content::generated(2, 16 * MIB));
    let (_, state) = fetch(lying, DownloadOptions::new().checksum(sum()));
    assert_eq!(state, DownloadState::Completed);
}

#[test]
fn first_url_that_lies_in_every_header_is_found_by_the_checksum() {
    let mut world = World::new(4);
    world.serve(A, Resource::new(Content::generated(2, 16 * MIB))).profile.down_rate = Some(1_000_000);
    world.serve(B, file()).profile.down_rate = Some(1_000_000);
    let id = world.add(A, DownloadOptions::new().mirror(B).checksum(sum()));
    world.expect(id, content());
    assert_eq!(world.wait_done(id), DownloadState::Completed);
}

/// The second URL began the file, with another length, so the first was put aside; when the digest was wrong it was not
/// tried alone, because it was still aside.
#[test]
fn mirror_that_was_put_aside_for_a_liar_is_tried_when_the_digest_is_wrong() {
    let mut world = World::new(4);
    world.serve(A, file()).profile.latency = Latency::millis(150, 150);
    let delay = Duration::from_millis(100);
    let lying = Resource::new(Content::generated(2, MIB));
    world.serve(B, lying.behave(Behaviour { delay, ..Behaviour::default() })).rate = Some(1_000_000);
    let id = world.add(A, DownloadOptions::new().mirror(B).checksum(sum()));
    world.expect(id, content());
    assert_eq!(world.wait_done(id), DownloadState::Completed);
}

#[test]
fn mirrors_that_all_lie_end_in_an_error() {
    let mut world = World::new(4);
    for (url, seed) in [(A, 2), (B, 3), (C, 4)] {
        world.serve(url, Resource::new(Content::generated(seed, 16 * MIB)));
    }
    let id = world.add(A, DownloadOptions::new().mirror(B).mirror(C).checksum(sum()));
    let state = world.wait_done(id);
    assert!(matches!(&state, DownloadState::Error { kind, .. } if kind == "protocol"), "{state:?}");
    assert_eq!(world.file("file.bin"), None);
}

#[test]
fn faster_mirror_serves_more() {
    let mut world = World::new(4);
    world.serve(A, file()).rate = Some(300_000);
    world.serve(B, file()).rate = Some(3_000_000);
    let id = world.add(A, DownloadOptions::new().mirror(B));
    assert_eq!(world.wait_done(id), DownloadState::Completed);
    assert!(world.log("b.example").bytes > 2 * world.log("a.example").bytes);
    assert!(world.now() < Instant::ZERO + Duration::from_secs(12), "{:?}", world.now());
}
