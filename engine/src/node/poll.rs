//! Whether to look for completions for a while before sleeping.
//! Always: an engine without work sleeps at once; polling starts again when sleeps turn out short.

use crate::units::{Span, Tick};

/// Decides how long to poll, from how long the last waits were.
#[derive(Debug)]
pub struct Poller {
    most: Span,
    window: Span,
}

impl Poller {
    /// Polls for at most `most` before a sleep; zero never polls.
    pub fn new(most: Span) -> Poller {
        Poller { most, window: Span(0) }
    }

    /// Whether it polls at all.
    pub fn is_on(&self) -> bool {
        self.most > Span(0)
    }

    /// How long to poll before the next sleep.
    pub fn window(&self) -> Span {
        self.window
    }

    /// A wait (polling and sleep together) lasted from `began` to `ended`.
    pub fn learn(&mut self, began: Tick, ended: Tick) {
        let waited = ended.since(began);
        self.window = if waited <= self.most {
            // Worth it: grow quickly to the full window.
            Span((self.window.0 * 2).max(self.most.0 / 4).min(self.most.0))
        } else {
            // In vain: halve, and stop below a few microseconds.
            let half = Span(self.window.0 / 2);
            if half.0 * 8 < self.most.0 { Span(0) } else { half }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_engine_sleeps_at_once() {
        let mut poller = Poller::new(Span(40_000));
        assert_eq!(poller.window(), Span(0));
        (0..5).for_each(|_| poller.learn(Tick(0), Tick(10_000)));
        assert_eq!(poller.window(), Span(40_000));
        (0..5).for_each(|_| poller.learn(Tick(0), Tick(250_000_000)));
        assert_eq!(poller.window(), Span(0));
    }

    #[test]
    fn without_a_window_it_never_polls() {
        let mut poller = Poller::new(Span(0));
        poller.learn(Tick(0), Tick(0));
        assert_eq!(poller.window(), Span(0));
    }
}
