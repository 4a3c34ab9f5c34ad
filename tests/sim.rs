//! Seeds of the simulator. `LOCKSTEP_SIM_SEEDS=N LOCKSTEP_SIM_FIRST=K` choose the run,
//! `LOCKSTEP_SIM_TRACE=1` prints what happened in it. Two threads share the seeds.

use harness::sim::seed::{self, Ending, Outcome};
use harness::sim::world::{Plan, SAID};
use lockstep_engine::limits::Times;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Seeds unless the environment says otherwise; `scripts/test` runs more.
const SEEDS: u64 = 200;
const THREADS: u64 = 2;
/// Seeds of one ending that are named.
const SHOWN: usize = 6;

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

fn commit() -> String {
    let found = Command::new("git").args(["rev-parse", "--short", "HEAD"]).output();
    match found {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        }
        _ => "unknown commit".to_owned(),
    }
}

/// Runs a seed; a panic of production code is a violation too.
fn attempt(seed: u64, trace: bool) -> Outcome {
    SAID.with(std::cell::RefCell::take);
    catch_unwind(AssertUnwindSafe(|| seed::run(seed, trace))).unwrap_or_else(|cause| {
        let text = cause
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| cause.downcast_ref::<&str>().map(|text| (*text).to_owned()))
            .unwrap_or_else(|| "a panic without words".to_owned());
        Outcome {
            operations: 0,
            faults: 0,
            violation: Some(format!("panic: {text}")),
            ending: Ending::Equal,
            cause: None,
            trace: SAID.with(std::cell::RefCell::take),
        }
    })
}

#[test]
fn seeds_hold_every_property() {
    let (first, count) = (number("LOCKSTEP_SIM_FIRST", 1), number("LOCKSTEP_SIM_SEEDS", SEEDS));
    let trace = number("LOCKSTEP_SIM_TRACE", 0) > 0;
    let keep_going = number("LOCKSTEP_SIM_ALL", 0) > 0;
    assert!(Times::DEFAULT.hold());
    println!("sim: seeds {first}..{}, at {}", first + count, commit());
    let (next, operations, faults) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let endings = Mutex::new(BTreeMap::<(&str, String), Vec<u64>>::new());
    let failed = Mutex::new(Vec::new());
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..THREADS.min(count) {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= count {
                        return;
                    }
                    let outcome = attempt(first + index, trace);
                    operations.fetch_add(outcome.operations, Ordering::Relaxed);
                    faults.fetch_add(outcome.faults, Ordering::Relaxed);
                    let kind = match outcome.ending {
                        Ending::Equal => None,
                        Ending::Forced => Some("an operator's force"),
                        Ending::Lost => Some("every copy lost"),
                    };
                    if let Some(kind) = kind {
                        let cause = outcome.cause.clone().unwrap_or_default();
                        endings
                            .lock()
                            .unwrap()
                            .entry((kind, cause))
                            .or_default()
                            .push(first + index);
                    }
                    if outcome.violation.is_some() || trace {
                        failed.lock().unwrap().push((first + index, outcome));
                        stop.store(!keep_going, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let mut violations = 0;
    for (seed, outcome) in failed.into_inner().unwrap() {
        outcome.trace.iter().for_each(|line| println!("  {line}"));
        if let Some(violation) = outcome.violation {
            violations += 1;
            println!("seed {seed} at {}: {violation}", commit());
            println!(
                "  again: LOCKSTEP_SIM_FIRST={seed} LOCKSTEP_SIM_SEEDS=1 LOCKSTEP_SIM_TRACE=1 \
                 cargo test --test sim -- --nocapture"
            );
        }
    }
    for ((kind, cause), mut seeds) in endings.into_inner().unwrap() {
        seeds.sort_unstable();
        let some: Vec<String> = seeds.iter().take(SHOWN).map(u64::to_string).collect();
        let count = seeds.len();
        println!("sim: {count} seeds ended with {kind}: {cause} ({} ...)", some.join(", "));
    }
    println!(
        "sim: {count} seeds, {} operations, {} faults, {violations} violations",
        operations.into_inner(),
        faults.into_inner()
    );
    assert_eq!(violations, 0, "the lines above say how to see each violation again");
}

/// The share of seeds that run a whole node: about half, whatever the first seed is.
#[test]
fn every_other_seed_has_a_group() {
    let groups = (1_000..1_100).filter(|seed| Plan::random(*seed).group.is_some());
    assert_eq!(groups.count(), 50);
}

#[test]
fn one_seed_is_one_history() {
    for seed in [7, 8] {
        let first = attempt(seed, true);
        let again = attempt(seed, true);
        assert_eq!(first.trace, again.trace);
        assert_eq!(first.operations, again.operations);
        assert_eq!(first.violation, again.violation);
    }
}

mod register {
    use harness::sim::register::Register;

    #[test]
    fn an_older_value_after_a_newer_one_is_seen() {
        let mut block = Register::default();
        block.begin(1, 10);
        assert!(block.acked(1, 20, false).is_none());
        block.begin(2, 30);
        assert!(block.acked(2, 40, false).is_none());
        assert!(block.read([2; 8], 50, 60).is_none());
        assert!(block.read([1; 8], 70, 80).is_some());
    }

    #[test]
    fn an_unanswered_write_may_take_effect_or_not_but_not_both() {
        let mut block = Register::default();
        block.begin(1, 10);
        block.gave_up(1, 20);
        let mut other = block.clone();
        assert!(block.read([0; 8], 30, 40).is_none());
        assert!(block.read([1; 8], 50, 60).is_some(), "read 0, later the older write");
        assert!(other.read([1; 8], 30, 40).is_none());
        assert!(other.read([0; 8], 50, 60).is_some(), "read 1, later nothing");
    }

    #[test]
    fn an_unanswered_write_does_not_come_after_its_connection() {
        let mut block = Register::default();
        block.begin(1, 10);
        block.gave_up(1, 20);
        block.begin(2, 30);
        assert!(block.acked(2, 40, false).is_none());
        assert!(block.read([1; 8], 50, 60).is_some());
    }

    #[test]
    fn a_torn_unanswered_write_is_legal_and_stays() {
        let mut block = Register::default();
        block.begin(1, 10);
        block.gave_up(1, 20);
        let torn = [0, 0, 1, 1, 0, 0, 0, 0];
        assert!(block.read(torn, 30, 40).is_none());
        assert!(block.read(torn, 50, 60).is_none());
        assert!(block.read([1; 8], 70, 80).is_some());
    }

    #[test]
    fn a_write_without_an_answer_is_not_there_again_before_it_is_found() {
        let mut block = Register::default();
        block.begin(1, 10);
        assert!(block.acked(1, 20, false).is_none());
        block.begin(2, 30);
        block.expose(0);
        let mut later = block.clone();
        block.rely_on(0, Some([1; 8]));
        assert!(!block.value(1).unwrap().exposed[0], "it is found");
        assert!(block.value(2).unwrap().exposed[0], "a reported it and lost it");
        block.rely_on(0, Some([2, 2, 1, 1, 1, 1, 1, 1]));
        assert!(block.value(2).unwrap().exposed[0], "half of it is found");
        block.rely_on(0, Some([2; 8]));
        assert!(!block.value(2).unwrap().exposed[0]);
        assert!(later.acked(2, 40, false).is_none());
        later.rely_on(0, Some([1; 8]));
        assert!(!later.value(2).unwrap().exposed[0], "an answered one is bound to be there");
    }

    #[test]
    fn only_what_no_flush_covers_is_excused() {
        let mut block = Register::default();
        block.begin(1, 10);
        assert!(block.acked(1, 20, false).is_none());
        assert!(block.cover(25));
        block.begin(2, 30);
        assert!(block.acked(2, 40, false).is_none());
        block.expose(0);
        block.excuse(&[0, 1]);
        assert!(block.legal([1; 8], 50, false).is_some(), "b still holds 2");
        block.expose(1);
        block.excuse(&[0, 1]);
        assert!(block.legal([1; 8], 60, false).is_none(), "nobody is bound to hold 2");
        assert!(block.legal([0; 8], 70, false).is_some(), "1 was flushed");
    }
}
