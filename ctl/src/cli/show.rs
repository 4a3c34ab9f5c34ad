//! Where words go: results to stdout, everything else to stderr. A reader that went away (a
//! closed pipe) is no error of ours.

use std::io::{IsTerminal, Write};

/// A result.
pub fn result(text: &str) {
    let mut out = std::io::stdout().lock();
    let end = if text.ends_with('\n') { "" } else { "\n" };
    let _ = write!(out, "{text}{end}").and_then(|()| out.flush());
}

/// An error.
pub fn error(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "lockstep: {text}");
}

/// A line of progress.
pub fn progress(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Whether results are read by a person.
pub fn on_terminal() -> bool {
    std::io::stdout().is_terminal()
}
