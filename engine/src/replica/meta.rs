//! The superblock and its way to the disk. Every change goes to slot 0 and, once that is durable,
//! to slot 1, so that at rest both say the same and a crash tears at most one (R23).
//! Always: what a ticket stands for is durable when the ticket comes due, in the order of tickets.

use crate::format::superblock::Superblock;
use crate::limits::ATTEMPTS_MAX;
use crate::units::{OpenAttempt, Page};

/// Stands for all changes made so far.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Ticket(u64);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Writing {
    Nothing,
    Slot(u8),
    /// A slot that recovery found damaged or old is made equal to the other before anything else:
    /// torn slots on both sides would bring back what was promised before.
    Heal,
}

/// The superblock as it should be, and how much of it is durable.
pub(super) struct Meta {
    /// As it should be. Change it only with `update`.
    sb: Superblock,
    /// Changes made.
    changes: u64,
    /// Changes that the image being written has.
    in_image: u64,
    /// Changes that are durable.
    durable: u64,
    writing: Writing,
    image: Superblock,
    /// Attempts that are on the disk.
    kept: [Option<OpenAttempt>; ATTEMPTS_MAX],
    /// Slot to heal first.
    heal: Option<u8>,
}

impl Meta {
    pub fn open(sb: Superblock, heal: Option<u8>) -> Meta {
        let (image, kept) = (sb.clone(), sb.attempts);
        let writing = Writing::Nothing;
        Meta { sb, changes: 0, in_image: 0, durable: 0, writing, image, kept, heal }
    }

    pub fn get(&self) -> &Superblock {
        &self.sb
    }

    /// Changes the superblock; the ticket comes due when the change is durable.
    pub fn update(&mut self, change: impl FnOnce(&mut Superblock)) -> Ticket {
        change(&mut self.sb);
        self.changes += 1;
        Ticket(self.changes)
    }

    /// Attempts that are open and on the disk. Whoever sends a request for one that is not (R4) has
    /// nothing to know it by after a restart.
    pub fn open_attempts(&self) -> impl Iterator<Item = OpenAttempt> + '_ {
        self.sb.attempts.iter().flatten().filter(|open| self.kept.contains(&Some(**open))).copied()
    }

    /// The disk refuses: what is not on it was promised to nobody, so nothing was sent for it.
    pub fn forget_unstored_attempts(&mut self) {
        let kept = self.kept;
        for slot in &mut self.sb.attempts {
            *slot = slot.filter(|open| kept.contains(&Some(*open)));
        }
    }

    pub fn is_due(&self, ticket: Ticket) -> bool {
        ticket.0 <= self.durable
    }

    /// The next page to write, with its address, unless one is being written already.
    pub fn next_write(&mut self) -> Option<(u64, Box<Page>)> {
        if self.writing != Writing::Nothing {
            return None;
        }
        if let Some(slot) = self.heal.take() {
            self.writing = Writing::Heal;
            return Some((u64::from(slot), self.image.encode(slot)));
        }
        if self.durable == self.changes {
            return None;
        }
        self.sb.sequence += 1;
        self.image = self.sb.clone();
        self.in_image = self.changes;
        self.writing = Writing::Slot(0);
        Some((0, self.image.encode(0)))
    }

    /// A page is durable; gives the page that must follow, or marks the image durable.
    pub fn write_done(&mut self) -> Option<(u64, Box<Page>)> {
        match self.writing {
            Writing::Slot(0) => {
                self.writing = Writing::Slot(1);
                Some((1, self.image.encode(1)))
            }
            Writing::Heal => {
                self.writing = Writing::Nothing;
                None
            }
            Writing::Slot(_) => {
                self.writing = Writing::Nothing;
                self.durable = self.in_image;
                self.kept = self.image.attempts;
                None
            }
            Writing::Nothing => panic!("a superblock write ended that nobody started"),
        }
    }
}
