//! Retires intent (R16, R22): flush both nodes, make the bitmap pages of the regions durable, then
//! drop the regions from the log. Runs by itself when the table is crowded or regions are idle.
//! Always: a region that was touched after the flush began keeps its intent.

use super::Replica;
use super::action::Action;
use super::dirty::Candidate;
use super::event::DiskError;
use super::flush::FlushFor;
use super::ids::Waiter;
use super::mutant::Mutant;
use crate::limits::META_WRITES_MAX;
use crate::units::{Span, Tick};

/// A checkpoint under way.
pub(super) struct Checkpoint {
    candidates: Vec<Candidate>,
    step: Step,
    /// Every bitmap page that differs from its copy on disk is written too.
    all_pages: bool,
}

enum Step {
    /// Waits for the flush of this node, and of the peer where it matters.
    Flushing,
    /// Bitmap pages still to write, and how many are being written.
    Pages { wanted: Vec<u64>, inflight: usize },
    /// Waits for the transactions that drop the regions.
    Dropping,
}

impl Replica {
    /// A write found the table full.
    pub(super) fn want_room(&mut self) {
        self.next_checkpoint = self.now;
    }

    /// Retires everything that is quiet, and writes every stale bitmap page.
    /// `false` when that is not possible now.
    pub(super) fn start_full_checkpoint(&mut self) -> bool {
        self.begin_checkpoint(None, true)
    }

    pub(super) fn pump_checkpoint(&mut self) {
        if let Some(checkpoint) = &mut self.checkpoint {
            match &checkpoint.step {
                Step::Pages { .. } => self.write_pages(),
                Step::Dropping if !self.dirty.is_dropping() => {
                    self.checkpoint = None;
                    self.retry_full_table();
                }
                Step::Flushing | Step::Dropping => {}
            }
            return;
        }
        if self.dirty.hot() == 0 || self.now < self.next_checkpoint || self.meta_failed {
            return;
        }
        let crowded = self.dirty.is_crowded() || !self.table_waits.is_empty();
        let idle = if crowded { None } else { Some(self.set.intent_idle) };
        self.begin_checkpoint(idle, false);
        self.next_checkpoint = self.now.after(self.checkpoint_pause(crowded));
    }

    /// The flush failed: nothing is retired now, and tried again later.
    pub(super) fn put_off_checkpoint(&mut self) {
        self.checkpoint = None;
        self.next_checkpoint = self.now.after(self.set.intent_idle);
    }

    fn checkpoint_pause(&self, crowded: bool) -> Span {
        if crowded { Span::millis(50) } else { Span(self.set.intent_idle.0 / 4 + 1) }
    }

    pub(super) fn checkpoint_deadline(&self) -> Option<Tick> {
        let due = self.checkpoint.is_none() && self.dirty.hot() > 0 && !self.meta_failed;
        due.then_some(self.next_checkpoint)
    }

    /// Intent can be retired when every copy that it protects can be flushed: the peer's too while
    /// it is a member. Alone, regions that the peer never flushed become dirty instead.
    fn begin_checkpoint(&mut self, idle: Option<Span>, all_pages: bool) -> bool {
        let remote = self.stage.flushes();
        if self.checkpoint.is_some() || self.meta_failed {
            return false;
        }
        if self.serves() && self.peer_required() && !remote {
            return false;
        }
        if !self.serves() && !all_pages {
            return false;
        }
        let candidates = self.dirty.candidates(idle, self.now);
        if candidates.is_empty() && !all_pages {
            return false;
        }
        self.checkpoint = Some(Checkpoint { candidates, step: Step::Flushing, all_pages });
        self.start_flush(FlushFor::Checkpoint, remote);
        true
    }

    pub(super) fn checkpoint_flushed(&mut self, remote_done: bool) {
        let Some(mut checkpoint) = self.checkpoint.take() else { return };
        let alone = !self.peer_required();
        let mut kept = Vec::with_capacity(checkpoint.candidates.len());
        for candidate in checkpoint.candidates {
            if !self.dirty.is_unchanged(candidate) {
                continue;
            }
            if remote_done {
                self.dirty.peer_flushed(candidate);
            } else if self.dirty.is_peer_unflushed(candidate.region) {
                if !alone {
                    continue;
                }
                self.dirty.set_region(candidate.region);
            }
            kept.push(candidate);
        }
        let mut wanted = self.pages_of(&kept, checkpoint.all_pages);
        if Mutant::RetireBeforeBitmap.on() {
            wanted.clear(); // R22
        }
        checkpoint.candidates = kept;
        checkpoint.step = Step::Pages { wanted, inflight: 0 };
        self.checkpoint = Some(checkpoint);
        self.write_pages();
    }

    /// Stale bitmap pages to write first, last one first.
    fn pages_of(&self, candidates: &[Candidate], all: bool) -> Vec<u64> {
        let bitmap = &self.dirty.bitmap;
        let mut pages = Vec::new();
        if all {
            let mut next = bitmap.next_stale(0);
            while let Some(page) = next {
                pages.push(page);
                next = bitmap.next_stale(page + 1);
            }
        } else {
            for candidate in candidates {
                let page = bitmap.page_of(candidate.region.blocks().start);
                if bitmap.is_stale(page) {
                    pages.push(page);
                }
            }
            pages.sort_unstable();
            pages.dedup();
        }
        pages
    }

    fn write_pages(&mut self) {
        let Some(checkpoint) = &mut self.checkpoint else { return };
        let Step::Pages { wanted, inflight } = &mut checkpoint.step else { return };
        while *inflight < META_WRITES_MAX {
            let Some(page) = wanted.pop() else { break };
            *inflight += 1;
            let (address, bytes) = self.dirty.bitmap.encode_page(page);
            let op = Waiter::BitmapPage(page).id();
            self.out.push_back(Action::MetaWrite { op, page: address, bytes });
        }
        if *inflight == 0 {
            checkpoint.step = Step::Dropping;
            if checkpoint.all_pages && self.dirty.is_log_lost() {
                self.dirty.trust_log();
            }
            self.dirty.drop_intent(&checkpoint.candidates);
        }
    }

    pub(super) fn on_bitmap_page(&mut self, page: u64, result: Result<(), DiskError>) {
        if let Err(error) = result {
            self.dirty.bitmap.mark_stale(page);
            self.fail_metadata(error);
            return;
        }
        if let Some(Checkpoint { step: Step::Pages { inflight, .. }, .. }) = &mut self.checkpoint {
            *inflight -= 1;
        }
        self.write_pages();
    }
}
