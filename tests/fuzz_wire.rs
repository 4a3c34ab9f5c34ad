//! Replays the corpus of the link through its oracles, then thousands of mutations of it.
//!
//! `LOCKSTEP_BLESS=1 cargo test --test fuzz_wire` writes the generated part of the corpus anew;
//! inputs that once failed are added by hand under their own names and stay.

use harness::fuzz_wire::{Seeded, fuzz_frames, fuzz_greeting, greeting_transcript, mutate, stream};
use lockstep_engine::wire::FlowKind;
use lockstep_engine::wire::greeting::{Refused, refusal};
use std::path::PathBuf;

const MUTATIONS: u64 = 4000;

fn corpus(kind: &str, generated: Vec<(&str, Vec<u8>)>) -> Vec<(String, Vec<u8>)> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(kind);
    if std::env::var_os("LOCKSTEP_BLESS").is_some() {
        std::fs::create_dir_all(&dir).expect("a directory for the corpus");
        for (name, bytes) in generated {
            std::fs::write(dir.join(name), bytes).expect("room for the corpus");
        }
    }
    let mut inputs: Vec<(String, Vec<u8>)> = std::fs::read_dir(&dir)
        .expect("the committed corpus")
        .map(|entry| {
            let entry = entry.expect("an entry of the corpus");
            let bytes = std::fs::read(entry.path()).expect("a readable input");
            (entry.file_name().to_string_lossy().into_owned(), bytes)
        })
        .collect();
    inputs.sort();
    assert!(inputs.len() >= 4, "{} has lost its inputs", dir.display());
    inputs
}

/// Calls `fuzz` with mutations of the corpus; a panic prints the input's number.
fn hammer(seed: u64, inputs: &[(String, Vec<u8>)], fuzz: impl Fn(&[u8])) {
    println!("seed {seed:#x}, {MUTATIONS} mutations of {} inputs", inputs.len());
    for number in 0..MUTATIONS {
        let mut seed = Seeded(seed ^ number << 32);
        let mut bytes = inputs[seed.index(inputs.len())].1.clone();
        mutate(&mut bytes, &mut seed);
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| fuzz(&bytes)));
        if let Err(panic) = caught {
            println!("mutation {number}: {bytes:02x?}");
            std::panic::resume_unwind(panic);
        }
    }
}

fn with(choice: u8, bytes: &[u8]) -> Vec<u8> {
    let mut input = vec![choice];
    input.extend_from_slice(bytes);
    input
}

#[test]
fn frames_survive_their_corpus_and_its_mutations() {
    let mut seed = Seeded(11);
    let generated = vec![
        ("control_small", with(0, &stream(FlowKind::Control, 4, &mut seed))),
        ("control_long", with(2 | 7 << 2, &stream(FlowKind::Control, 24, &mut seed))),
        ("data_small", with(1, &stream(FlowKind::Data, 3, &mut seed))),
        ("data_long", with(3 | 60 << 2, &stream(FlowKind::Data, 10, &mut seed))),
        ("wrong_flow", with(1 | 9 << 2, &stream(FlowKind::Control, 2, &mut seed))),
    ];
    let inputs = corpus("wire_frames", generated);
    for (name, bytes) in &inputs {
        let frames = fuzz_frames(bytes);
        assert!(frames > 0 || !name.ends_with("small"), "{name}: {frames} frames");
    }
    hammer(0xf4a3, &inputs, |bytes| {
        fuzz_frames(bytes);
    });
}

#[test]
fn greetings_survive_their_corpus_and_its_mutations() {
    let (control, data) = (greeting_transcript(false), greeting_transcript(true));
    let generated = vec![
        ("accept_control_good", with(16 << 2, &control.0)),
        ("accept_data_good", with(2, &data.0)),
        ("dial_control_good", with(1 | 3 << 2, &control.1)),
        ("dial_data_good", with(3 | 63 << 2, &data.1)),
        ("dial_refused", with(1, &refusal(Refused::Volume))),
        ("accept_reflected", with(8 << 2, &control.1)),
    ];
    let inputs = corpus("wire_greeting", generated);
    for (name, bytes) in &inputs {
        assert_eq!(fuzz_greeting(bytes), name.ends_with("good"), "{name}");
    }
    hammer(0x94ee, &inputs, |bytes| {
        fuzz_greeting(bytes);
    });
}
