//! Words that must not stand in a file, each with what to write instead; where `unsafe` may live;
//! and the head that every file opens with.

use crate::imports::is_pure;
use crate::source::{Source, Tree};

/// Where a word is refused.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Where {
    /// In every Rust file, tests included.
    Everywhere,
    /// In code that ships, outside its tests.
    Product,
    /// In rooms that are pure.
    Pure,
    /// In libraries that ship: whatever does not own the terminal.
    Library,
}

/// The words: where, the word, what to write instead.
pub const BANNED: &[(Where, &str, &str)] = &[
    (Where::Everywhere, "todo!", "write it, or return an error that says it is not there yet"),
    (Where::Everywhere, "unimplemented!", "write it, or return an error that says so"),
    (Where::Everywhere, "dbg!", "assert what you looked at, or emit a tracing event"),
    (Where::Product, "thread::sleep", "wait for the event that you mean, with a deadline"),
    (Where::Product, ".unwrap()", "return the error, or `expect` with the reason it cannot be"),
    (Where::Product, "unreachable_unchecked", "`unreachable!` with the reason"),
    (Where::Product, "env::set_var", "pass the value; the environment belongs to the operator"),
    (Where::Product, "mem::forget", "give the value an owner"),
    (Where::Product, "static mut", "a field of the one who owns it"),
    (Where::Pure, "Instant::now", "take `now: Tick` as an argument"),
    (Where::Pure, "SystemTime::now", "take the time as an argument"),
    (Where::Pure, "HashMap", "BTreeMap or a Vec: the order must be the same in every run"),
    (Where::Pure, "HashSet", "BTreeSet or a Vec: the order must be the same in every run"),
    (Where::Pure, "getrandom", "take the random bits as an argument"),
    (Where::Pure, "thread_local!", "a field of the state machine (mutant.rs is the exception)"),
    (Where::Pure, "async fn", "handle / poll / deadline"),
    (Where::Library, "println!", "a tracing event, or a writer that the caller passes"),
    (Where::Library, "eprintln!", "a tracing event, or return the error"),
    (Where::Library, "print!", "a writer that the caller passes"),
    (Where::Library, "eprint!", "return the error"),
];

/// Where a banned word is right, with the reason.
const EXCEPTIONS: &[(&str, &str)] = &[
    // The kernel sends no event when another holder's exclusive claim on a block device ends.
    ("engine/src/device.rs", "thread::sleep"),
    // The demonstration lets the load run undisturbed for a while: time is what is meant.
    ("ctl/src/demo/story.rs", "thread::sleep"),
];

/// Marks of unfinished work in comments.
const UNFINISHED: &[&str] = &["TODO", "FIXME", "XXX", "HACK"];

/// Files that own the terminal and so may print.
const PRINTERS: &[&str] = &["engine/src/main.rs", "engine/src/offline", "ctl/src/main.rs"];
/// Rooms of the control plane that speak to people.
const PRINTING_ROOMS: &[&str] = &["ctl/src/cli", "ctl/src/demo", "ctl/src/status", "ctl/src/exit"];

/// Most files that may contain `unsafe`, and the folder they live in.
pub const UNSAFE_FILES_MAX: usize = 2;
/// See `UNSAFE_FILES_MAX`.
pub const UNSAFE_FOLDER: &str = "engine/src/uring/";

/// Banned words in code.
pub fn banned(tree: &Tree) -> Vec<String> {
    let mut faults = Vec::new();
    for file in &tree.files {
        for (place, word, instead) in BANNED.iter().filter(|(w, _, _)| applies(*w, file)) {
            for (n, line) in file.code.iter().enumerate() {
                let excepted = EXCEPTIONS.contains(&(file.path.as_str(), *word));
                let skipped = excepted || (*place != Where::Everywhere && file.test[n]);
                if !skipped && has_word(line, word) {
                    faults.push(format!("{}:{}: `{word}`: {instead}", file.path, n + 1));
                }
            }
        }
    }
    faults
}

/// Marks of unfinished work, in any line.
pub fn unfinished(tree: &Tree) -> Vec<String> {
    let mut faults = Vec::new();
    for file in tree.files.iter().filter(|f| !f.path.starts_with("tests/architecture")) {
        for (n, line) in file.raw.iter().enumerate() {
            if let Some(word) = UNFINISHED.iter().find(|w| has_word(line, w)) {
                faults.push(format!(
                    "{}:{}: `{word}`: finish it, or say in a sentence why it is right as it is",
                    file.path,
                    n + 1
                ));
            }
        }
    }
    faults
}

/// `unsafe` outside its two files.
pub fn unsafe_code(tree: &Tree) -> Vec<String> {
    let holders: Vec<&Source> = tree
        .product()
        .filter(|f| f.product_lines().any(|(_, line)| has_word(line, "unsafe")))
        .collect();
    let outside = holders.iter().filter(|f| !f.path.starts_with(UNSAFE_FOLDER));
    let mut faults: Vec<String> = outside
        .map(|f| format!("{}: `unsafe`: only two files of {UNSAFE_FOLDER} may", f.path))
        .collect();
    if holders.len() > UNSAFE_FILES_MAX {
        let names: Vec<&str> = holders.iter().map(|f| f.path.as_str()).collect();
        faults.push(format!(
            "`unsafe` in {} files ({}), at most {UNSAFE_FILES_MAX}",
            holders.len(),
            names.join(", ")
        ));
    }
    faults
}

/// Files that do not open with their contract.
pub fn heads(tree: &Tree) -> Vec<String> {
    let headless = tree.files.iter().filter(|f| {
        let first = f.raw.first().map_or("", String::as_str);
        first.strip_prefix("//!").is_none_or(|text| text.trim().is_empty())
    });
    headless
        .map(|f| {
            format!(
                "{}: opens without `//!`; say what it owns, what is always true, what it survives",
                f.path
            )
        })
        .collect()
}

/// Mutants may be compiled in at one file per room.
pub fn mutants(tree: &Tree) -> Vec<String> {
    let mut faults = Vec::new();
    for file in tree.product().filter(|f| !f.path.ends_with("/mutant.rs")) {
        for (n, line) in file.product_lines().filter(|(_, l)| has_word(l, "lockstep_mutants")) {
            let _ = line;
            faults.push(format!(
                "{}:{n}: cfg(lockstep_mutants) belongs in mutant.rs of the room; ask `Mutant::on`",
                file.path
            ));
        }
    }
    faults
}

fn applies(place: Where, file: &Source) -> bool {
    let mutant = file.path.ends_with("/mutant.rs");
    match place {
        Where::Everywhere => true,
        Where::Product => file.is_product(),
        Where::Pure => is_pure(&file.path) && !mutant,
        Where::Library => {
            let speaks = PRINTERS.iter().chain(PRINTING_ROOMS).any(|p| file.path.starts_with(p));
            file.is_product() && !speaks
        }
    }
}

/// Whether `word` stands in `line` as a word of its own.
pub fn has_word(line: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        let opens = word.starts_with(part);
        let closes = word.ends_with(part);
        let longer = opens && before.is_some_and(part) || closes && after.is_some_and(part);
        !longer
    })
}
