//! Verify: compares every block with the peer without changing anything; what differs becomes
//! dirty, is reported, and is then made equal from the primary's copy (R33).

use super::Replica;
use super::action::{Note, Refusal};
use super::event::CmdId;
use super::state::{Kind, Stage, Sync, Verify};
use crate::limits::PIECE_BLOCKS_MAX;
use crate::units::{BLOCK_BYTES, BlockIndex, Extent};
use crate::wire::message::SyncKind;

/// Pieces of a verify in flight: it runs beside client work for hours.
const VERIFY_WINDOW: u32 = 4;

impl Replica {
    pub(super) fn on_verify_command(&mut self, cmd: CmdId, start: bool) {
        if !start {
            self.verify = None;
            self.reply(cmd, Ok(()));
        } else if self.stage != Stage::Mirrored || !self.serves() {
            self.reply(cmd, Err(Refusal::NoLink));
        } else if self.verify.is_some() || self.has_verify_pieces() {
            self.reply(cmd, Err(Refusal::Busy));
        } else {
            let fresh = Verify { cursor: 0, inflight: 0, compared: 0, mismatches: 0 };
            self.verify = Some(fresh);
            self.verify_mismatches = 0;
            self.reply(cmd, Ok(()));
        }
    }

    /// Pieces of a verify that was stopped must end before another counts its own.
    fn has_verify_pieces(&self) -> bool {
        self.ops.iter().any(|(_, op)| matches!(&op.kind, Kind::Piece(piece) if piece.verify))
    }

    pub(super) fn pump_verify(&mut self) {
        let blocks = self.layout.blocks();
        loop {
            let Some(verify) = &mut self.verify else { return };
            if verify.cursor >= blocks && verify.inflight == 0 {
                let done =
                    Note::VerifyDone { blocks: verify.compared, mismatches: verify.mismatches };
                self.verify = None;
                self.note(done);
                return;
            }
            let room = verify.inflight < VERIFY_WINDOW && !self.bufs.is_empty();
            if !room || verify.cursor >= blocks || self.stage != Stage::Mirrored {
                return;
            }
            let first = verify.cursor;
            let end = (first + PIECE_BLOCKS_MAX as u64).min(blocks);
            verify.cursor = end;
            verify.inflight += 1;
            let count = u32::try_from(end - first).expect("a piece is small");
            self.start_piece(Extent::of_blocks(BlockIndex(first), count), true, true);
        }
    }

    /// Digests of a piece were compared; `runs` differ.
    pub(super) fn verify_compared(&mut self, at: Extent, runs: &[Extent]) {
        let Some(verify) = &mut self.verify else { return };
        verify.compared += u64::from(at.len) / BLOCK_BYTES;
        for run in runs {
            let blocks = u64::from(run.len) / BLOCK_BYTES;
            verify.mismatches += blocks;
            self.verify_mismatches += blocks;
        }
        for run in runs {
            self.note(Note::VerifyMismatch { at: *run });
            self.mark_dirty(*run);
        }
        if !runs.is_empty() && self.stage == Stage::Mirrored {
            self.repair_members();
        }
    }

    /// The peer can't read a piece: it is written there anew.
    pub(super) fn verify_unreadable(&mut self, at: Extent) {
        self.note(Note::VerifyUnreadable { at });
        if self.verify.is_some() {
            self.mark_dirty(at);
            if self.stage == Stage::Mirrored {
                self.repair_members();
            }
        }
    }

    /// Both are members and blocks differ: they are made equal before they count again.
    pub(super) fn repair_members(&mut self) {
        let total = self.dirty.bitmap.count();
        self.sync_sent = 0;
        self.sync = Some(Sync::new(SyncKind::Reconcile, total, self.now));
        self.set_stage(Stage::Reconciling);
    }

    pub(super) fn verify_piece_done(&mut self) {
        if let Some(verify) = &mut self.verify {
            verify.inflight = verify.inflight.saturating_sub(1);
        }
    }
}
