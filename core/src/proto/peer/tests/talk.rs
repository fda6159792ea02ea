//! Tests of two peers that talk to each other over a link that cuts what it carries anywhere.

use super::*;
use crate::base::Rng;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// One of the two, what it has, and what is on its way to it.
struct End {
    peer: Peer,
    judge: Judge,
    have: Bitfield,
    inbox: BytesMut,
    /// The blocks that it waits for, and how often.
    asked: BTreeMap<Block, usize>,
    came: u64,
}

struct World {
    ends: [End; 2],
    now: Instant,
    rng: Rng,
    fast: bool,
    extended: bool,
}

/// What every byte of a block is.
fn content(block: Block) -> u8 {
    (block.piece.get() * 31 + block.begin / 16384) as u8
}

fn data(block: Block) -> Bytes {
    Bytes::from(vec![content(block); block.len as usize])
}

impl End {
    fn new(now: Instant, id: u8, rng: &mut Rng) -> Self {
        let mut have = Bitfield::new(10);
        let wanted = rng.next_u64();
        grid().all().filter(|piece| wanted >> piece.get() & 1 == 1 || wanted & 1 << 20 != 0).for_each(
            |piece| {
                have.insert(piece);
            },
        );
        // The link may hold everything back for long.
        let patience = Duration::from_secs(1 << 30);
        let config = PeerConfig {
            metadata_size: Some(30_000),
            peer_id: PeerId([id; 20]),
            handshake_timeout: patience,
            idle_timeout: patience,
            ..config()
        };
        let mut peer = Peer::connecting(now, Arc::new(config), Some(grid()), remote());
        peer.grant(now, u32::MAX);
        peer.handle_input(now, LinkInput::Opened);
        let judge = Judge::new(Some(grid()));
        Self { peer, judge, have, inbox: BytesMut::new(), asked: BTreeMap::new(), came: 0 }
    }

    fn is_answered(&mut self, block: Block) {
        let count = self.asked.get_mut(&block).filter(|count| **count > 0).expect("it was asked for");
        *count -= 1;
        self.asked.retain(|_, count| *count > 0);
    }
}

impl World {
    fn new(seed: u64, fast: bool, extended: bool) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_be_bytes());
        let mut rng = Rng::from_seed(bytes);
        let now = Instant::from_nanos(1);
        let ends = [End::new(now, 1, &mut rng), End::new(now, 2, &mut rng)];
        let mut world = Self { ends, now, rng, fast, extended };
        world.settle();
        // The link takes from the handshakes what is not to be spoken.
        for end in &mut world.ends {
            (end.inbox[25], end.inbox[27]) = (if extended { 0x10 } else { 0 }, if fast { 4 } else { 0 });
        }
        world
    }

    /// All that both say goes on its way, and what came is acted upon.
    fn settle(&mut self) {
        for side in 0..2 {
            loop {
                self.ends[side].peer.flush(self.now);
                let Some(output) = self.ends[side].peer.poll_output() else { break };
                self.on_output(side, output);
            }
            let end = &self.ends[side];
            let in_flight: usize = end.asked.values().sum();
            assert_eq!((end.peer.in_flight_count(), end.peer.in_flight().count()), (in_flight, in_flight));
        }
    }

    fn on_output(&mut self, side: usize, output: Output) {
        let end = &mut self.ends[side];
        match output {
            Output::Link(LinkOutput::Send(bytes)) => self.carry(side, &bytes),
            Output::Greeted { .. } => {
                let have = end.have.clone();
                end.peer.announce_have(&have);
            }
            Output::Block(block, data) => {
                assert!(
                    data.parts().flatten().all(|byte| *byte == content(block))
                        && data.len() == block.len as usize
                );
                end.came += u64::from(block.len);
                end.is_answered(block);
            }
            Output::Rejected(block) => end.is_answered(block),
            Output::Choked { lost } => lost.into_iter().for_each(|block| end.is_answered(block)),
            Output::Requested(block) if !end.have.has(block.piece) => end.peer.reject(block),
            Output::Metadata(MetadataMessage::Request { piece }) => {
                end.peer.send_metadata(
                    piece,
                    30_000,
                    &vec![1; if piece == 0 { 16384 } else { 30_000 - 16384 }].into(),
                );
            }
            Output::Closed(reason) => panic!("{reason}"),
            _ => {}
        }
    }

    fn carry(&mut self, side: usize, bytes: &[u8]) {
        let end = &mut self.ends[side];
        // The link changed the handshakes, and the listeners hear what arrives.
        if end.peer.is_open() {
            end.judge.sends(bytes);
        } else {
            let mut bytes = bytes.to_vec();
            (bytes[25], bytes[27]) = (if self.extended { 0x10 } else { 0 }, if self.fast { 4 } else { 0 });
            end.judge.sends(&bytes);
        }
        end.peer.handle_input(self.now, LinkInput::Sent(bytes.len() as u32));
        self.ends[1 - side].inbox.extend_from_slice(bytes);
    }

    fn deliver(&mut self, side: usize, most: usize) {
        let end = &mut self.ends[side];
        let len = end.inbox.len().min(most);
        let data = end.inbox.split_to(len);
        end.judge.hears(&data);
        end.peer.handle_input(self.now, LinkInput::Data(data));
        self.settle();
    }

    fn any_block(&mut self) -> Block {
        block(self.rng.below(9) as u32, self.rng.below(2) as u32)
    }

    fn ask(&mut self, side: usize) {
        let block = self.any_block();
        let end = &mut self.ends[side];
        if end.peer.request(self.now, block) {
            *end.asked.entry(block).or_default() += 1;
        }
    }

    fn cancel(&mut self, side: usize) {
        let at = self.rng.below(10) as usize;
        let end = &mut self.ends[side];
        let Some(block) = end.peer.in_flight().nth(at) else { return };
        end.peer.cancel(block);
        end.is_answered(block);
    }

    fn answer(&mut self, side: usize, at: usize) -> bool {
        let end = &mut self.ends[side];
        let block = end.peer.wanted().nth(at);
        block.is_some_and(|block| end.peer.send_block(self.now, block, data(block).into()))
    }

    /// Something that either of them may do.
    fn act(&mut self, side: usize, op: u8) {
        let (number, at) = (self.rng.next_u64(), self.rng.below(4) as usize);
        let may_be_silent = self.fast;
        let end = &mut self.ends[side];
        match op % 16 {
            0..4 => self.deliver(side, 1 + (number % 40_000) as usize),
            4 => self.deliver(side, 1 + (number % 20) as usize),
            5..8 => self.ask(side),
            8 => self.cancel(side),
            9 => drop(self.answer(side, at)),
            10 if number.is_multiple_of(4) => end.peer.choke(),
            10 => end.peer.unchoke(),
            11 => end.peer.interested(!number.is_multiple_of(5)),
            12 if may_be_silent => {
                let block = end.peer.wanted().nth(at);
                block.into_iter().for_each(|block| end.peer.reject(block));
                end.peer.allow_fast(&[piece((number % 10) as u32)]);
            }
            13 if end.have.insert(piece((number % 10) as u32)) => end.peer.have(piece((number % 10) as u32)),
            // Only a peer that understands it can be told.
            13 if end.peer.client().is_some() => {
                end.have.remove(piece((number % 10) as u32));
                end.peer.dont_have(piece((number % 10) as u32));
            }
            14 => self.say_something_extended(side, number),
            15 => {
                self.now += Duration::from_millis(number % 30_000);
                (0..2).for_each(|side| self.ends[side].peer.handle_timeout(self.now));
            }
            _ => {}
        }
        self.settle();
    }

    fn say_something_extended(&mut self, side: usize, number: u64) {
        let peer = &mut self.ends[side].peer;
        match number % 3 {
            0 => peer.upload_only(number & 8 == 0),
            // No more than a peer gives before it takes it for a flood.
            1 if number & 0xf0 == 0 => drop(peer.request_metadata((number >> 8) as u32 % 3)),
            _ => peer.suggest(piece((number >> 8) as u32 % 10)),
        }
    }

    /// Both answer what is asked for, and everything arrives.
    fn calm(&mut self) {
        for round in 0.. {
            assert!(round < 100, "it does not come to rest");
            let mut quiet = true;
            for side in 0..2 {
                self.ends[side].peer.unchoke();
                self.settle();
                while !self.ends[side].inbox.is_empty() {
                    quiet = false;
                    self.deliver(side, 9999);
                }
                while self.answer(side, 0) {
                    quiet = false;
                    self.settle();
                }
            }
            if quiet {
                return;
            }
        }
    }
}

/// Two that talk at random and then calmly; what came, and how the talk looked.
fn talk(seed: u64, fast: bool, extended: bool, ops: &[(bool, u8)]) -> Vec<u64> {
    let mut world = World::new(seed, fast, extended);
    for (side, op) in ops {
        world.act(usize::from(*side), *op);
    }
    world.calm();
    for end in &world.ends {
        assert!(end.judge.is_even(), "everything that was asked for is answered: {:?}", end.judge);
        assert_eq!(end.peer.in_flight_count(), 0);
        assert_eq!(end.came, end.peer.received());
    }
    let [one, other] = &world.ends;
    assert_eq!(one.peer.received() + one.peer.wasted(), other.peer.sent());
    assert_eq!(other.peer.received() + other.peer.wasted(), one.peer.sent());
    world.ends.iter().map(|end| end.came).collect()
}

#[test]
fn a_lively_talk_moves_blocks_both_ways() {
    let ops: Vec<(bool, u8)> = (0..4000u32).map(|at| (at % 2 == 0, (at * 7 % 31 % 16) as u8)).collect();
    for (fast, extended) in [(true, true), (false, false), (true, false), (false, true)] {
        let came = talk(7, fast, extended, &ops);
        assert!(came.iter().all(|came| *came > 100_000), "{came:?} {fast} {extended}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn whatever_two_peers_do_both_keep_the_rules_and_nothing_is_left_unanswered(
        seed: u64,
        fast: bool,
        extended: bool,
        ops in prop::collection::vec((any::<bool>(), 0u8..16), 0..400),
    ) {
        talk(seed, fast, extended, &ops);
    }

    #[test]
    fn where_the_stream_is_cut_makes_no_difference(
        kinds in prop::collection::vec(0u8..14, 0..40),
        cuts in prop::collection::vec(1usize..3000, 1..5),
    ) {
        let messages: Vec<Message> = kinds.iter().enumerate().map(|(at, kind)| any_message(at as u32, *kind)).collect();
        let stream = encoded(&messages);
        let heard = |cuts: &[usize]| {
            let mut lab = Lab::unchoked(ALL);
            for index in 0..8 {
                assert!(lab.peer.request(lab.now, block(index, 0)));
            }
            lab.forget();
            let (mut rest, mut cuts) = (&stream[..], cuts.iter().cycle());
            while !rest.is_empty() && !lab.peer.is_closed() {
                let (part, after) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
                lab.data(BytesMut::from(part));
                rest = after;
            }
            (lab.events(), lab.peer.received())
        };
        prop_assert_eq!(heard(&cuts), heard(&[usize::MAX]));
    }
}

/// Some message, right or wrong.
fn any_message(at: u32, kind: u8) -> Message {
    match kind {
        0 => Message::Choke,
        1 => Message::Unchoke,
        2 => Message::Interested,
        3 => Message::NotInterested,
        4 => Message::Have(at % 11),
        5 => Message::Request(span(block(at % 10, 0))),
        6..9 => bytes_of(block(at % 8, 0)),
        9 => Message::Reject(span(block(at % 8, 0))),
        10 => Message::AllowedFast(at % 10),
        11 => Message::Suggest(at % 10),
        12 => Message::Extended {
            id: (at % 5) as u8,
            payload: Bytes::from_static(b"d8:msg_typei0e5:piecei0ee"),
        },
        _ => Message::Unknown(30),
    }
}
