//! Whether to look for completions for a while before sleeping.
//! Always: an engine without work sleeps at once; polling starts again when sleeps turn out short.

use crate::units::{Span, Tick};

/// Decides how long to poll, from how long the last waits were.
#[derive(Debug)]
pub struct Poller {
    most: Span,
    window: Span,
    load: u64,
}

/// Events of a turn, on average, up to which a sleep is worth avoiding: with more under way,
/// batches make up for it, and the processor is better used by others.
const CALM: u64 = 3;
/// Weight of the past in that average.
const PAST: u64 = 16;

impl Poller {
    /// Polls for at most `most` before a sleep; zero never polls.
    pub fn new(most: Span) -> Poller {
        Poller { most, window: Span(0), load: 0 }
    }

    /// Whether it polls at all.
    pub fn is_on(&self) -> bool {
        self.most > Span(0)
    }

    /// A turn told the replica so many events.
    pub fn load(&mut self, events: u64) {
        self.load = (self.load * (PAST - 1) + events * PAST) / PAST;
    }

    /// Whether little is going on.
    pub fn is_calm(&self) -> bool {
        self.load <= CALM * PAST
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
    fn a_busy_engine_leaves_the_processor_to_others() {
        let mut poller = Poller::new(Span(40_000));
        (0..200).for_each(|_| poller.load(2));
        assert!(poller.is_calm());
        (0..200).for_each(|_| poller.load(8));
        assert!(!poller.is_calm());
        (0..200).for_each(|_| poller.load(1));
        assert!(poller.is_calm());
    }

    #[test]
    fn without_a_window_it_never_polls() {
        let mut poller = Poller::new(Span(0));
        poller.learn(Tick(0), Tick(0));
        assert_eq!(poller.window(), Span(0));
    }
}
