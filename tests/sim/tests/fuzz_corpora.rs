//! Every fuzz target over its committed corpus, and over random changes of it that are the same everywhere: within bounded
//! memory and time.

mod counting;

use counting::TAKEN;
use gosh_dl_core::base::Rng;
use gosh_dl_core::fuzzing::TARGETS;
use std::path::Path;
use std::time::{Duration, Instant};

/// The most bytes that were held at once beyond those before.
fn memory_of(run: impl FnOnce()) -> usize {
    let before = TAKEN.get().0;
    TAKEN.set((before, before));
    run();
    TAKEN.get().1 - before
}

fn check(name: &str, body: fn(&[u8]), input: &[u8]) {
    let began = Instant::now();
    let memory = memory_of(|| body(input));
    let world = if name == "torrent" { WORLD_OF_A_TORRENT } else { 0 };
    let most = MEMORY + world + input.len() * MEMORY_PER_BYTE;
    assert!(memory <= most, "{name}: {memory} bytes for {} of input: {input:?}", input.len());
    let took = began.elapsed();
    assert!(took < Duration::from_secs(5), "{name}: {took:?} for {} bytes: {input:?}", input.len());
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(name);
    let mut files: Vec<_> =
        std::fs::read_dir(&dir).expect("a corpus").map(|entry| entry.expect("a file").path()).collect();
    files.sort();
    assert!(!files.is_empty(), "no corpus for {name}");
    files.into_iter().map(|file| std::fs::read(file).expect("a file")).collect()
}

#[test]
fn committed_corpora_keep_every_promise() {
    for (name, body) in TARGETS {
        corpus(name).iter().for_each(|input| check(name, body, input));
    }
    corpus("simulation").iter().for_each(|input| gosh_dl_sim::scenario::fuzz(input));
}

#[test]
fn changed_corpora_keep_every_promise() {
    for (name, body) in TARGETS {
        let seeds = corpus(name);
        let (mut rng, began) = (Rng::from_seed(seed_of(name)), Instant::now());
        for _ in 0..INPUTS {
            let mut input = seeds[rng.below(seeds.len() as u64) as usize].clone();
            for _ in 0..=rng.below(6) {
                change(&mut rng, &mut input, &seeds);
            }
            input.truncate(64 << 10);
            check(name, body, &input);
        }
        println!("{name}: {INPUTS} inputs in {:?}", began.elapsed());
    }
}

/// Its name, so that other targets may come and go.
fn seed_of(name: &str) -> [u8; 32] {
    let mut seed = [0; 32];
    seed.iter_mut().zip(name.bytes()).for_each(|(place, byte)| *place = byte);
    seed
}

fn change(rng: &mut Rng, input: &mut Vec<u8>, seeds: &[Vec<u8>]) {
    let at = rng.below(input.len() as u64 + 1) as usize;
    match rng.below(6) {
        0 => input.insert(at, rng.next_u64() as u8),
        1 => input.truncate(at),
        2 => input.extend_from_slice(&seeds[rng.below(seeds.len() as u64) as usize]),
        3 => {
            let piece = input[at..].to_vec();
            input.extend_from_slice(&piece);
        }
        4 if at < input.len() => _ = input.remove(at),
        _ if at < input.len() => input[at] ^= 1 << rng.below(8),
        _ => {}
    }
}

/// How many changed inputs each target is given: the slowest take some milliseconds each.
const INPUTS: usize = 1000;

/// Heads have a most of their own, whatever comes.
const MEMORY: usize = 1 << 20;

/// A few copies of 300 KB, on its disk and to compare with.
const WORLD_OF_A_TORRENT: usize = 1 << 20;

/// A value of two bytes is a node, and lists grow by doubling.
const MEMORY_PER_BYTE: usize = 200;
