//! The simulator itself under test: that it is one story per seed, and that it finds what it is there to find.

mod cluster;

use std::panic::{AssertUnwindSafe, catch_unwind};

use ottla_sim::{Failure, Report, Sabotage, play};

/// Plays stories with a deliberate fault until one shows it by one of its `symptoms`. What is found instead is not
/// what the fault was made for.
fn is_found<R>(
    sabotage: Sabotage,
    mut seeds: impl Iterator<Item = u64>,
    symptoms: &[&str],
    play: impl Fn(u64) -> Result<R, Failure>,
) -> bool {
    seeds.any(|seed| {
        let what = match catch_unwind(AssertUnwindSafe(|| play(seed))) {
            Ok(Ok(_)) => return false,
            Ok(Err(failure)) => failure.what,
            Err(_) => "a node panicked".to_owned(),
        };
        println!("{sabotage:?}, seed {seed}: {what}");
        symptoms.iter().any(|symptom| what.contains(symptom))
    })
}

fn clean(seed: u64) -> Report {
    play(seed, 40, None).unwrap_or_else(|failure| panic!("seed {seed}: {}", failure.what))
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 0..6 {
        let first = clean(seed);
        assert_eq!(clean(seed), first);
        assert!(first.steps > 1000 && first.committed > 10, "seed {seed} does something: {first:?}");
    }
    assert_ne!(clean(1).trace, clean(2).trace);
}

#[test]
fn every_deliberate_fault_is_found() {
    for sabotage in Sabotage::OF_QUORUMS {
        let symptoms: &[&str] = match sabotage {
            Sabotage::ForgetSync => &["cannot start", "believes", "lost", "another id"],
            Sabotage::ForgetNames | Sabotage::ForgetVote => &["two leaders", "already leads", "believes"],
            Sabotage::GrantEveryVote => &["two leaders", "believes", "below what is committed"],
            Sabotage::SkipEpochOfLog => &["believes", "knows something else"],
            Sabotage::AnswerEarly => &["were acknowledged"],
            Sabotage::RepeatAnswers => &["given out twice"],
            _ => &[],
        };
        let found = is_found(sabotage, 0..150, symptoms, |seed| play(seed, 60, Some(sabotage)));
        assert!(found, "{sabotage:?} goes unnoticed");
    }
}
