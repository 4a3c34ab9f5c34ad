//! Seeds of the simulator. `LOCKSTEP_SIM_SEEDS=N LOCKSTEP_SIM_FIRST=K` choose the run,
//! `LOCKSTEP_SIM_TRACE=1` prints what happened in it. Seeds are independent: two threads share them.

use harness::sim::seed::{self, Outcome};
use lockstep_engine::limits::Times;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Seeds unless the environment says otherwise; `scripts/test` runs more.
const SEEDS: u64 = 200;
const THREADS: u64 = 2;

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
            trace: Vec::new(),
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
    println!(
        "sim: {count} seeds, {} operations, {} faults, {violations} violations",
        operations.into_inner(),
        faults.into_inner()
    );
    assert_eq!(violations, 0, "the lines above say how to see each violation again");
}
