//! Resync, driven by the node whose copy wins: walks the dirty bits, keeps a window of pieces in
//! flight, and clears bits once the target has flushed (R9, R16, R26).
//! Always: a block is dirty until it is equal and stable on the target.

use super::Replica;
use super::action::{Action, Note};
use super::flush::FlushFor;
use super::mutant::Mutant;
use super::state::{Grow, Stage, Sync};
use crate::limits::{
    PIECE_BLOCKS_MAX, SYNC_OPS_BUSY, SYNC_UNFLUSHED_BYTES_MAX, SYNC_UNFLUSHED_EXTENTS_MAX,
};
use crate::units::{BLOCK_BYTES, BlockIndex, Extent, Span, Tick};
use crate::wire::message::{Message, SyncKind};

/// A pass that made no block equal, because the source can't read what is left, is tried again
/// after this long.
const PASS_PAUSE: Span = Span::millis(1_000);

impl Replica {
    /// Asks the peer to prepare. Bits of both sides count; a full resync makes every block dirty.
    pub(super) fn begin_sync(&mut self, kind: SyncKind) {
        if kind == SyncKind::Full {
            self.dirty.bitmap.set_all();
        }
        self.round += 1;
        self.flushes.reconciled = false;
        self.reconcile_stuck = false;
        let generation = self.record.map_or(self.meta.get().generation, |r| r.generation);
        self.disown_pieces();
        self.disown_target_flush();
        let paused = self.sync_paused && kind != SyncKind::Reconcile;
        self.sync = Some(Sync { paused, ..Sync::new(kind, 0, self.now) });
        self.sync_sent = 0;
        self.pace.begin(self.now);
        self.verify = None;
        self.synced_life = self.link.as_ref().map(|link| link.peer_life);
        self.set_stage(Stage::Preparing);
        self.send(Message::SyncBegin { round: self.round, kind, generation });
    }

    /// The target is ready and has sent its bits.
    pub(super) fn on_sync_ready(&mut self, round: u64) {
        if self.stage != Stage::Preparing || round != self.round {
            return;
        }
        let blocks = self.dirty.bitmap.count();
        let Some(sync) = &mut self.sync else { return };
        sync.total = blocks;
        sync.progress_at = self.now;
        let reconcile = sync.kind == SyncKind::Reconcile;
        self.note(Note::SyncStarted { blocks });
        if reconcile {
            self.set_stage(Stage::Reconciling);
            self.shrink_at = None;
            self.resend_lost();
        } else {
            self.set_stage(Stage::Syncing);
        }
    }

    /// Whether `sync` may start pieces now.
    fn sync_runs(&self) -> bool {
        matches!(self.stage, Stage::Syncing | Stage::Reconciling) && self.sync.is_some()
    }

    pub(super) fn pump_stage(&mut self) {
        if self.sync_runs() {
            self.start_pieces();
            self.flush_target();
            self.end_sync_if_done();
        }
        if self.verify.is_some() {
            self.pump_verify();
        }
        self.pump_grow();
        self.pump_follow();
    }

    /// Blocks that are not equal yet, as far as is known: those that wait for the target's flush
    /// are.
    pub(super) fn blocks_left(&self) -> u64 {
        let dirty = self.dirty.bitmap.count();
        let equal = self.sync.as_ref().map_or(0, |sync| sync.unflushed_bytes / BLOCK_BYTES);
        dirty - equal.min(dirty)
    }

    /// Pieces that may be in flight: few while clients work, so that their latency stays. Clients
    /// wait for what is reconciled, and may want a block of their own first (R41).
    fn window(&mut self) -> usize {
        let Some(sync) = &self.sync else { return 0 };
        let busy = self.ops.len() > sync.inflight as usize;
        if sync.kind == SyncKind::Reconcile {
            return if busy {
                self.set.sync_window.min(SYNC_OPS_BUSY)
            } else {
                self.set.sync_window
            };
        }
        let left = self.blocks_left();
        self.pace.look(busy, left, self.now);
        self.pace.window(self.set.sync_window)
    }

    fn start_pieces(&mut self) {
        let bounded = !Mutant::IgnoreSyncWindow.on(); // R29
        let window = if bounded { self.window() } else { usize::MAX };
        loop {
            let Some(sync) = &mut self.sync else { return };
            let crowded = sync.unflushed_bytes >= SYNC_UNFLUSHED_BYTES_MAX
                || sync.unflushed.len() >= SYNC_UNFLUSHED_EXTENTS_MAX;
            if self.now < sync.retry_at
                || sync.paused
                || crowded
                || sync.inflight as usize >= window
                || self.bufs.is_empty()
            {
                return;
            }
            let Some(first) = self.dirty.bitmap.next_set(sync.cursor) else {
                sync.cursor = u64::MAX;
                return;
            };
            let limit = first + sync.careful.unwrap_or(PIECE_BLOCKS_MAX as u64);
            let end = self.dirty.bitmap.next_clear(first, limit);
            sync.cursor = end;
            sync.inflight += 1;
            let digests = sync.kind == SyncKind::Reconcile
                || (self.set.sync_digests && sync.sampling.compares());
            let count = u32::try_from(end - first).expect("a piece is small");
            let at = Extent::of_blocks(BlockIndex(first), count);
            if sync.kind != SyncKind::Reconcile {
                let due = self.pace.started(u64::from(at.len), sync.retry_at, self.now);
                sync.retry_at = due;
            }
            self.start_piece(at, digests, false);
        }
    }

    /// When pieces may start again, if they wait for time alone.
    pub(super) fn sync_deadline(&self) -> Option<Tick> {
        let sync = self.sync.as_ref().filter(|sync| !sync.paused && sync.retry_at > self.now)?;
        self.sync_runs().then_some(sync.retry_at)
    }

    /// A read waits for a dirty block: that block comes first (R41).
    pub(super) fn want_first(&mut self, at: Extent) {
        if let Some(sync) = &mut self.sync {
            let block = at.offset / BLOCK_BYTES;
            if sync.inflight == 0 && sync.cursor > block {
                sync.cursor = block;
            }
        }
    }

    /// A piece is equal on both disks (or failed).
    pub(super) fn sync_piece_done(&mut self, at: Extent, ok: bool) {
        let Some(sync) = &mut self.sync else { return };
        sync.inflight -= 1;
        if let Some(blocks) = &mut sync.careful {
            *blocks = if ok { (*blocks * 2).min(PIECE_BLOCKS_MAX as u64) } else { 1 };
        }
        if ok {
            sync.unflushed.push((at, false));
            sync.unflushed_bytes += u64::from(at.len);
            sync.done += u64::from(at.len) / BLOCK_BYTES;
            sync.progress_at = self.now;
            self.reconcile_stuck = false;
        }
    }

    /// Asks for the target's flush at the end of a pass, and when much is unflushed.
    fn flush_target(&mut self) {
        let Some(sync) = &mut self.sync else { return };
        let pass_over = sync.inflight == 0 && sync.cursor == u64::MAX;
        let much = sync.unflushed_bytes >= SYNC_UNFLUSHED_BYTES_MAX / 2
            || sync.unflushed.len() >= SYNC_UNFLUSHED_EXTENTS_MAX / 2;
        if sync.flush_running || sync.unflushed.is_empty() || !(pass_over || much) {
            return;
        }
        sync.flush_running = true;
        for (_, covered) in &mut sync.unflushed {
            *covered = true;
        }
        self.start_flush(FlushFor::SyncTarget, true);
    }

    pub(super) fn target_flushed(&mut self, done: bool) {
        let Some(sync) = &mut self.sync else { return };
        sync.flush_running = false;
        if !done {
            return;
        }
        let covered = sync.unflushed.iter().filter(|(_, covered)| *covered);
        for (extent, _) in covered {
            self.dirty.bitmap.clear(extent.blocks());
        }
        sync.unflushed.retain(|(_, covered)| !*covered);
        sync.unflushed_bytes = sync.unflushed.iter().map(|(extent, _)| u64::from(extent.len)).sum();
        self.recheck = true;
    }

    /// Next pass, or the end. One that got nowhere is followed by a careful one, so that what can't
    /// be read keeps nothing beside it dirty.
    fn end_sync_if_done(&mut self) {
        let dirty = self.dirty.bitmap.count();
        let Some(sync) = &mut self.sync else { return };
        if sync.inflight > 0 || sync.flush_running || sync.cursor != u64::MAX {
            return;
        }
        if dirty > 0 {
            if sync.unflushed.is_empty() {
                sync.cursor = 0;
                let nothing = sync.done == sync.pass_done;
                sync.pass_done = sync.done;
                let careful = sync.careful.is_some();
                sync.careful = (nothing && !careful).then_some(1);
                if nothing && careful {
                    sync.retry_at = self.now.after(PASS_PAUSE);
                    self.reconcile_gets_nowhere();
                }
            }
            return;
        }
        if self.stage == Stage::Syncing {
            self.set_stage(Stage::Growing(Grow::Draining));
            self.begin_grow();
        } else if !self.flushes.reconciled {
            self.flushes.reconciled = true;
            self.start_flush(FlushFor::Reconciled(self.round), true);
        }
    }

    /// A pass made no block equal: what is left can't be read here, nor taken from the peer. Such a
    /// peer can't stay a member beside what is served; where nobody serves, it is tried again, and
    /// whoever may start alone need not wait for it.
    fn reconcile_gets_nowhere(&mut self) {
        if self.stage != Stage::Reconciling {
            return;
        }
        self.reconcile_stuck = true;
        self.out.push_back(Action::StatusChanged);
        if self.serves() && self.peer_is_member() {
            self.sync = None;
            self.set_stage(Stage::Blocked { shrink: true });
        }
    }

    /// Both disks are equal where intent was open, and both are stable: the peer takes the mark.
    pub(super) fn reconcile_flushed(&mut self, round: u64, remote_done: bool) {
        if round != self.round {
            return;
        }
        self.flushes.reconciled = false;
        if self.stage != Stage::Reconciling || !remote_done || self.dirty.bitmap.count() > 0 {
            return;
        }
        let blocks = self.sync.as_ref().map_or(0, |sync| sync.done);
        self.sync = None;
        self.note(Note::SyncDone { blocks });
        self.send(Message::DropBits { round: self.round });
        self.start_full_checkpoint();
        self.give_mark();
    }

    /// R26: when the remaining bits stop shrinking, writes go to both nodes.
    pub(super) fn watch_sync_progress(&mut self) {
        let remaining = self.blocks_left();
        let stall = self.set.times.sync_stall;
        let Some(sync) = &mut self.sync else { return };
        if remaining < sync.remaining_at {
            sync.remaining_at = remaining;
            sync.progress_at = self.now;
        } else if self.now.since(sync.progress_at) >= stall && !sync.paused {
            sync.write_both = true;
        }
    }
}
