//! Those who have an address beside the world's engine: actors, and other engines.

use bytes::Bytes;
use core::time::Duration;
use gosh_dl_core::base::{Instant, LinkError, LinkInput, LinkOutput};
use gosh_dl_core::download::DownloadOptions;
use gosh_dl_core::engine::{DownloadEvent, EngineConfig, Input, LinkKey, ListenerKey, Output, UdpKey};
use gosh_dl_sim::{Actor, Content, CrashMode, DatagramProfile, Line, NodeId, World};
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const PORT: u16 = 6881;

const fn address(number: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(203, 0, 113, number))
}

const fn place(number: u8) -> SocketAddr {
    SocketAddr::new(address(number), PORT)
}

/// Puts out what it is told to, answers what `answer` says on its links, and keeps what it hears.
#[derive(Debug)]
struct Puppet {
    outputs: VecDeque<Output>,
    answer: fn(&[u8]) -> Option<Vec<u8>>,
    heard: BTreeMap<u64, Vec<u8>>,
    inputs: Vec<Input>,
    wakes: u32,
}

impl Puppet {
    fn new(outputs: impl IntoIterator<Item = Output>) -> Self {
        Self::answering(|_| None, outputs)
    }

    fn answering(answer: fn(&[u8]) -> Option<Vec<u8>>, outputs: impl IntoIterator<Item = Output>) -> Self {
        let (outputs, heard) = (outputs.into_iter().collect(), BTreeMap::new());
        Self { outputs, answer, heard, inputs: Vec::new(), wakes: 0 }
    }

    fn say(&mut self, link: u64, output: LinkOutput) {
        self.outputs.push_back(Output::Link { link: LinkKey::from_u64(link), output });
    }

    fn ends(&self) -> Vec<(u64, LinkError)> {
        let end = |input: &Input| match input {
            Input::Link { link, input: LinkInput::Closed(error) } => Some((link.as_u64(), *error)),
            _ => None,
        };
        self.inputs.iter().filter_map(end).collect()
    }

    fn datagrams(&self) -> Vec<(SocketAddr, usize)> {
        let datagram = |input: &Input| match input {
            Input::Datagram { from, bytes, .. } => Some((*from, bytes.len())),
            _ => None,
        };
        self.inputs.iter().filter_map(datagram).collect()
    }
}

impl Actor for Puppet {
    fn handle_input(&mut self, _: Instant, input: Input) {
        match &input {
            Input::Accepted { arrival, .. } => {
                let link = LinkKey::from_u64(1000 + arrival.0);
                self.outputs.push_back(Output::Adopt { arrival: *arrival, link });
                self.say(link.as_u64(), LinkOutput::Credit(CREDIT));
            }
            Input::Link { link, input: LinkInput::Opened } => {
                self.say(link.as_u64(), LinkOutput::Credit(CREDIT));
            }
            Input::Link { link, input: LinkInput::Data(bytes) } => {
                let link = link.as_u64();
                let heard = self.heard.entry(link).or_default();
                heard.extend_from_slice(bytes);
                let more = LinkOutput::Credit(bytes.len() as u32);
                if let Some(answer) = (self.answer)(heard) {
                    heard.clear();
                    self.say(link, LinkOutput::Send(Bytes::from(answer)));
                }
                self.say(link, more);
            }
            _ => {}
        }
        self.inputs.push(input);
    }

    fn handle_timeout(&mut self, _: Instant) {
        self.wakes += 1;
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        None
    }
}

const CREDIT: u32 = 10_000;

fn listen(on: SocketAddr) -> Output {
    Output::Listen { listener: ListenerKey(1), on }
}

fn dial(link: u64, to: SocketAddr) -> Output {
    Output::Connect { link: LinkKey::from_u64(link), to, from: None, tls: None }
}

fn bind(on: SocketAddr) -> Output {
    Output::Bind { socket: UdpKey(1), on }
}

fn datagram(to: SocketAddr, len: usize) -> Output {
    Output::Datagram { socket: UdpKey(1), to, bytes: Bytes::from(vec![7; len]) }
}

fn send(link: u64, len: usize) -> Output {
    let bytes = (0..len).map(|number| (number % 251) as u8).collect::<Vec<_>>();
    Output::Link { link: LinkKey::from_u64(link), output: LinkOutput::Send(bytes.into()) }
}

fn rest(world: &mut World) {
    world.run_for(Duration::from_secs(60));
}

fn puppet(world: &World, id: NodeId) -> &Puppet {
    world.actor(id)
}

#[test]
fn actors_talk_to_each_other_both_ways() {
    let mut world = World::new(1);
    let echo = |heard: &[u8]| (heard.len() == 100_000).then(|| heard.to_vec());
    let server = world.add_actor(&[address(1)], Puppet::answering(echo, [listen(place(1))]));
    let client = world.add_actor(&[address(2)], Puppet::new([dial(5, place(1)), send(5, 100_000)]));
    rest(&mut world);
    let expected: Vec<u8> = (0..100_000_usize).map(|number| (number % 251) as u8).collect();
    assert_eq!(puppet(&world, client).heard[&5], expected);
    world.act(client, |puppet: &mut Puppet, _| puppet.say(5, LinkOutput::Close));
    rest(&mut world);
    assert_eq!(puppet(&world, server).ends(), [(1000, LinkError::Eof)]);
    assert_eq!(puppet(&world, client).ends(), []);
    let from = puppet(&world, server).inputs.iter().find_map(|input| match input {
        Input::Accepted { from, .. } => Some(from.ip()),
        _ => None,
    });
    assert_eq!((from, puppet(&world, server).wakes), (Some(address(2)), 1));
}

#[test]
fn whoever_cannot_be_reached_is_told_or_not() {
    let mut world = World::new(1);
    let deaf = world.add_actor(&[address(1)], Puppet::new([]));
    let silent = world.add_actor(&[address(2)], Puppet::new([listen(place(2))]));
    world.actors.node(silent).unwrap().silent = true;
    let dials =
        [dial(1, place(1)), dial(2, place(2)), dial(3, place(3)), dial(4, (Ipv6Addr::LOCALHOST, 1).into())];
    let client = world.add_actor(&[address(9)], Puppet::new(dials));
    rest(&mut world);
    let mut ends = puppet(&world, client).ends();
    ends.sort_unstable_by_key(|(link, _)| *link);
    assert_eq!(ends, [(1, LinkError::Refused), (3, LinkError::Unreachable), (4, LinkError::Unreachable)]);
    assert!(puppet(&world, deaf).inputs.is_empty());
}

#[test]
fn places_are_had_once_and_only_by_whom_they_belong_to() {
    let mut world = World::new(1);
    let v6 = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9));
    let any4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT));
    let any6 = SocketAddr::from((Ipv6Addr::UNSPECIFIED, PORT));
    let on = |listener, on| Output::Listen { listener: ListenerKey(listener), on };
    let wishes = [on(1, any4), on(2, any6), on(3, place(1)), on(4, place(2)), on(5, (address(1), 0).into())];
    let id = world.add_actor(&[address(1), v6], Puppet::new(wishes));
    let results: Vec<_> = puppet(&world, id)
        .inputs
        .iter()
        .map(|input| match input {
            Input::Listening { result, .. } => *result,
            other => panic!("{other:?}"),
        })
        .collect();
    let (used, foreign) = (Err(LinkError::AddressInUse), Err(LinkError::AddressNotAvailable));
    assert_eq!(results[..4], [Ok(any4), Ok(any6), used, foreign]);
    assert!(results[4].is_ok_and(|on| on.port() > 1024));
    let client = world.add_actor(&[v6.to_canonical()], Puppet::new([]));
    assert_eq!(puppet(&world, client).wakes, 1);
}

#[test]
fn datagrams_are_lost_doubled_and_cut_off_at_the_mtu() {
    let mut world = World::new(1);
    let target = world.add_actor(&[address(1)], Puppet::new([bind(place(1))]));
    let profile = DatagramProfile { loss: 200, twice: 100, ..DatagramProfile::default() };
    world.actors.node(target).unwrap().datagrams = profile;
    let sends = (0..1000).map(|_| datagram(place(1), 100));
    let large = [datagram(place(1), 1473), datagram(place(3), 1), datagram((address(1), 1).into(), 1)];
    let outputs = [bind((address(2), 0).into())].into_iter().chain(sends).chain(large);
    let source = world.add_actor(&[address(2)], Puppet::new(outputs));
    rest(&mut world);
    let came = puppet(&world, target).datagrams();
    assert!((800..960).contains(&came.len()), "{}", came.len());
    assert!(came.iter().all(|(from, len)| from.ip() == address(2) && *len == 100));
    assert!((150..260).contains(&world.actors.internet.lost), "{}", world.actors.internet.lost);
    world.actors.node(target).unwrap().datagrams.loss = 0;
    world.act(source, |puppet: &mut Puppet, _| puppet.outputs.push_back(datagram(place(1), 1472)));
    rest(&mut world);
    assert_eq!(puppet(&world, target).datagrams().last().map(|(_, len)| *len), Some(1472));
}

#[test]
fn connections_and_datagrams_share_a_line() {
    let mut world = World::new(1);
    let target = world.add_actor(&[address(1)], Puppet::new([listen(place(1)), bind(place(1))]));
    world.actors.node(target).unwrap().line = Line::new(None, Some(100_000));
    let sources: Vec<NodeId> = (2..6)
        .map(|number| world.add_actor(&[address(number)], Puppet::new([dial(1, place(1)), send(1, 100_000)])))
        .collect();
    world.act(sources[0], |puppet: &mut Puppet, _| {
        puppet.outputs.push_back(bind((address(2), 0).into()));
        puppet.outputs.extend((0..1000).map(|_| datagram(place(1), 972)));
    });
    let heard = |world: &World| puppet(world, target).heard.values().map(Vec::len).sum::<usize>();
    world.run_until(|world| heard(world) == 400_000, Duration::from_secs(60));
    let took = world.now() - Instant::ZERO;
    assert!((4200..4700).contains(&took.as_millis()), "{took:?}: 400 kB, and datagrams");
    let parts: Vec<usize> = puppet(&world, target).heard.values().map(Vec::len).collect();
    assert_eq!(parts, [100_000; 4]);
    let came = puppet(&world, target).datagrams().len();
    assert!((20..60).contains(&came), "{came} datagrams, as many as a buffer holds");
    world.actors.node(target).unwrap().line = Line::default();
    for source in sources {
        world.act(source, |puppet: &mut Puppet, _| puppet.outputs.push_back(send(1, 100_000)));
    }
    assert!(world.run_until(|world| heard(world) == 800_000, Duration::from_secs(1)));
}

#[test]
fn whoever_goes_takes_his_connections_along() {
    let mut world = World::new(1);
    let server = world.add_actor(&[address(1)], Puppet::new([listen(place(1))]));
    let client = world.add_actor(&[address(2)], Puppet::new([dial(1, place(1))]));
    rest(&mut world);
    assert!(world.remove_actor(server).is_some());
    rest(&mut world);
    assert_eq!(puppet(&world, client).ends(), [(1, LinkError::Reset)]);
    world.act(client, |puppet: &mut Puppet, _| puppet.outputs.push_back(dial(2, place(1))));
    rest(&mut world);
    assert_eq!(puppet(&world, client).ends()[1..], [(2, LinkError::Refused)]);
}

/// A small origin: every request that has ended is answered with the same file.
fn origin(heard: &[u8]) -> Option<Vec<u8>> {
    heard.ends_with(b"\r\n\r\n").then(|| {
        let body = body();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        [head.into_bytes(), body].concat()
    })
}

fn body() -> Vec<u8> {
    Content::generated(3, 200_000).slice(0..200_000).to_vec()
}

/// Starts engines of their own that fetch a file from an actor; one crashes in the middle.
fn many_engines(seed: u64, count: u8) -> World {
    let mut world = World::new(seed);
    let servers = Puppet::answering(origin, [listen((address(1), 80).into())]);
    world.add_actor(&[address(1)], servers);
    world.names.set("origin.example", Ok(vec![address(1)]));
    let stations: Vec<NodeId> =
        (2..2 + count).map(|number| world.add_station(&[address(number)], EngineConfig::new())).collect();
    for id in &stations {
        let url = "http://origin.example/file".to_owned();
        let add = |engine: &mut gosh_dl_core::engine::Engine, now, token| {
            engine.add_http(now, &url, DownloadOptions::new(), token)
        };
        assert!(world.command(*id, add).1.is_ok());
    }
    world.run_for(Duration::from_millis(150));
    world.crash_station(stations[0], CrashMode::PowerCut);
    world.run_for(Duration::from_millis(150));
    world.restart_station(stations[0]);
    let is_done = |world: &World, id: &NodeId| {
        let events = &world.station(*id).events;
        events.iter().any(|(_, event)| matches!(event, DownloadEvent::Completed { .. }))
    };
    let done =
        world.run_until(|world| stations.iter().all(|id| is_done(world, id)), Duration::from_secs(600));
    assert!(done, "{}", world.report());
    for id in &stations {
        assert!(world.station(*id).disk.content(World::DIR, "file").is_some_and(|file| file == body()));
    }
    world
}

#[test]
fn many_engines_live_in_one_world_each_with_a_disk_of_its_own() {
    let first = many_engines(7, 200);
    assert!(first.steps() > 1000);
}

#[test]
fn the_same_seed_gives_the_same_trace_and_another_another() {
    let hashes = [1, 1, 2].map(|seed| many_engines(seed, 5).trace_hash());
    assert_eq!(hashes[0], hashes[1]);
    assert_ne!(hashes[0], hashes[2]);
}
