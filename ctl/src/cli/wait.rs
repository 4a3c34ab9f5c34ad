//! Progress of verbs that wait: a spinner on a terminal, one line per change elsewhere.

use super::show;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::time::Duration;

/// Time between two frames of the spinner.
const FRAME: Duration = Duration::from_millis(120);

/// What the person in front sees while a verb waits.
pub struct Waiting {
    bar: Option<ProgressBar>,
    last: String,
}

impl Waiting {
    /// Shows nothing yet.
    pub fn new() -> Waiting {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(FRAME);
            bar
        });
        Waiting { bar, last: String::new() }
    }

    /// Shows what is waited for.
    pub fn show(&mut self, text: &str) {
        if text == self.last {
            return;
        }
        text.clone_into(&mut self.last);
        match &self.bar {
            Some(bar) => bar.set_message(text.to_owned()),
            None => show::progress(text),
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
