//! Who holds how much of what all clients share: pieces inside the replica, small and large slots.
//! Half of each is cut into parts, one for each place that a connection may have; the rest is
//! common, and a place may draw from it while it has drawn no more than it leaves (R29).
//! Always: a place can get its part whatever the others do, stuck or gone; what a connection held
//! when it ended stays with its place until it is answered (R20), and is counted apart.

use super::super::bufs::SMALL_BYTES;
use crate::limits::CLIENT_PART_DIVISOR;
use lockstep_nbd::protocol::{Command, Request};

/// What is shared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
pub(super) enum Good {
    /// A piece inside the replica.
    Piece = 0,
    /// A slot of `SMALL_BYTES`.
    Small = 1,
    /// A slot of `PIECE_BYTES_MAX`.
    Large = 2,
}

impl Good {
    /// The slots that a request is carried in, if it has data.
    pub fn of(nbd: &Request) -> Option<Good> {
        match nbd.command {
            Command::Read { .. } | Command::Write if nbd.len as usize <= SMALL_BYTES => {
                Some(Good::Small)
            }
            Command::Read { .. } | Command::Write => Some(Good::Large),
            _ => None,
        }
    }
}

/// A number of each good.
pub(super) type Held = [usize; 3];

/// One good.
#[derive(Clone, Debug)]
struct Share {
    /// What is kept for each place.
    part: usize,
    held: Vec<usize>,
    /// Sum of what places have not taken of their parts.
    kept: usize,
}

impl Share {
    fn new(total: usize, places: usize) -> Share {
        let part = total / CLIENT_PART_DIVISOR / places;
        assert!(part > 0, "every place has a part");
        Share { part, held: vec![0; places], kept: part * places }
    }

    fn unused(&self, place: usize) -> usize {
        self.part.saturating_sub(self.held[place])
    }

    /// Whether the place may take `n` more while `free` are.
    fn allows(&self, place: usize, n: usize, free: usize) -> bool {
        let within_reach = free.saturating_sub(self.kept - self.unused(place));
        let Some(left) = within_reach.checked_sub(n) else { return false };
        let drawn = (self.held[place] + n).saturating_sub(self.part);
        drawn <= left + 1
    }

    fn change(&mut self, place: usize, change: impl FnOnce(usize) -> usize) {
        let before = self.unused(place);
        self.held[place] = change(self.held[place]);
        self.kept = self.kept - before + self.unused(place);
    }
}

/// The shares of all places.
#[derive(Debug)]
pub(super) struct Shares {
    goods: [Share; 3],
    /// What connections held when they ended and nobody has answered yet.
    dead: Held,
}

impl Shares {
    /// Shares of so many pieces, small slots and large slots, for so many places.
    pub fn new(totals: Held, places: usize) -> Shares {
        Shares { goods: totals.map(|total| Share::new(total, places)), dead: [0; 3] }
    }

    /// Whether the place may take `n` more of which `free` are.
    pub fn allows(&self, place: usize, good: Good, n: usize, free: usize) -> bool {
        self.goods[good as usize].allows(place, n, free)
    }

    pub fn take(&mut self, place: usize, good: Good, n: usize) {
        self.goods[good as usize].change(place, |held| held + n);
    }

    pub fn give(&mut self, place: usize, good: Good, n: usize) {
        let fewer = |held: usize| held.checked_sub(n).expect("a place gives what it took");
        self.goods[good as usize].change(place, fewer);
    }

    /// A connection has ended; this is still inside the replica.
    pub fn bury(&mut self, inside: Held) {
        for (dead, inside) in self.dead.iter_mut().zip(inside) {
            *dead += inside;
        }
    }

    /// A piece of a connection that had ended was answered.
    pub fn exhume(&mut self, good: Good) {
        let dead = &mut self.dead[good as usize];
        *dead = dead.checked_sub(1).expect("it was counted when its connection ended");
    }

    /// What connections that have ended still hold.
    pub fn dead(&self) -> Held {
        self.dead
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes one at a time, as many as the place may have.
    fn greedy(share: &mut Share, total: usize, place: usize) -> usize {
        let before = share.held[place];
        while share.allows(place, 1, total - share.held.iter().sum::<usize>()) {
            share.change(place, |held| held + 1);
        }
        share.held[place] - before
    }

    #[test]
    fn every_place_gets_its_part_after_all_others_took_what_they_could() {
        for places in [2, 16, 64] {
            let mut share = Share::new(224, places);
            let taken: Vec<usize> =
                (0..places).map(|place| greedy(&mut share, 224, place)).collect();
            assert!(taken.iter().all(|taken| *taken >= share.part), "{taken:?}");
            assert!(taken[0] < 224 / 2 + share.part && taken[0] > 50, "{taken:?}");
        }
    }

    #[test]
    fn many_at_once_are_allowed_when_they_are_one_by_one() {
        let mut one_by_one = Share::new(224, 16);
        let most = greedy(&mut one_by_one, 224, 3);
        let share = Share::new(224, 16);
        assert!(share.allows(3, most, 224));
        assert!(!share.allows(3, most + 1, 224));
    }

    #[test]
    fn a_place_whose_part_is_used_up_by_the_dead_leaves_the_parts_of_others() {
        let mut share = Share::new(512, 16);
        let reborn: Vec<usize> = (0..10).map(|_| greedy(&mut share, 512, 0)).collect();
        assert_eq!(reborn[1..], [0; 9], "nothing more until something is answered");
        assert!(greedy(&mut share, 512, 15) >= share.part);
    }
}
