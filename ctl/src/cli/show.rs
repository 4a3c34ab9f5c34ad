//! Where words go: results to stdout, everything else to stderr. A reader that went away (a
//! closed pipe) is no error of ours.

use super::hint::Reached;
use crate::exit::Exit;
use std::io::{IsTerminal, Write};
use std::sync::OnceLock;

/// How this command reached its daemon.
static REACHED: OnceLock<Reached> = OnceLock::new();

/// From here, commands that messages name reach the same daemon.
pub(super) fn reached(how: Reached) {
    // One command line asks one daemon, so the first word counts.
    let _ = REACHED.set(how);
}

fn complete(text: &str) -> String {
    REACHED.get().map_or_else(|| text.to_owned(), |how| how.complete(text))
}

/// A result.
pub fn result(text: &str) {
    machine(&complete(text));
}

/// A result for machines, as it is.
pub fn machine(text: &str) {
    let mut out = std::io::stdout().lock();
    let end = if text.ends_with('\n') { "" } else { "\n" };
    let _ = write!(out, "{text}{end}").and_then(|()| out.flush());
}

/// An error.
pub fn error(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "lockstep: {}", complete(text));
}

/// A line of progress.
pub fn progress(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{}", complete(text));
}

/// Whether results are read by a person.
pub fn on_terminal() -> bool {
    std::io::stdout().is_terminal()
}

/// What a verb would do: for a dry run.
pub(crate) fn plan(refused: Option<&str>, steps: &[String]) -> Exit {
    if let Some(refused) = refused {
        error(&format!("would be refused: {refused}"));
        return Exit::Refused;
    }
    if steps.is_empty() {
        result("nothing would be done");
    }
    for (number, step) in steps.iter().enumerate() {
        result(&format!("{}. {step}", number + 1));
    }
    Exit::Ok
}
