//! Tests of the choker: rounds of named peers, at named instants.

use super::*;

fn peer(key: u32) -> ChokePeer<u32> {
    ChokePeer {
        key,
        interested: true,
        unchoked: false,
        rate_down: 0,
        rate_up: 0,
        snubbed: false,
        since: Instant::ZERO,
        upload_only: false,
    }
}

fn at(secs: u64) -> Instant {
    Instant::ZERO + Duration::from_secs(secs)
}

/// A choker with its peers, which are unchoked as it says.
struct World {
    choker: Choker<u32>,
    peers: Vec<ChokePeer<u32>>,
    seeding: bool,
    rng: Rng,
}

impl World {
    fn new(slots: usize, peers: Vec<ChokePeer<u32>>) -> Self {
        Self { choker: Choker::new(Some(slots), None), peers, seeding: false, rng: Rng::from_seed([1; 32]) }
    }

    fn seeding(slots: usize, peers: u32) -> Self {
        Self { seeding: true, ..Self::new(slots, (0..peers).map(peer).collect()) }
    }

    fn round(&mut self, secs: u64) -> Vec<u32> {
        let unchoked = self.choker.round(at(secs), &self.peers, self.seeding, &mut self.rng);
        for peer in &mut self.peers {
            peer.unchoked = unchoked.contains(&peer.key);
        }
        unchoked
    }
}

fn trading(rates: &[u64]) -> Vec<ChokePeer<u32>> {
    (0..).zip(rates).map(|(key, rate)| ChokePeer { rate_down: *rate, ..peer(key) }).collect()
}

#[test]
fn those_who_send_most_are_unchoked_and_one_for_trial() {
    let mut world = World::new(4, trading(&[50, 10, 40, 20, 30, 0]));
    let unchoked = world.round(100);
    assert_eq!(unchoked.len(), 4);
    assert!([0, 2, 4].iter().all(|key| unchoked.contains(key)), "{unchoked:?}");
}

#[test]
fn trial_goes_round_every_thirty_seconds() {
    let mut world = World::new(4, trading(&[50, 60, 40, 0, 0, 0, 0, 0, 0, 0]));
    let mut tried = std::collections::BTreeSet::new();
    for round in 0..60 {
        let trial = world.round(100 + round * 10)[3..].to_vec();
        assert_eq!(trial.len(), 1);
        if round % 3 != 0 {
            assert!(tried.contains(&trial[0]), "a trial is not cut short");
        }
        tried.insert(trial[0]);
    }
    assert_eq!(tried.len(), 7, "everybody is tried in time");
}

#[test]
fn new_peers_are_tried_more_often() {
    let mut young = 0;
    for seed in 0..200 {
        let mut world = World::new(1, (0..2).map(peer).collect());
        world.peers[1].since = at(990);
        world.rng = Rng::from_seed([seed; 32]);
        young += usize::from(world.round(1000) == [1]);
    }
    assert!((120..180).contains(&young), "{young} of 200, where 150 are three times as many");
}

#[test]
fn snubbing_peer_keeps_no_slot_for_what_it_once_sent() {
    let mut world = World::new(2, trading(&[90, 10, 5, 5, 5, 5, 5]));
    world.round(0);
    world.peers[0].snubbed = true;
    let kept: Vec<_> = (1..40).map(|round| world.round(round * 10).contains(&0)).collect();
    let rounds = kept.iter().filter(|kept| **kept).count();
    assert!(rounds < 20, "it is on trial at most, as others are: {rounds} of 39");
}

#[test]
fn nobody_is_choked_while_there_are_slots() {
    let mut world = World::new(8, trading(&[1, 2, 0, 0]));
    assert_eq!(world.round(0), [0, 1, 2, 3]);
    assert_eq!(world.round(30), [0, 1, 2, 3]);
    assert!(world.choker.has_free_slot());
}

#[test]
fn peers_without_interest_and_seeds_get_no_slot() {
    let mut world = World::new(4, (0..3).map(peer).collect());
    world.peers[0].interested = false;
    world.peers[1].upload_only = true;
    assert_eq!(world.round(0), [2]);
}

#[test]
fn between_rounds_free_slots_are_filled_and_nobody_loses_one() {
    let mut world = World::new(2, trading(&[0, 0]));
    world.peers[1].interested = false;
    assert_eq!(world.round(0), [0]);
    world.peers.push(ChokePeer { rate_down: 1000, ..peer(2) });
    assert_eq!(world.round(1), [0, 2]);
    world.peers[1].interested = true;
    world.peers[1].rate_down = 2000;
    assert_eq!(world.round(2), [0, 2], "flapping interest moves no slot");
    assert!(world.round(10).contains(&1));
}

#[test]
fn slots_follow_the_upload_limit() {
    let slots = |limit| {
        let mut world = World::new(0, (0..300).map(peer).collect());
        world.choker.set_slots(None);
        world.choker.set_limit(limit);
        world.round(0).len()
    };
    let limits = [Some(1000), Some(100 << 10), Some(10 << 20), Some(u64::MAX), None];
    assert_eq!(limits.map(slots), [4, 4, 16, 200, 8]);
}

#[test]
fn seed_serves_everybody_in_turn_and_none_twice_before_all_had_theirs() {
    let mut world = World::seeding(4, 20);
    let mut served = [0; 20];
    for round in 0..240 {
        let unchoked = world.round(round * 10);
        assert_eq!(unchoked.len(), 4);
        for key in unchoked {
            served[key as usize] += 1;
            world.peers[key as usize].rate_up = 1000;
        }
    }
    let (least, most) = (served.iter().min().copied(), served.iter().max().copied());
    assert!(least >= Some(30) && most <= Some(72), "{served:?}");
}

#[test]
fn seed_takes_slots_first_from_those_who_take_nothing() {
    let mut world = World::seeding(4, 8);
    let first = world.round(0);
    for peer in &mut world.peers {
        peer.rate_up = if peer.key == first[0] { 0 } else { 1000 };
    }
    assert_eq!(world.round(10), first);
    let then = world.round(30);
    assert!(
        !then.contains(&first[0]) && first[1..].iter().all(|key| then.contains(key)),
        "{first:?} {then:?}"
    );
}

#[test]
fn peers_that_left_are_forgotten() {
    let mut world = World::seeding(2, 4);
    world.round(0);
    let gone = world.peers.iter().find(|peer| peer.unchoked).unwrap().key;
    world.peers.retain(|peer| peer.key != gone);
    world.choker.left(gone);
    assert!(world.choker.has_free_slot());
    world.peers.pop();
    world.round(1);
    assert_eq!(world.choker.turns.len(), 2);
}
