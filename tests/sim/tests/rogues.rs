//! An engine among peers that abuse it: what they may take of it is bounded, and honest peers get what is theirs.

use core::time::Duration;
use gosh_dl_core::base::Rng;
use gosh_dl_core::download::{DownloadId, DownloadOptions};
use gosh_dl_core::engine::EngineConfig;
use gosh_dl_core::wire::peer::{Extension, ExtensionHandshake, Message, Pex, PexFlags, Span};
use gosh_dl_sim::one_file::{OneFile, place};
use gosh_dl_sim::{Conduct, Content, Mouth, NodeId, Rogue, ScriptedPeer, Turn, World};
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

const LEECHER: u8 = 200;
const MINUTE: Duration = Duration::from_secs(60);

fn file() -> OneFile {
    OneFile::new(Content::generated(8, 1_500_000), 64 << 10)
}

fn rogue(number: u8, script: impl FnMut(&mut Mouth, Turn) + 'static) -> Rogue {
    Rogue::new(place(number), &file().metainfo, script)
}

fn add(world: &mut World, number: u8, rogue: Rogue) -> NodeId {
    world.add_actor(&[place(number).ip()], rogue)
}

fn leecher(world: &mut World, peers: impl Iterator<Item = u8>) -> (NodeId, DownloadId) {
    let options = peers.fold(DownloadOptions::new(), |options, peer| options.peer(place(peer)));
    file().join(world, LEECHER, EngineConfig::new().seed_ratio(0.0), options)
}

/// An engine that has the file and dials the leecher.
fn seed(world: &mut World) {
    file().seed(world, 100, EngineConfig::new().seed_ratio(0.0), DownloadOptions::new().peer(place(LEECHER)));
}

fn says_nothing(_: &mut Mouth, _: Turn) {}

/// Has nothing, wants nothing, and says each minute that it is alive.
fn lives_on(mouth: &mut Mouth, turn: Turn) {
    match turn {
        Turn::Greeted => mouth.say(&[Message::HaveNone]),
        Turn::Tick => mouth.say(&[Message::KeepAlive]),
        Turn::Heard(_) => {}
    }
}

fn introduction(port: u16) -> ExtensionHandshake {
    let ids = Extension::ALL.map(|extension| Some(extension.local_id()));
    ExtensionHandshake { ids, listen_port: Some(port), ..ExtensionHandshake::default() }
}

#[test]
fn who_dialled_us_and_said_where_it_listens_is_not_dialled_as_well() {
    let mut world = World::new(1);
    let guest = rogue(1, |mouth, turn| match turn {
        Turn::Greeted => {
            mouth.say(&[Message::HaveNone]);
            mouth.introduce(&introduction(6881));
        }
        Turn::Tick => mouth.say(&[Message::KeepAlive]),
        Turn::Heard(_) => {}
    });
    let (node, _) = leecher(&mut world, 0..0);
    let guest = add(&mut world, 1, guest.dials(place(LEECHER), 1).every(MINUTE));
    world.run_for(MINUTE * 4);
    let guest: &Rogue = world.actor(guest);
    assert_eq!((guest.met, guest.connections), (1, 0), "{guest:?}");
    assert!(!world.has_completed(node));
}

#[test]
fn a_peer_that_names_another_port_each_time_is_told_of_once() {
    let mut world = World::new(2);
    leecher(&mut world, 0..0);
    let mut port = 2000;
    let changer = rogue(1, move |mouth, turn| match turn {
        Turn::Greeted => mouth.say(&[Message::HaveNone]),
        Turn::Tick => {
            port += 1;
            mouth.introduce(&introduction(port));
        }
        Turn::Heard(_) => {}
    });
    add(&mut world, 1, changer.dials(place(LEECHER), 1).every(Duration::from_millis(100)));
    let told: Arc<Mutex<BTreeSet<SocketAddr>>> = Arc::default();
    let notes = Arc::clone(&told);
    let listener = rogue(2, move |mouth, turn| match turn {
        Turn::Greeted => {
            mouth.say(&[Message::HaveNone]);
            mouth.introduce(&introduction(6881));
        }
        Turn::Tick => mouth.say(&[Message::KeepAlive]),
        Turn::Heard(Message::Extended { id, payload }) if id == Extension::Pex.local_id() => {
            let pex = Pex::decode(&payload).expect("it is well formed");
            notes.lock().expect("nobody panicked").extend(pex.added.iter().map(|(address, _)| *address));
        }
        Turn::Heard(_) => {}
    });
    add(&mut world, 2, listener.dials(place(LEECHER), 1).every(MINUTE));
    world.run_for(MINUTE * 5);
    let first = SocketAddr::new(place(1).ip(), 2001);
    assert_eq!(*told.lock().expect("nobody panicked"), BTreeSet::from([first]));
}

#[test]
fn crowd_that_does_not_greet_keeps_nobody_out() {
    // Nothing at all, and a byte in each second.
    for (seed, bytes) in [(3, 0), (4, 10)] {
        let mut world = World::new(seed);
        let (node, _) = leecher(&mut world, 0..0);
        let crowd = rogue(1, says_nothing).greets_slowly(bytes).every(Duration::from_secs(1));
        let crowd = add(&mut world, 1, crowd.dials(place(LEECHER), 150).returns());
        world.run_for(Duration::from_secs(5));
        seed_meets_limit(&mut world, node, Duration::from_secs(30));
        let crowd: &Rogue = world.actor(crowd);
        assert!(crowd.closed > 100 && crowd.met == 0, "{crowd:?}");
    }
}

fn seed_meets_limit(world: &mut World, node: NodeId, limit: Duration) {
    seed(world);
    file().assert_fetched(world, node, limit);
}

#[test]
fn one_host_takes_a_few_of_the_places_only() {
    let mut world = World::new(5);
    let leecher = leecher(&mut world, 0..0);
    let crowd = rogue(1, lives_on).every(MINUTE).dials(place(LEECHER), 100);
    let crowd = add(&mut world, 1, crowd);
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.actor::<Rogue>(crowd).met, 8);
    seed_meets_limit(&mut world, leecher.0, Duration::from_secs(30));
}

#[test]
fn peers_that_only_say_that_they_live_make_room_for_one_that_comes() {
    let mut world = World::new(6);
    let (node, _) = leecher(&mut world, 0..0);
    for number in 1..=70 {
        add(&mut world, number, rogue(number, lives_on).every(MINUTE).dials(place(LEECHER), 1));
    }
    world.run_for(MINUTE);
    seed_meets_limit(&mut world, node, MINUTE * 8);
}

#[test]
fn peers_that_only_say_that_they_live_make_room_for_one_that_is_known() {
    let mut world = World::new(7);
    for number in 1..=60 {
        add(&mut world, number, rogue(number, lives_on).every(MINUTE));
    }
    let (node, _) = leecher(&mut world, 1..=60);
    world.run_for(MINUTE);
    file().seed(&mut world, 100, EngineConfig::new().seed_ratio(0.0), DownloadOptions::new());
    // Somebody tells of it.
    let teller = rogue(61, |mouth, turn| {
        if turn == Turn::Greeted {
            mouth.say(&[Message::HaveNone]);
            mouth.introduce(&introduction(6881));
            let pex = Pex { added: vec![(place(100), PexFlags::REACHABLE)], dropped: Vec::new() };
            mouth.extension(Extension::Pex, pex.encode());
        }
    });
    add(&mut world, 61, teller.dials(place(LEECHER), 1));
    file().assert_fetched(&mut world, node, MINUTE * 30);
}

#[test]
fn peer_that_rejects_whatever_it_is_asked_for_is_asked_seldom() {
    let rejects = |first: Vec<Message>| {
        move |mouth: &mut Mouth, turn: Turn| match turn {
            Turn::Greeted => mouth.say(&first),
            Turn::Heard(Message::Request(span)) => mouth.say(&[Message::Reject(span)]),
            Turn::Tick => mouth.say(&[Message::KeepAlive]),
            Turn::Heard(_) => {}
        }
    };
    let given = [0, 1, 2].map(Message::AllowedFast);
    let choking = [Message::HaveAll].into_iter().chain(given).collect();
    for (seed, first) in [(8, vec![Message::HaveAll, Message::Unchoke]), (9, choking)] {
        let mut world = World::new(seed);
        let liar = add(&mut world, 1, rogue(1, rejects(first)).every(MINUTE));
        let (node, _) = leecher(&mut world, 1..2);
        world.run_for(MINUTE * 2);
        let asked = world.actor::<Rogue>(liar).requests;
        assert!((64..250).contains(&asked), "{asked} requests");
        seed_meets_limit(&mut world, node, Duration::from_secs(30));
    }
}

#[test]
fn peer_that_sent_wrong_bytes_may_try_again_when_its_ban_is_over() {
    let mut world = World::new(10);
    let peer = file().scripted(&mut world, 1, Conduct::Corrupt);
    let (node, _) = leecher(&mut world, 1..2);
    world.run_for(MINUTE * 60);
    let seen: &ScriptedPeer = world.actor(peer);
    assert_eq!(seen.connections, 1, "it is banned");
    // What was between them and changed bytes is gone.
    world.act(peer, |peer: &mut ScriptedPeer, _| peer.conduct = Conduct::Honest);
    file().assert_fetched(&mut world, node, MINUTE * 60 * 6);
}

/// A swarm of bogus addresses at 198.18.0.0/16, all of which accept and say nothing.
#[test]
fn bogus_addresses_are_dialled_few_at_a_time_and_rarely_again() {
    let mut world = World::new(11);
    let bogus = |number: u32| IpAddr::from((0xc612_0000 | number).to_be_bytes());
    let all: Vec<IpAddr> = (0..400).map(bogus).collect();
    let listen = SocketAddr::new(IpAddr::from([0, 0, 0, 0]), 6881);
    let silent = Rogue::new(listen, &file().metainfo, says_nothing).greets_slowly(0);
    let silent = world.add_actor(&all, silent);
    let victim = add(&mut world, 9, rogue(9, says_nothing).greets_slowly(0));
    let mut rng = Rng::from_seed([3; 32]);
    let flooder = rogue(1, move |mouth, turn| match turn {
        Turn::Greeted => {
            mouth.say(&[Message::HaveNone]);
            mouth.introduce(&introduction(6881));
        }
        Turn::Tick => {
            let mut added: Vec<_> = (0..300)
                .map(|_| (SocketAddr::new(bogus(rng.below(400) as u32), 6881), PexFlags::REACHABLE))
                .collect();
            added.push((place(9), PexFlags::REACHABLE));
            mouth.extension(Extension::Pex, Pex { added, dropped: Vec::new() }.encode());
        }
        Turn::Heard(_) => {}
    });
    let (node, _) = leecher(&mut world, 1..2);
    add(&mut world, 1, flooder.every(Duration::from_secs(11)));
    world.run_for(MINUTE * 10);
    let tried = world.actor::<Rogue>(silent).connections;
    assert!((100..=1250).contains(&tried), "20 at a time, each for 10 seconds: {tried}");
    let again = world.actor::<Rogue>(victim).connections;
    assert!(again <= 8, "the pauses grow: {again}");
    seed_meets_limit(&mut world, node, MINUTE);
}

#[test]
fn floods_of_requests_and_cancels_take_nothing_from_honest_leechers() {
    let span = |number: u32| Span { index: number % 22, begin: 0, len: 16 << 10 };
    let cancels = |number| [Message::Request(span(number)), Message::Cancel(span(number))];
    let floods: [Vec<Message>; 3] = [
        (0..20_000).map(span).map(Message::Request).collect(),
        (0..6000).flat_map(cancels).collect(),
        (0..6000).map(span).map(Message::Cancel).collect(),
    ];
    let usual = time_beside(12, Vec::new());
    for (seed, flood) in (13..).zip(floods) {
        let took = time_beside(seed, flood);
        assert!(took < usual * 2, "{took:?}, {usual:?} without it");
    }
}

/// How long an honest leecher takes while somebody says all of this to the seed, as soon as it may ask and over again.
fn time_beside(seed: u64, flood: Vec<Message>) -> Duration {
    let mut world = World::new(seed);
    let config = EngineConfig::new().seed_ratio(0.0).global_upload_limit(Some(200_000));
    file().seed(&mut world, 100, config, DownloadOptions::new());
    world.run_for(Duration::from_secs(1));
    let flooder = rogue(1, move |mouth, turn| match turn {
        Turn::Greeted => mouth.say(&[Message::HaveNone, Message::Interested]),
        Turn::Heard(Message::Unchoke) | Turn::Tick => mouth.say(&flood),
        Turn::Heard(_) => {}
    });
    add(&mut world, 1, flooder.dials(place(100), 1).every(Duration::from_secs(1)));
    let began = world.now();
    let (node, _) = leecher(&mut world, 100..101);
    file().assert_fetched(&mut world, node, MINUTE * 5);
    world.now() - began
}
