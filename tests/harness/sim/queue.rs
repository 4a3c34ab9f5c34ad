//! Virtual time: a heap of things to come, keyed by tick and by the order of their making.
//! Always: time never goes back; two things of one tick happen in the order they were made.

use lockstep_engine::units::{Span, Tick};
use std::cmp::Ordering;
use std::collections::BinaryHeap;

struct Entry<E> {
    at: Tick,
    order: u64,
    what: E,
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}
impl<E> Eq for Entry<E> {}
impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl<E> Ord for Entry<E> {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

/// Things to come.
pub struct Queue<E> {
    heap: BinaryHeap<Entry<E>>,
    order: u64,
    now: Tick,
}

impl<E> Queue<E> {
    /// Nothing to come; it is `now`.
    pub fn new(now: Tick) -> Queue<E> {
        Queue { heap: BinaryHeap::new(), order: 0, now }
    }

    /// The current tick.
    pub fn now(&self) -> Tick {
        self.now
    }

    /// Lets `what` happen at `at`, or at once when that has passed.
    pub fn at(&mut self, at: Tick, what: E) {
        self.order += 1;
        let at = at.max(self.now);
        self.heap.push(Entry { at, order: self.order, what });
    }

    /// Lets `what` happen after `span`.
    pub fn after(&mut self, span: Span, what: E) {
        self.at(self.now.after(span), what);
    }

    /// Takes the next thing that happens at `until` or before; otherwise it becomes `until`.
    pub fn next(&mut self, until: Tick) -> Option<E> {
        match self.heap.peek() {
            Some(entry) if entry.at <= until => {
                let entry = self.heap.pop()?;
                self.now = entry.at;
                Some(entry.what)
            }
            _ => {
                self.now = self.now.max(until);
                None
            }
        }
    }
}
