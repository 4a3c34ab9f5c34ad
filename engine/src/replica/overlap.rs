//! Which byte ranges are in use, and who waits for them (R19, R43, R26).
//! Always: an exclusive range shares no byte with any other range in use; who asks first for an
//! overlapping range gets it first, so that nobody starves and order is the order of arrival.

use super::mutant::Mutant;
use super::slab::Key;
use crate::units::Extent;

#[derive(Clone, Copy, Debug)]
struct Range {
    at: Extent,
    exclusive: bool,
    owner: Key,
}

impl Range {
    fn conflicts(&self, other: &Range) -> bool {
        (self.exclusive || other.exclusive) && self.at.overlaps(other.at)
    }
}

/// Ranges in use and ranges wanted.
pub(super) struct Overlap {
    /// In use, sorted by first byte.
    held: Vec<Range>,
    /// Longest range in use: bounds the search to the left.
    longest: u64,
    /// Wanted, in order of arrival.
    waiting: Vec<Range>,
}

impl Overlap {
    pub fn new(capacity: usize) -> Overlap {
        Overlap {
            held: Vec::with_capacity(capacity),
            longest: 0,
            waiting: Vec::with_capacity(capacity),
        }
    }

    /// Takes the range now (true), or queues for it: `owner` comes out of a later `release`.
    pub fn acquire(&mut self, at: Extent, exclusive: bool, owner: Key) -> bool {
        let range = Range { at, exclusive, owner };
        let queued = self.waiting.iter().any(|other| range.conflicts(other));
        if (queued || self.is_held(&range)) && !Mutant::SkipOverlapLock.on() {
            self.waiting.push(range);
            return false;
        }
        self.hold(range);
        true
    }

    /// Gives a range back (or stops waiting for it) and appends to `granted` who got one.
    pub fn release(&mut self, at: Extent, owner: Key, granted: &mut Vec<Key>) {
        let start = self.held.partition_point(|range| range.at.offset < at.offset);
        let same_start = self.held[start..].iter().take_while(|range| range.at.offset == at.offset);
        let found = same_start.enumerate().find(|(_, range)| range.owner == owner);
        if let Some((step, _)) = found {
            self.held.remove(start + step);
        } else {
            let position = self.waiting.iter().position(|range| range.owner == owner);
            let position = position.expect("released range was neither held nor wanted");
            self.waiting.remove(position);
        }
        if self.held.is_empty() {
            self.longest = 0;
        }
        self.grant(granted);
    }

    fn grant(&mut self, granted: &mut Vec<Key>) {
        let mut index = 0;
        while index < self.waiting.len() {
            let range = self.waiting[index];
            let earlier = self.waiting[..index].iter().any(|other| range.conflicts(other));
            if earlier || self.is_held(&range) {
                index += 1;
                continue;
            }
            self.waiting.remove(index);
            self.hold(range);
            granted.push(range.owner);
        }
    }

    fn is_held(&self, range: &Range) -> bool {
        let end = self.held.partition_point(|other| other.at.offset < range.at.end());
        let reach = range.at.offset.saturating_sub(self.longest);
        self.held[..end]
            .iter()
            .rev()
            .take_while(|other| other.at.offset >= reach)
            .any(|other| range.conflicts(other))
    }

    fn hold(&mut self, range: Range) {
        self.longest = self.longest.max(u64::from(range.at.len));
        let position = self.held.partition_point(|other| other.at.offset <= range.at.offset);
        self.held.insert(position, range);
    }

    #[cfg(test)]
    fn held_owners(&self) -> Vec<Key> {
        let mut owners: Vec<Key> = self.held.iter().map(|range| range.owner).collect();
        owners.sort();
        owners
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The naive twin: a list in order of arrival; a range is in use when no earlier one conflicts.
    #[derive(Default)]
    struct Twin(Vec<Range>);

    impl Twin {
        fn held_owners(&self) -> Vec<Key> {
            let mut owners = Vec::new();
            for (index, range) in self.0.iter().enumerate() {
                if !self.0[..index].iter().any(|earlier| earlier.conflicts(range)) {
                    owners.push(range.owner);
                }
            }
            owners.sort();
            owners
        }
    }

    #[test]
    fn the_index_agrees_with_its_naive_twin() {
        for seed in 1..200u64 {
            let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            let mut next = move |bound: u64| {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                random % bound
            };
            let (mut index, mut twin) = (Overlap::new(8), Twin::default());
            for step in 0..300u64 {
                if twin.0.is_empty() || (next(3) > 0 && twin.0.len() < 24) {
                    let len = u32::try_from(4096 * (1 + next(4))).expect("small");
                    let at = Extent::new(4096 * next(24), len);
                    let range = Range { at, exclusive: next(3) > 0, owner: Key(step) };
                    index.acquire(at, range.exclusive, range.owner);
                    twin.0.push(range);
                } else {
                    let pick = usize::try_from(next(twin.0.len() as u64)).expect("small");
                    let gone = twin.0.remove(pick);
                    index.release(gone.at, gone.owner, &mut Vec::new());
                }
                assert_eq!(index.held_owners(), twin.held_owners(), "seed {seed} step {step}");
            }
        }
    }
}
