//! When to look for completions instead of sleeping: around the moment at which the next one is
//! expected, learned from the waits before it.
//! Always: an engine without work, and one whose waits can't be foretold, sleeps at once; a wait
//! polls for at most the configured time.

use crate::units::{Span, Tick};

/// Waits longer than this are not foretold: a timer and a wake-up for each would cost more than
/// they save.
const FAR: Span = Span::millis(4);
/// Good guesses in a row before polling starts, and the most that count.
const TRUST_LEAST: u8 = 3;
const TRUST_MOST: u8 = 12;
/// A bad guess costs so many good ones.
const TRUST_LOST: u8 = 2;
/// Weight of the past in the mean of waits.
const PAST: u64 = 4;
/// Events of a turn, on average, up to which a sleep is worth avoiding: with more under way,
/// batches make up for it, and the processor is better used by others.
const CALM: u64 = 3;
/// Weight of the past in that average.
const PAST_TURNS: u64 = 16;

/// What a wait is for: each kind has a length of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Awaited {
    /// A disk operation is under way.
    pub disk: bool,
    /// A client waits for an answer.
    pub answer: bool,
}

/// How to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    /// Sleep until something comes.
    Sleep,
    /// Sleep for `first`, which may be nothing, then poll for `then`, then sleep.
    Poll { first: Span, then: Span },
}

/// Decides how to wait, from how long waits of the same kind were.
#[derive(Debug)]
pub struct Poller {
    most: Span,
    guesses: [Guess; 4],
    load: u64,
}

#[derive(Debug, Default)]
struct Guess {
    mean: u64,
    trust: u8,
}

impl Poller {
    /// Polls for at most `most` a wait; zero never polls.
    pub fn new(most: Span) -> Poller {
        Poller { most, guesses: Default::default(), load: 0 }
    }

    /// A turn told the replica so many events.
    pub fn load(&mut self, events: u64) {
        self.load = (self.load * (PAST_TURNS - 1) + events * PAST_TURNS) / PAST_TURNS;
    }

    /// Whether waits are worth foretelling: little is going on, and polling is allowed.
    pub fn is_calm(&self) -> bool {
        self.most > Span(0) && self.load <= CALM * PAST_TURNS
    }

    /// How to wait for this.
    pub fn plan(&self, what: Awaited) -> Plan {
        let guess = &self.guesses[place(what)];
        if guess.trust < TRUST_LEAST {
            return Plan::Sleep;
        }
        let first = Span(guess.mean.saturating_sub(self.most.0 / 2));
        // A sleep that short is no sleep.
        let first = if first < self.most { Span(0) } else { first };
        Plan::Poll { first, then: self.most }
    }

    /// A wait of this kind lasted from `began` to `ended`, polling and sleeping together.
    pub fn learn(&mut self, what: Awaited, began: Tick, ended: Tick) {
        let most = self.most.0;
        let guess = &mut self.guesses[place(what)];
        let waited = ended.since(began);
        if waited > FAR {
            guess.trust = guess.trust.saturating_sub(TRUST_LOST);
            return;
        }
        let at_once = guess.mean.saturating_sub(most / 2) < most;
        let seen =
            if at_once { waited.0 <= most } else { waited.0.abs_diff(guess.mean) <= most / 2 };
        guess.trust = if seen {
            (guess.trust + 1).min(TRUST_MOST)
        } else {
            guess.trust.saturating_sub(TRUST_LOST)
        };
        guess.mean = (guess.mean * (PAST - 1) + waited.0) / PAST;
    }
}

fn place(what: Awaited) -> usize {
    usize::from(what.disk) * 2 + usize::from(what.answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Awaited = Awaited { disk: false, answer: false };
    const DISK: Awaited = Awaited { disk: true, answer: false };

    fn wait(poller: &mut Poller, what: Awaited, micros: u64, times: u32) {
        (0..times).for_each(|_| poller.learn(what, Tick(0), Tick(micros * 1_000)));
    }

    #[test]
    fn an_idle_engine_sleeps_at_once() {
        let mut poller = Poller::new(Span(50_000));
        assert_eq!(poller.plan(IDLE), Plan::Sleep);
        wait(&mut poller, IDLE, 10, 5);
        assert_eq!(poller.plan(IDLE), Plan::Poll { first: Span(0), then: Span(50_000) });
        wait(&mut poller, IDLE, 250_000, 5);
        assert_eq!(poller.plan(IDLE), Plan::Sleep);
    }

    #[test]
    fn a_long_wait_of_a_known_length_is_slept_through_up_to_its_end() {
        let mut poller = Poller::new(Span(50_000));
        wait(&mut poller, IDLE, 1_000, 40);
        let Plan::Poll { first, then } = poller.plan(IDLE) else { panic!("it is foretold") };
        assert!(first > Span(900_000) && first < Span(1_000_000), "{first:?}");
        assert!(first.0 + then.0 > 1_000_000);
    }

    #[test]
    fn waits_that_can_not_be_foretold_are_slept() {
        let mut poller = Poller::new(Span(50_000));
        for turn in 0..200 {
            wait(&mut poller, IDLE, 100 + (turn * 7_919) % 1_900, 1);
        }
        assert_eq!(poller.plan(IDLE), Plan::Sleep);
    }

    #[test]
    fn one_kind_of_wait_says_nothing_about_another() {
        let mut poller = Poller::new(Span(50_000));
        wait(&mut poller, DISK, 20, 9);
        assert_eq!(poller.plan(IDLE), Plan::Sleep);
        assert_ne!(poller.plan(DISK), Plan::Sleep);
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
        assert!(!Poller::new(Span(0)).is_calm());
    }
}
