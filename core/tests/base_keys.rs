//! `Slab` and `Deadlines` against models from the standard library.

use core::time::Duration;
use gosh_dl_core::base::{Deadlines, Instant, Key, Slab};
use proptest::prelude::*;
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
enum SlabOp {
    Insert,
    /// Removes what the n-th key ever given out names, dead or alive.
    Remove(prop::sample::Index),
    Increment(prop::sample::Index),
}

fn slab_op() -> impl Strategy<Value = SlabOp> {
    prop_oneof![
        3 => Just(SlabOp::Insert),
        2 => any::<prop::sample::Index>().prop_map(SlabOp::Remove),
        1 => any::<prop::sample::Index>().prop_map(SlabOp::Increment),
    ]
}

proptest! {
    #[test]
    fn dead_key_never_names_anything_again(ops in prop::collection::vec(slab_op(), 1..200)) {
        let mut slab = Slab::new();
        // Every key ever given out, with its entry while that is there.
        let mut model: Vec<(Key<usize>, Option<usize>)> = Vec::new();
        for op in ops {
            match op {
                SlabOp::Insert => model.push((slab.insert(model.len()), Some(model.len()))),
                SlabOp::Remove(n) if !model.is_empty() => {
                    let at = n.index(model.len());
                    let (key, entry) = &mut model[at];
                    prop_assert_eq!(slab.remove(*key), entry.take());
                }
                SlabOp::Increment(n) if !model.is_empty() => {
                    let at = n.index(model.len());
                    let (key, entry) = &mut model[at];
                    prop_assert_eq!(slab.get_mut(*key).map(|found| *found += 1).is_some(), entry.is_some());
                    *entry = entry.map(|entry| entry + 1);
                }
                SlabOp::Remove(_) | SlabOp::Increment(_) => {}
            }
        }
        for (key, entry) in &model {
            prop_assert_eq!(slab.get(*key).copied(), *entry);
            prop_assert_eq!(slab.contains(*key), entry.is_some());
            prop_assert_eq!(Key::from_u64(key.as_u64()), *key);
        }
        let mut living: Vec<_> = model.iter().filter_map(|&(key, entry)| Some((key, entry?))).collect();
        living.sort();
        prop_assert_eq!(slab.iter().map(|(key, entry)| (key, *entry)).collect::<Vec<_>>(), &living[..]);
        prop_assert_eq!(slab.iter_mut().map(|(key, entry)| (key, *entry)).collect::<Vec<_>>(), &living[..]);
        prop_assert_eq!(slab.keys(), living.iter().map(|&(key, _)| key).collect::<Vec<_>>());
        prop_assert_eq!((slab.len(), slab.is_empty()), (living.len(), living.is_empty()));
        let distinct: std::collections::BTreeSet<_> = model.iter().map(|(key, _)| key.as_u64()).collect();
        prop_assert_eq!(distinct.len(), model.len(), "no key is given out twice");
    }

    #[test]
    fn key_made_of_any_number_is_harmless(bits: u64, entries in 0..5usize) {
        let mut slab = Slab::new();
        let keys: Vec<_> = (0..entries).map(|n| slab.insert(n)).collect();
        let forged = Key::from_u64(bits);
        prop_assert_eq!(slab.contains(forged), keys.contains(&forged));
        prop_assert_eq!(slab.remove(forged).is_some(), keys.contains(&forged));
    }

    #[test]
    fn deadlines_fall_due_in_order(ops in prop::collection::vec(
        prop_oneof![
            4 => (0..8u8, prop::option::weighted(0.8, 0..50u64)).prop_map(|(key, at)| (Some(key), at.unwrap_or(u64::MAX))),
            1 => (0..50u64).prop_map(|now| (None, now)),
        ],
        0..80,
    )) {
        let at = |millis: u64| Instant::ZERO + Duration::from_millis(millis);
        let (mut deadlines, mut model) = (Deadlines::new(), BTreeMap::new());
        for (key, millis) in ops {
            match key {
                Some(key) if millis == u64::MAX => {
                    deadlines.set(key, None);
                    model.remove(&key);
                }
                Some(key) => {
                    deadlines.set(key, Some(at(millis)));
                    model.insert(key, at(millis));
                }
                None => {
                    let mut due: Vec<_> = model.iter().map(|(&key, &at)| (at, key)).collect();
                    due.retain(|(deadline, _)| *deadline <= at(millis));
                    due.sort();
                    let due: Vec<_> = due.into_iter().map(|(_, key)| key).collect();
                    let popped: Vec<_> = core::iter::from_fn(|| deadlines.pop_due(at(millis))).collect();
                    prop_assert_eq!(popped, due);
                    model.retain(|_, deadline| *deadline > at(millis));
                }
            }
            prop_assert_eq!(deadlines.next(), model.values().min().copied());
        }
    }
}
