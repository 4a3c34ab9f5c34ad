//! What a person sees while the demo runs: lines with times, and bars on a terminal.
//! With `--json` all of it goes to stderr, so that stdout is for the machine alone.

use crate::cli::show;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// The timeline.
pub struct Timeline {
    began: Instant,
    terminal: bool,
    quiet: bool,
}

/// A task of known or unknown size.
pub struct Task {
    bar: Option<ProgressBar>,
    name: String,
    began: Instant,
}

impl Timeline {
    /// Starts the clock. `quiet` for machines: lines only.
    pub fn new(quiet: bool) -> Timeline {
        let terminal = std::io::stderr().is_terminal() && !quiet;
        Timeline { began: Instant::now(), terminal, quiet }
    }

    /// Time since the start.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Something happened.
    pub fn event(&self, text: &str) {
        self.say(&format!("{:6.1} s  {text}", self.began.elapsed().as_secs_f64()));
    }

    fn say(&self, text: &str) {
        if self.quiet || self.terminal { show::progress(text) } else { show::result(text) }
    }

    /// What is on a screen now, under a line that says whose it is.
    pub fn screen(&self, head: &str, lines: &[String]) {
        self.event(head);
        let lines: Vec<String> = lines.iter().map(|line| format!("          | {line}")).collect();
        self.say(&lines.join("\n"));
    }

    /// Something takes a while.
    pub fn task(&self, name: &str) -> Task {
        let bar = self.terminal.then(|| {
            let bar = ProgressBar::with_draw_target(Some(100), ProgressDrawTarget::stderr());
            let look = "          {spinner} {msg} {wide_bar} {percent:>3} %";
            if let Ok(style) = ProgressStyle::with_template(look) {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(120));
            bar.set_message(name.to_owned());
            bar
        });
        Task { bar, name: name.to_owned(), began: Instant::now() }
    }
}

impl Task {
    /// Shows how far it is, and what it waits for.
    pub fn show(&self, done: u64, total: u64, text: &str) {
        if let Some(bar) = &self.bar {
            bar.set_length(total.max(1));
            bar.set_position(done);
            bar.set_message(format!("{}: {text}", self.name));
        }
    }

    /// It is over; the time that it took.
    pub fn end(self) -> Duration {
        self.began.elapsed()
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
