//! Generations: the names of data histories (R7, R8, R9).
//! Always: nothing is answered by this node alone in a generation that is not durable here.

use super::Replica;
use super::action::Note;
use super::state::Then;
use crate::format::superblock::Superblock;
use crate::limits::HISTORY_MAX;
use crate::units::Generation;
use crate::wire::message::Hello;

/// How two copies are related.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kinship {
    /// The bitmaps say what differs.
    Tracked,
    /// The peer is an ancestor whose differences were not tracked, or has nothing worth keeping.
    Untracked,
    /// The peer went on alone with a history that is not ours.
    Unrelated,
}

/// Puts a copy into another generation and remembers the old one.
pub(super) fn enter_generation(sb: &mut Superblock, next: Generation) {
    if sb.generation == next {
        return;
    }
    if sb.generation.is_some() {
        sb.history.copy_within(0..HISTORY_MAX - 1, 1);
        sb.history[0] = sb.generation;
    }
    sb.generation = next;
}

impl Replica {
    /// Whether the generation of the record is durable here.
    pub(super) fn adopted(&self) -> bool {
        let wanted = self.record.map_or(Generation::NONE, |record| record.generation);
        !self.adopting && self.meta.get().generation == wanted
    }

    /// Starts to adopt the generation of the record; whoever waits is woken by `Then::Adopted`.
    pub(super) fn adopt(&mut self) {
        let Some(record) = self.record else { return };
        if self.adopting || self.meta.get().generation == record.generation {
            return;
        }
        self.adopting = true;
        self.store(Then::Adopted, |sb| enter_generation(sb, record.generation));
    }

    pub(super) fn adoption_stored(&mut self) {
        self.adopting = false;
        self.note(Note::GenerationAdopted);
        self.recheck = true;
    }

    /// What our bitmap knows of the peer's copy. Equal generations do not mean equal data (R9):
    /// the bits of both sides decide that.
    pub(super) fn kinship(&self, peer: &Hello) -> Kinship {
        let sb = self.meta.get();
        if peer.needs_full || !peer.generation.is_some() {
            return Kinship::Untracked;
        }
        if peer.generation == sb.generation || peer.generation == sb.base {
            return Kinship::Tracked;
        }
        let current = self.record.map(|record| record.generation);
        if current == Some(peer.generation) && peer.base == peer.generation {
            return Kinship::Tracked;
        }
        if sb.history.contains(&peer.generation) {
            return Kinship::Untracked;
        }
        Kinship::Unrelated
    }
}
