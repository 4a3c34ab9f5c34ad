//! End of a resync, R27: tighten, drain, flush both, persist at the peer, record, drop bits.
//! In exactly this order. Always: the peer becomes a member only when it holds every acknowledged
//! and every flushed write, those of the past included. A lost session voids every step.

use super::Replica;
use super::action::Note;
use super::flush::FlushFor;
use super::mutant::Mutant;
use super::state::{Grow, Kind, Phase, Remote, Stage};
use crate::wire::message::Message;

impl Replica {
    /// (1): from the stage on, `peer_required` holds for every answer.
    pub(super) fn begin_grow(&mut self) {
        let blocks = self.sync.as_ref().map_or(0, |sync| sync.done);
        self.note(Note::SyncDone { blocks });
        self.tighten_seq = self.next_seq();
        self.adopt();
    }

    pub(super) fn pump_grow(&mut self) {
        let Stage::Growing(step) = self.stage else { return };
        if self.dirty.bitmap.count() > 0 {
            // Something was marked after all: back to work, nothing was promised yet.
            if step != Grow::Recording {
                self.round += 1;
                self.set_stage(Stage::Syncing);
                if let Some(sync) = &mut self.sync {
                    sync.cursor = 0;
                }
            }
            return;
        }
        let drained = self.is_drained() || Mutant::GrowWithoutDrain.on(); // R27
        if step == Grow::Draining && drained && self.adopted() {
            self.set_stage(Stage::Growing(Grow::Flushing));
            if Mutant::GrowWithoutFlush.on() {
                return self.grow_flushed(self.round, true); // R27
            }
            self.start_flush(FlushFor::Grow(self.round), true);
        }
    }

    /// (2): every write admitted before (1) is reported by both, or never went anywhere.
    fn is_drained(&self) -> bool {
        let before = self.ops.iter().filter(|(_, op)| op.seq < self.tighten_seq);
        !before.into_iter().any(|(_, op)| match &op.kind {
            Kind::Write(write) => op.phase == Phase::Running && write.remote != Remote::Reported,
            _ => false,
        })
    }

    /// (3) is done: (4).
    pub(super) fn grow_flushed(&mut self, round: u64, remote_done: bool) {
        if round != self.round || self.stage != Stage::Growing(Grow::Flushing) || !remote_done {
            return;
        }
        self.set_stage(Stage::Growing(Grow::Persisting));
        self.round += 1;
        let generation = self.meta.get().generation;
        self.send(Message::MakeUpToDate { round: self.round, generation });
        if Mutant::GrowBeforePersisted.on() {
            self.set_stage(Stage::Growing(Grow::Recording)); // R27
        }
    }

    /// (4) is done, or the mark is held.
    pub(super) fn on_up_to_date_done(&mut self, round: u64) {
        if round != self.round {
            return;
        }
        match self.stage {
            Stage::Growing(Grow::Persisting) => {
                self.set_stage(Stage::Growing(Grow::Recording));
            }
            // Shrunk away meanwhile: the hello that follows the new record says what comes next.
            Stage::Marking if self.peer_is_member() => self.mirrored(),
            _ => {}
        }
    }

    /// (5) is done and known here: (6).
    pub(super) fn grown(&mut self) {
        self.send(Message::DropBits { round: self.round });
        self.sync = None;
        let generation = self.meta.get().generation;
        self.meta.update(|sb| {
            sb.base = generation;
            sb.diverged = false;
        });
        // An intent set since (3) stays: only quiet regions are retired, after a flush of both.
        self.start_full_checkpoint();
        self.mirrored();
    }

    /// From here every write is on both nodes before it is answered.
    pub(super) fn mirrored(&mut self) {
        self.set_stage(Stage::Mirrored);
        self.synced_life = self.link.as_ref().map(|link| link.peer_life);
        self.shrink_at = None;
        self.resend_lost();
        if self.dirty.bitmap.count() > 0 {
            self.repair_members();
        }
    }

    /// Gives the in-sync mark (R42) before any report of this session counts.
    pub(super) fn give_mark(&mut self) {
        self.round += 1;
        self.set_stage(Stage::Marking);
        let generation = self.meta.get().generation;
        self.send(Message::MakeUpToDate { round: self.round, generation });
    }
}
