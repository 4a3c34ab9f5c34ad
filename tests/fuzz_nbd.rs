//! Replays the corpora of the NBD fuzz targets, then some thousand seeded mutations of them.
//! Always: the seed of a run is printed; `NBD_FUZZ_SEED` repeats it, `NBD_FUZZ_ROUNDS` makes it
//! longer.

// The whole file is a test, helpers included.
#![allow(clippy::unwrap_used)]

use harness::fuzz_nbd::{XorShift, fuzz_options, fuzz_requests, option_seeds, request_seeds};
use std::fs;
use std::path::PathBuf;

const ROUNDS: usize = 300_000;

fn corpus(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(name)
}

fn number(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable}: a number, not {text}")),
        Err(_) => default,
    }
}

/// Every file, then mutations of them. A failure shows the bytes in hex, to be made a file.
fn replay(name: &str, seeds: &[(&str, Vec<u8>)], target: fn(&[u8])) {
    let mut files = Vec::new();
    for entry in fs::read_dir(corpus(name)).unwrap() {
        files.push(fs::read(entry.unwrap().path()).unwrap());
    }
    files.sort();
    assert!(files.len() >= seeds.len(), "corpus {name} has lost files");
    files.iter().for_each(|bytes| target(bytes));

    let seed = number("NBD_FUZZ_SEED", 0x10c5_7e9d);
    let rounds = usize::try_from(number("NBD_FUZZ_ROUNDS", ROUNDS as u64)).unwrap();
    println!("{name}: NBD_FUZZ_SEED={seed} NBD_FUZZ_ROUNDS={rounds}");
    let mut random = XorShift::new(seed);
    for _ in 0..rounds {
        let mut bytes = files[random.below(files.len())].clone();
        random.mutate(&mut bytes);
        let shown = OnPanic(&bytes);
        target(shown.0);
    }
}

struct OnPanic<'a>(&'a [u8]);

impl Drop for OnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let hex: String = self.0.iter().map(|byte| format!("{byte:02x}")).collect();
            eprintln!("input: {hex}");
        }
    }
}

#[test]
fn options_survive_their_corpus_and_its_mutations() {
    replay("nbd_options", &option_seeds(), fuzz_options);
}

#[test]
fn requests_survive_their_corpus_and_its_mutations() {
    replay("nbd_requests", &request_seeds(), fuzz_requests);
}

#[test]
fn the_committed_corpus_holds_every_seed() {
    for (name, seeds) in [("nbd_options", option_seeds()), ("nbd_requests", request_seeds())] {
        for (seed, bytes) in seeds {
            let file = corpus(name).join(seed);
            let found = fs::read(&file).unwrap_or_default();
            assert!(found == bytes, "{}: run the ignored test `write_corpus`", file.display());
        }
    }
}

#[test]
#[ignore = "writes into the source tree"]
fn write_corpus() {
    for (name, seeds) in [("nbd_options", option_seeds()), ("nbd_requests", request_seeds())] {
        fs::create_dir_all(corpus(name)).unwrap();
        for (seed, bytes) in seeds {
            fs::write(corpus(name).join(seed), bytes).unwrap();
        }
    }
}
