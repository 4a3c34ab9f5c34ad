//! Proof that the judge can see: each deliberate bug leads to a violation of the property that its
//! rule protects. Built only with `--cfg lockstep_mutants` (in a target directory of its own).
//!
//! `FOUND` says which story or seed finds a bug, and what the judge then says. A story must end as
//! told without the bug, and a seed well. When a seed has moved on, others are tried.
//! `LOCKSTEP_MUTANT=Name` runs one; `survey` (ignored) says what else finds it.
#![cfg(lockstep_mutants)]

#[path = "mutants/table.rs"]
mod table;

use harness::sim::{scenario, seed};
use lockstep_ctl::decide::mutant::{Mutant as Decides, set as decides};
use lockstep_engine::replica::mutant::Mutant as Mirrors;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use table::{FOUND, FOUND_BY_THE_DECIDERS_TESTS, Found, How, MASKED};

/// Seeds tried when the known one finds nothing any more.
const SEEDS: u64 = 2_000;
const THREADS: usize = 2;

/// The rules to break at once; a rule that both rooms check is broken in both.
#[derive(Clone, Debug, Default)]
struct Bug {
    mirrors: Vec<Mirrors>,
    decides: Vec<Decides>,
}

impl Bug {
    fn named(names: &[&str]) -> Bug {
        let wanted = |name: String| names.contains(&name.as_str());
        let pick = |mutant: &&Mirrors| wanted(format!("{mutant:?}"));
        let mirrors: Vec<Mirrors> = Mirrors::ALL.iter().filter(pick).copied().collect();
        let pick = |mutant: &&Decides| wanted(format!("{mutant:?}"));
        let decides: Vec<Decides> = Decides::ALL.iter().filter(pick).copied().collect();
        let known = |name: &&&str| {
            mirrors.iter().any(|mutant| format!("{mutant:?}") == **name)
                || decides.iter().any(|mutant| format!("{mutant:?}") == **name)
        };
        assert_eq!(names.iter().filter(known).count(), names.len(), "unknown: {names:?}");
        Bug { mirrors, decides }
    }

    /// Runs something with these rules broken, in this thread.
    fn with<T>(&self, run: impl FnOnce() -> T) -> T {
        Mirrors::set(&self.mirrors);
        decides(&self.decides);
        let result = run();
        Mirrors::set(&[]);
        decides(&[]);
        result
    }
}

/// What the judge says of a seed in this thread. An assertion of production code counts too.
fn of_seed(number: u64) -> Option<String> {
    match catch_unwind(AssertUnwindSafe(|| seed::run(number, false))) {
        Ok(outcome) => outcome.violation,
        Err(_) => Some("assertion of production code".to_owned()),
    }
}

fn told(name: &str) -> String {
    let path = format!("{}/tests/scenarios/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).expect("the story is there")
}

/// What the judge says of a story; another course of it, or a step that fails, is no violation.
fn of_story(text: &str) -> Option<String> {
    match catch_unwind(AssertUnwindSafe(|| scenario::play(text))) {
        Ok((played, _)) => {
            let violation = played.lines().find_map(|line| line.strip_prefix("- VIOLATION "));
            violation.map(str::to_owned)
        }
        Err(_) => Some("assertion of production code".to_owned()),
    }
}

/// Whether the story ends as it is told.
fn is_true(text: &str) -> bool {
    let (played, good) = scenario::play(text);
    good && played == text
}

/// What finds the bug, if that is the property that its rule protects.
fn found(bug: &Bug, how: How, property: &str) -> Option<String> {
    let (place, violation) = match how {
        How::Seed(number) => {
            let violation = bug.with(|| of_seed(number)).filter(|_| of_seed(number).is_none());
            (format!("seed {number}"), violation?)
        }
        How::Story(name) => {
            let text = told(name);
            let violation = bug.with(|| of_story(&text)).filter(|_| is_true(&text));
            (format!("story {name}"), violation?)
        }
    };
    // A violation begins with its tick.
    let said = violation.split_once("s: ").map_or(violation.as_str(), |(_, said)| said);
    let line = said.lines().next().unwrap_or_default();
    said.starts_with(property).then(|| format!("{place}: {line}"))
}

fn hunt(case: &Found) -> Result<String, String> {
    let bug = Bug::named(&[case.name]);
    if let Some(line) = found(&bug, case.how, case.property) {
        return Ok(line);
    }
    if matches!(case.how, How::Story(_)) {
        return Err(format!("{:?} does not end in {}", case.how, case.property));
    }
    let other = (1..=SEEDS).find_map(|number| found(&bug, How::Seed(number), case.property));
    other.ok_or(format!("no {} in {SEEDS} seeds", case.property))
}

fn chosen(name: &str) -> bool {
    std::env::var("LOCKSTEP_MUTANT").map_or(true, |only| only == name)
}

/// Runs `check` over all items on a few threads, says how each ended, and fails if one failed.
fn each<T: Sync>(items: &[T], check: impl Fn(&T) -> (&str, Result<String, String>) + Sync) {
    let todo = Mutex::new(items.iter().rev().collect::<Vec<_>>());
    let lines = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let Some(item) = todo.lock().unwrap().pop() else { return };
                    let (name, result) = check(item);
                    match &result {
                        Ok(text) => println!("{name}: {text}"),
                        Err(text) => println!("{name}: SURVIVED: {text}"),
                    }
                    lines.lock().unwrap().push((name.to_owned(), result.is_ok()));
                }
            });
        }
    });
    let lines = lines.into_inner().unwrap();
    let lost: Vec<&String> = lines.iter().filter(|(_, ok)| !ok).map(|(name, _)| name).collect();
    println!("mutants: {} of {} found", lines.len() - lost.len(), lines.len());
    assert!(lost.is_empty(), "not found by the judge: {lost:?}");
}

#[test]
fn each_mutant_breaks_the_property_of_its_rule() {
    let cases: Vec<&Found> = FOUND.iter().filter(|case| chosen(case.name)).collect();
    each(&cases, |case| (case.name, hunt(case)));
}

/// A rule that another one masks: broken alone nothing happens, broken together something does.
#[test]
fn masked_rules_count_when_the_mask_is_off() {
    let cases: Vec<_> = MASKED.iter().filter(|case| chosen(case.name)).collect();
    each(&cases, |case| {
        let text = told(case.story);
        let alone = Bug::named(&[case.name]).with(|| of_story(&text));
        if let Some(violation) = alone {
            return (case.name, Err(format!("is not masked any more: {violation}")));
        }
        let names: Vec<&str> = std::iter::once(case.name).chain(case.by.iter().copied()).collect();
        let both = found(&Bug::named(&names), How::Story(case.story), case.property);
        let both = both.map(|line| format!("masked by {:?}; with both broken, {line}", case.by));
        (case.name, both.ok_or(format!("both broken do not end in {}", case.property)))
    });
}

/// Every bug has a line in one of the tables.
#[test]
fn no_mutant_is_forgotten() {
    let mirrors = Mirrors::ALL.iter().map(|mutant| format!("{mutant:?}"));
    let decides = Decides::ALL.iter().map(|mutant| format!("{mutant:?}"));
    let listed = |name: &String| {
        FOUND.iter().any(|case| case.name == name)
            || MASKED.iter().any(|case| case.name == name || case.by.contains(&name.as_str()))
            || FOUND_BY_THE_DECIDERS_TESTS.contains(&name.as_str())
    };
    let forgotten: Vec<String> = mirrors.chain(decides).filter(|name| !listed(name)).collect();
    assert!(forgotten.is_empty(), "in no table: {forgotten:?}");
}

/// What finds each bug, by property: the stories and the first seed of each.
#[test]
#[ignore = "a tool for filling the tables"]
fn survey() {
    let seeds = std::env::var("LOCKSTEP_SIM_SEEDS").ok().and_then(|text| text.parse().ok());
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scenarios");
    let mut names: Vec<String> = Mirrors::ALL.iter().map(|mutant| format!("{mutant:?}")).collect();
    names.extend(Decides::ALL.iter().map(|mutant| format!("{mutant:?}")));
    names.sort();
    names.dedup();
    if let Ok(only) = std::env::var("LOCKSTEP_MUTANT") {
        // Several names, joined by `+`, are broken together.
        names = vec![only];
    }
    let todo = Mutex::new(names);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let Some(name) = todo.lock().unwrap().pop() else { return };
                    let bug = Bug::named(&name.split('+').collect::<Vec<_>>());
                    for entry in std::fs::read_dir(folder).unwrap() {
                        let path = entry.unwrap().path();
                        let story = path.file_stem().unwrap().to_string_lossy().into_owned();
                        if let Some(violation) = bug.with(|| of_story(&told(&story))) {
                            println!("{name}: story {story}: {violation}");
                        }
                    }
                    let mut seen = std::collections::BTreeSet::new();
                    for number in 1..=seeds.unwrap_or(300) {
                        let Some(violation) = bug.with(|| of_seed(number)) else { continue };
                        let line = violation.lines().next().unwrap_or_default();
                        let said = line.split_once("s: ").map_or(line, |(_, said)| said);
                        let kind: String = said.chars().take(12).collect();
                        if seen.insert(kind) {
                            println!("{name}: seed {number}: {line}");
                        }
                    }
                }
            });
        }
    });
}

/// What a story becomes with a bug.
#[test]
#[ignore = "a tool for filling the tables"]
fn tell() {
    let name = std::env::var("LOCKSTEP_MUTANT").expect("a bug");
    let story = std::env::var("LOCKSTEP_STORY").expect("a story");
    let bug = Bug::named(&name.split('+').collect::<Vec<_>>());
    println!("{}", bug.with(|| scenario::play(&told(&story))).0);
}
