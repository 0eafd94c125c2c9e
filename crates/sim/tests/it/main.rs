//! The simulator itself under test: that it is one story per seed, and that it finds what it is there to find.

mod cluster;

use std::panic::{AssertUnwindSafe, catch_unwind};

use ottla_sim::{Sabotage, play};

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 0..6 {
        let first = play(seed, 40, None).unwrap_or_else(|failure| panic!("seed {seed}: {}", failure.what));
        assert_eq!(play(seed, 40, None).ok(), Some(first.clone()));
        assert!(first.steps > 1000 && first.committed > 10, "seed {seed} does something: {first:?}");
    }
    let trace = |seed| play(seed, 40, None).ok().map(|report| report.trace);
    assert_ne!(trace(1), trace(2));
}

#[test]
fn every_deliberate_fault_is_found() {
    for sabotage in Sabotage::ALL {
        let found = (0..150).find_map(|seed| {
            match catch_unwind(AssertUnwindSafe(|| play(seed, 60, Some(sabotage)))) {
                Ok(Ok(_)) => None,
                Ok(Err(failure)) => Some((seed, failure.what)),
                Err(_) => Some((seed, "a node panicked".into())),
            }
        });
        println!("{sabotage:?}: {found:?}");
        assert!(found.is_some(), "{sabotage:?} goes unnoticed");
    }
}
