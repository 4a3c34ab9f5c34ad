//! Plays every story of `tests/scenarios` and compares what follows with what is written there.
//! `LOCKSTEP_REWRITE=1` writes what followed; read the difference before you keep it.

use harness::sim::scenario::play;
use std::path::{Path, PathBuf};

fn stories() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut found: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("tests/scenarios is there")
        .map(|entry| entry.expect("a folder lists its files").path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "txt"))
        .collect();
    found.sort();
    found
}

fn first_difference(want: &str, found: &str) -> String {
    let lines = want.lines().map(Some).chain(std::iter::repeat(None));
    let both = found.lines().map(Some).chain(std::iter::repeat(None)).zip(lines);
    for (number, (found, want)) in (1..).zip(both) {
        if found != want {
            return format!("line {number}: expected {want:?}, found {found:?}");
        }
        if found.is_none() {
            break;
        }
    }
    "only in the end of a line".to_owned()
}

#[test]
fn every_story_ends_as_it_is_told() {
    let rewrite = std::env::var("LOCKSTEP_REWRITE").is_ok_and(|value| value == "1");
    let only = std::env::var("LOCKSTEP_STORY").unwrap_or_default();
    let mut bad = Vec::new();
    for path in stories() {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        if !name.contains(&only) {
            continue;
        }
        let want = std::fs::read_to_string(&path).unwrap();
        let played = std::panic::catch_unwind(|| play(&want));
        let Ok((found, good)) = played else {
            bad.push(format!("{name}: a panic, see above"));
            continue;
        };
        if rewrite {
            std::fs::write(&path, &found).unwrap();
        } else if found != want {
            bad.push(format!("{name}: {}", first_difference(&want, &found)));
        }
        if !good {
            let why = found.lines().filter(|l| l.contains("FAILED") || l.contains("VIOLATION"));
            bad.push(format!("{name}: {}", why.collect::<Vec<_>>().join("; ")));
        }
    }
    assert!(bad.is_empty(), "{} stories went wrong:\n{}", bad.len(), bad.join("\n"));
}
