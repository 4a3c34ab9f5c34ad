//! Stopping: the fast fence, failed disks, failed metadata (R13, R14, §1.3).
//! Always: after a fence nothing is answered but errors; what was in flight is dirty, so that a
//! later life of this copy is compared before it is trusted.

use super::Replica;
use super::action::{Action, Answered, DropReason, Note, Refusal};
use super::event::DiskError;
use super::slab::Key;
use super::state::{Kind, Op, Phase, Remote, Then};
use crate::units::{DiskState, Role};
use crate::wire::message::ByeReason;

impl Replica {
    /// Fails everything pending with EIO, refuses clients, becomes secondary, now.
    pub(super) fn fence(&mut self) {
        if self.role == Role::Secondary && self.ops.len() == 0 {
            return;
        }
        let was = self.role;
        self.role = Role::Secondary;
        // One whose record is not stored yet is refused when that is done.
        if let Some(promotion) = self.promotion.take().filter(|promotion| promotion.stored) {
            self.reply(promotion.cmd, Err(Refusal::Busy));
        }
        if let Some(leaving) = self.leaving.take() {
            self.reply(leaving.cmd, Err(Refusal::Busy));
        }
        self.out.push_back(Action::Clients { open: false });
        self.dirty.dirty_hot();
        self.abort_client_flushes();
        self.fail_client_ops();
        if self.link.is_some() {
            let why = DropReason::Said(ByeReason::Replaced);
            self.send(crate::wire::message::Message::Bye(ByeReason::Replaced));
            self.drop_session(why, self.set.times.grace);
        }
        self.give_up_remote(Remote::Lost);
        self.held_since = None;
        if self.meta_failed {
            // Nobody may start it again before its cluster partition is repaired.
            self.disk = DiskState::Failed;
        }
        if was != Role::Secondary {
            self.note(Note::Fenced);
        }
    }

    /// What has not started ends; what is at the disk is answered now (a write keeps its buffer)
    /// or when the disk lets go of the buffer (a read).
    fn fail_client_ops(&mut self) {
        self.gated.clear();
        self.table_waits.clear();
        self.intent_waits.clear();
        // Newest first: nothing is granted a range that is about to be failed.
        let mut keys = self.ops.keys_where(|op| matches!(op.kind, Kind::Read(_) | Kind::Write(_)));
        keys.sort_by_key(|key| std::cmp::Reverse(self.ops.get(*key).map(|op| op.seq)));
        for key in keys {
            match self.ops.get(key).map(|op| &op.kind) {
                Some(Kind::Read(_)) => self.fail_read(key),
                Some(Kind::Write(_)) => self.fail_pending_write(key),
                _ => {}
            }
        }
    }

    fn fail_read(&mut self, key: Key) {
        let Some(Op { at, phase, kind: Kind::Read(read), .. }) = self.ops.get(key) else { return };
        let (at, phase, from_peer) = (*at, *phase, read.from_peer);
        match phase {
            Phase::Running if !from_peer => {}
            Phase::Gated => {
                let req = read.req;
                self.ops.remove(key);
                self.answer(req, Answered::IoError);
            }
            _ => {
                let req = read.req;
                self.ops.remove(key);
                self.answer(req, Answered::IoError);
                self.unlock(at, key);
            }
        }
    }

    fn fail_pending_write(&mut self, key: Key) {
        let Some(Op { at, phase, kind: Kind::Write(write), .. }) = self.ops.get(key) else {
            return;
        };
        let (at, phase, entered) = (*at, *phase, write.entered);
        if phase == Phase::Running {
            self.answer_write(key, Answered::IoError);
            self.mark_dirty(at);
            self.settle_write(key);
            return;
        }
        if entered {
            self.dirty.leave(at, false, self.now);
        }
        self.fail_write(key);
        if phase != Phase::Gated {
            self.unlock(at, key);
        }
    }

    /// The data device refused a write or a flush. A primary whose peer is a member hands over; a
    /// secondary says so; a lone primary passes the error up and goes on.
    pub(super) fn fail_disk(&mut self, error: DiskError) {
        self.note(Note::DiskFailed { errno: error.errno });
        if self.disk_failed || (self.serves() && !self.peer_is_member()) {
            return;
        }
        self.disk_failed = true;
        self.disk = DiskState::Failed;
        if self.mark.take().is_some() {
            self.out.push_back(Action::KeepMark { mark: None });
        }
        self.store(Then::DistrustStored, |sb| {
            sb.disk = DiskState::Failed;
            sb.mark = None;
        });
    }

    /// The cluster partition refused: nothing that needs metadata can be promised any more.
    pub(super) fn fail_metadata(&mut self, error: DiskError) {
        if self.meta_failed {
            return;
        }
        self.meta_failed = true;
        self.note(Note::MetadataFailed { errno: error.errno });
        self.meta.forget_unstored_attempts();
        self.checkpoint = None;
        for pending in std::mem::take(&mut self.pending) {
            let cmd = match pending.then {
                Then::Learned { cmd, .. } => cmd,
                Then::Promoted { cmd, .. } | Then::Replied { cmd } => Some(cmd),
                _ => None,
            };
            if let Some(cmd) = cmd {
                self.reply(cmd, Err(Refusal::MetadataFailed));
            }
        }
        if let Some(leaving) = self.leaving.take() {
            self.reply(leaving.cmd, Err(Refusal::MetadataFailed));
            if self.role == Role::Demoting {
                self.fence();
            }
        }
        if self.role == Role::Promoting {
            self.promotion = None;
            self.role = Role::Secondary;
        }
        if self.serves() {
            if !self.peer_is_member() {
                self.fail_cold_writes();
                if !self.adopted() {
                    self.abort_client_flushes();
                }
                self.recheck = true;
            }
            return;
        }
        self.disk = DiskState::Failed;
        self.mark = None;
        self.out.push_back(Action::KeepMark { mark: None });
        self.say_bye(ByeReason::Failed);
    }

    /// Writes that wait for intent that will never be durable.
    fn fail_cold_writes(&mut self) {
        self.intent_waits.clear();
        self.table_waits.clear();
        let cold = self.ops.keys_where(|op| {
            matches!(op.kind, Kind::Write(_))
                && matches!(op.phase, Phase::Intent | Phase::TableFull)
        });
        for key in cold {
            self.fail_pending_write(key);
        }
    }
}
