//! Checkpoints in a store with faulty writes: what is complete is intact or recognised as damaged.

use std::sync::Arc;

use super::faulty_store::FaultyStore;
use crate::checkpoint::catalog::Verification;
use crate::checkpoint::testing::{JOB, TestStorage};
use crate::fail_point::StoreFaultRates;

/// Takes checkpoints in a store with these faults. Returns for each whether it was reported as complete.
fn take_checkpoints(test: &mut TestStorage, rates: StoreFaultRates) -> Vec<bool> {
    let store = std::mem::replace(&mut test.storage.store, Arc::new(object_store::memory::InMemory::new()));
    test.storage.store = Arc::new(FaultyStore::new(store, rates, Arc::default()));
    let take = |id| {
        let files = ["first", "second", "third"];
        let files: Option<Vec<_>> = files.iter().map(|name| test.try_put(id, name, "0123456789").ok()).collect();
        files.is_some_and(|files| test.try_complete(id, &files).is_ok())
    };
    (1..60).map(take).collect()
}

#[test]
fn a_checkpoint_that_was_reported_as_complete_is_intact_unless_the_store_lies() {
    for seed in 0..20 {
        let mut test = TestStorage::new();
        let rates = StoreFaultRates { error: 50, unreported: 50, torn: 50, seed, ..StoreFaultRates::default() };
        let complete = take_checkpoints(&mut test, rates);
        assert!(complete.iter().any(|complete| *complete) && complete.iter().any(|complete| !*complete));
        let newest = complete.iter().rposition(|complete| *complete).unwrap() as u64 + 1;
        let (found, _) = test.storage.newest_usable(JOB, Verification::Checksums).unwrap().unwrap();
        // A write that failed may have been done, and then the checkpoint is complete.
        assert!(found.checkpoint_id >= newest, "seed {seed}: {} is older than {newest}", found.checkpoint_id);
    }
}

#[test]
fn a_truncated_checkpoint_is_not_used() {
    for seed in 0..20 {
        let mut test = TestStorage::new();
        let rates = StoreFaultRates { truncated: 100, seed, ..StoreFaultRates::default() };
        let complete = take_checkpoints(&mut test, rates);
        assert!(complete.iter().all(|complete| *complete), "the store reports success");
        let (found, _) = test.storage.newest_usable(JOB, Verification::Checksums).unwrap().unwrap();
        test.storage.verify(&found, Verification::Checksums).unwrap();
    }
}

#[test]
fn a_seed_repeats_the_faults() {
    let rates = |seed| StoreFaultRates { error: 200, seed, ..StoreFaultRates::default() };
    let of = |seed| take_checkpoints(&mut TestStorage::new(), rates(seed));
    assert_eq!(of(1), of(1));
    assert_ne!(of(1), of(2));
}
