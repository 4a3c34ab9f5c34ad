//! The life of a client write on the primary (DESIGN §4, R15, R19).
//! Always: range taken → intent durable → both legs → answer. A write keeps its range until both
//! legs have ended or the peer's is known never to count; until then nothing that overlaps starts.

use super::Replica;
use super::action::{Action, Answered, Note};
use super::dirty::Entered;
use super::event::{BufId, DiskError, ReqId};
use super::ids::Waiter;
use super::mutant::Mutant;
use super::slab::Key;
use super::state::{Kind, Local, Mend, Op, Phase, Remote, Stage, WriteOp};
use crate::units::{BLOCK_BYTES, Extent, Need, Role};
use crate::wire::message::{Message, Status};

impl Replica {
    pub(super) fn admit_write(
        &mut self,
        req: ReqId,
        at: Extent,
        buf: Option<BufId>,
        punch: bool,
        fua: bool,
    ) {
        let write = WriteOp {
            req: Some(req),
            buf,
            punch,
            fua,
            local: Local::Waiting,
            remote: Remote::Local,
            entered: false,
        };
        let seq = self.next_seq();
        let op = Op { at, phase: Phase::Gated, seq, since: self.now, kind: Kind::Write(write) };
        let key = self.ops.insert(op);
        self.try_write(key);
    }

    /// Whether a write may start now. A hold keeps it from the disk too, so that the decision finds
    /// nothing that is on one node only.
    fn write_may_start(&self, fua: bool) -> bool {
        if self.disk_failed {
            return false;
        }
        // FUA means as much as a flush: nothing until intent regions are equal (R41).
        let reconciled = !fua || self.dirty.bitmap.count() == 0;
        !self.peer_required() || (self.stage.replicates() && reconciled)
    }

    /// Whether an older write to the same bytes waits at the gate: it goes first, whoever sent it
    /// (R20).
    fn follows_gated(&self, at: Extent, seq: u64) -> bool {
        self.gated
            .iter()
            .filter_map(|key| self.ops.get(*key))
            .any(|op| matches!(op.kind, Kind::Write(_)) && op.seq < seq && op.at.overlaps(at))
    }

    /// Moves a gated write on: gate, range, intent, disk and link.
    pub(super) fn try_write(&mut self, key: Key) {
        let Some(Op { at, seq, kind: Kind::Write(write), .. }) = self.ops.get(key) else { return };
        let (at, seq, fua) = (*at, *seq, write.fua);
        if self.meta_failed && !self.peer_required() {
            self.fail_write(key);
        } else if !self.write_may_start(fua) || self.follows_gated(at, seq) {
            self.set_phase(key, Phase::Gated);
            self.gated.push_back(key);
        } else if self.locks.acquire(at, true, key) {
            self.write_locked(key);
        } else {
            self.set_phase(key, Phase::Locking);
        }
    }

    pub(super) fn set_phase(&mut self, key: Key, phase: Phase) {
        if let Some(op) = self.ops.get_mut(key) {
            op.phase = phase;
        }
    }

    /// The write has its range. What the gate allowed when it queued may be over by now.
    pub(super) fn write_locked(&mut self, key: Key) {
        let Some(Op { at, kind: Kind::Write(write), .. }) = self.ops.get(key) else { return };
        let (at, fua) = (*at, write.fua);
        if !self.write_may_start(fua) {
            self.set_phase(key, Phase::Gated);
            self.gated.push_back(key);
            self.unlock(at, key);
            return;
        }
        match self.dirty.enter(at, self.now) {
            Entered::Full => {
                self.set_phase(key, Phase::TableFull);
                self.table_waits.push_back(key);
                self.want_room();
            }
            Entered::Cold => {
                self.counters.intent_misses += 1;
                self.entered(key);
                self.set_phase(key, Phase::Intent);
                self.intent_waits.push(key);
            }
            Entered::Hot => {
                self.entered(key);
                self.start_write(key);
            }
        }
    }

    fn entered(&mut self, key: Key) {
        if let Some(Op { kind: Kind::Write(write), .. }) = self.ops.get_mut(key) {
            write.entered = true;
        }
    }

    /// An intent transaction is durable: whoever waited for it goes on.
    pub(super) fn on_intent_durable(&mut self) {
        self.dirty.transaction_done();
        let waits = std::mem::take(&mut self.intent_waits);
        for key in waits {
            let Some(Op { at, .. }) = self.ops.get(key) else { continue };
            if self.dirty.is_ready(*at) {
                self.start_write(key);
            } else {
                self.intent_waits.push(key);
            }
        }
        self.retry_full_table();
    }

    /// Regions may have been retired: writes that found the table full try again.
    pub(super) fn retry_full_table(&mut self) {
        for _ in 0..self.table_waits.len() {
            let Some(key) = self.table_waits.pop_front() else { break };
            if self.ops.get(key).is_some() {
                self.write_locked(key);
            }
        }
    }

    /// Both legs start, in parallel. A hold that came while the intent was written is no matter:
    /// the peer's leg is then sent in the next session, or the blocks are dirty.
    fn start_write(&mut self, key: Key) {
        let Some(Op { at, .. }) = self.ops.get(key) else { return };
        let at = *at;
        let remote = self.remote_leg(at);
        if remote == Remote::Local {
            self.mark_dirty(at);
        }
        let Some(Op { phase, kind: Kind::Write(write), .. }) = self.ops.get_mut(key) else {
            return;
        };
        *phase = Phase::Running;
        write.remote = remote;
        let (buf, punch, fua) = (write.buf, write.punch, write.fua);
        let op = Waiter::Op(key).id();
        self.out.push_back(match buf {
            Some(buf) => Action::DiskWrite { op, at, buf, fua },
            None => Action::DiskZero { op, at, punch, fua },
        });
        if remote == Remote::Sent {
            self.send_write(key);
        }
    }

    fn remote_leg(&self, at: Extent) -> Remote {
        if self.stage.replicates() {
            return Remote::Sent;
        }
        if self.peer_required() {
            return Remote::Lost;
        }
        let clean = !self.dirty.bitmap.any(at.blocks());
        match &self.sync {
            Some(sync) if self.stage == Stage::Syncing && (clean || sync.write_both) => {
                Remote::Sent
            }
            _ => Remote::Local,
        }
    }

    fn send_write(&mut self, key: Key) {
        let Some(Op { at, kind: Kind::Write(write), .. }) = self.ops.get(key) else { return };
        let (at, fua, punch, buf) = (*at, write.fua, write.punch, write.buf);
        let message = match buf {
            Some(_) => Message::Write { token: key.0, at, fua },
            None => Message::Zero { token: key.0, at, punch, fua },
        };
        self.send_payload(message, buf, 0);
    }

    /// A new session counts: what an old one left unreported is sent again (R20: the peer has
    /// reaped every write of the old session before it greeted).
    pub(super) fn resend_lost(&mut self) {
        self.acked_at = self.now;
        for key in self.writes_with(Remote::Lost) {
            self.set_remote(key, Remote::Sent);
            self.send_write(key);
        }
    }

    /// The peer's reports never come: the blocks are dirty. Needs that no session is live in which
    /// these writes were sent, or their late arrival could overtake newer ones.
    pub(super) fn give_up_remote(&mut self, which: Remote) {
        for key in self.writes_with(which) {
            let Some(Op { at, .. }) = self.ops.get(key) else { continue };
            self.mark_dirty(*at);
            self.set_remote(key, Remote::Missed);
            self.settle_write(key);
        }
    }

    pub(super) fn writes_with(&self, remote: Remote) -> Vec<Key> {
        self.ops.keys_where(|op| {
            matches!(&op.kind, Kind::Write(write) if write.remote == remote)
                && op.phase == Phase::Running
        })
    }

    /// Reports of a life that is over prove nothing, also not for writes whose local leg is still
    /// at the disk (R42).
    pub(super) fn void_reports(&mut self) {
        self.give_up_remote(Remote::Reported);
    }

    /// Whether a write or repair of this node's own is at its disk: one of a role that is over
    /// must not land beside what the peer sends.
    pub(super) fn writes_at_disk(&self) -> bool {
        self.ops.iter().any(|(_, op)| match &op.kind {
            Kind::Write(write) => op.phase == Phase::Running && write.local == Local::Waiting,
            Kind::Repair(repair) => matches!(repair.step, Mend::Writing(_)),
            Kind::Piece(piece) => matches!(piece.mend, Some(Mend::Writing(_))),
            Kind::Read(_) => false,
        })
    }

    pub(super) fn set_remote(&mut self, key: Key, remote: Remote) {
        if let Some(Op { kind: Kind::Write(write), .. }) = self.ops.get_mut(key) {
            write.remote = remote;
        }
    }

    /// Blocks may differ from here on; a resync that thought them equal must come back to them.
    pub(super) fn mark_dirty(&mut self, at: Extent) {
        let newly = self.dirty.bitmap.set(at.blocks());
        let Some(sync) = &mut self.sync else { return };
        let before = sync.unflushed_bytes;
        let count = sync.unflushed.len();
        sync.unflushed.retain(|(extent, _)| !extent.overlaps(at));
        if sync.unflushed.len() != count {
            sync.unflushed_bytes =
                sync.unflushed.iter().map(|(extent, _)| u64::from(extent.len)).sum();
        }
        self.pace.dirtied(newly * BLOCK_BYTES + before - sync.unflushed_bytes);
    }

    /// The local leg of a write ended.
    pub(super) fn on_write_done(&mut self, key: Key, result: Result<(), DiskError>) {
        let member = self.peer_is_member();
        let Some(Op { kind: Kind::Write(write), .. }) = self.ops.get_mut(key) else { return };
        write.local = if result.is_ok() { Local::Done } else { Local::Failed };
        if let Err(error) = result {
            if member {
                self.fail_disk(error);
            } else {
                self.note(Note::DiskFailed { errno: error.errno });
            }
        }
        self.settle_write(key);
        self.greet_when_reaped();
    }

    /// The peer reported a write.
    pub(super) fn on_write_ack(&mut self, key: Key, status: Status) {
        let Some(Op { kind: Kind::Write(write), .. }) = self.ops.get_mut(key) else { return };
        if write.remote != Remote::Sent {
            return;
        }
        self.acked_at = self.now;
        match status {
            Status::Ok => {
                write.remote = Remote::Reported;
                self.settle_write(key);
            }
            Status::IoError => self.peer_disk_failed(),
        }
    }

    /// Answers when the rule allows it, and ends the write when both legs have ended.
    pub(super) fn settle_write(&mut self, key: Key) {
        let loose = Mutant::GrowWithoutTighten.on() && matches!(self.stage, Stage::Growing(_));
        let required = self.peer_required() && !loose; // R27
        let adopted = self.adopted() || Mutant::AckBeforeAdoption.on(); // R8
        let failing = self.disk_failed;
        let Some(Op { kind: Kind::Write(write), .. }) = self.ops.get(key) else { return };
        let mut result = None;
        match write.local {
            Local::Waiting => return,
            _ if write.req.is_none() => {}
            Local::Failed if !failing => result = Some(Answered::IoError),
            Local::Failed => {}
            Local::Done if failing => {}
            Local::Done if required => {
                let reported = write.remote == Remote::Reported || Mutant::AckBeforePeer.on();
                result = reported.then_some(Answered::Ok); // R15
            }
            Local::Done if adopted => result = Some(Answered::Ok),
            Local::Done if self.meta_failed => result = Some(Answered::IoError),
            Local::Done => self.adopt(),
        }
        if let Some(result) = result {
            self.answer_write(key, result);
        }
        self.finish_write(key);
    }

    pub(super) fn answer_write(&mut self, key: Key, result: Answered) {
        let Some(Op { at, since, kind: Kind::Write(write), .. }) = self.ops.get_mut(key) else {
            return;
        };
        let Some(req) = write.req.take() else { return };
        self.pace.answered(self.now.since(*since), self.now);
        if result == Answered::Ok {
            self.counters.writes += 1;
            self.counters.write_bytes += u64::from(at.len);
        }
        self.answer(req, result);
    }

    /// Gives range, region and buffer back once the client has its answer and no leg is open.
    fn finish_write(&mut self, key: Key) {
        let Some(Op { at, kind: Kind::Write(write), .. }) = self.ops.get(key) else { return };
        let open = write.req.is_some()
            || write.local == Local::Waiting
            || matches!(write.remote, Remote::Sent | Remote::Lost);
        if open {
            return;
        }
        let (at, remote, local, buf) = (*at, write.remote, write.local, write.buf);
        let reported = remote == Remote::Reported;
        if reported && local == Local::Done && self.sync.is_some() && self.stage.syncs() {
            self.dirty.bitmap.clear(at.blocks());
            self.recheck = true;
        }
        if local == Local::Failed {
            // What is here is unknown and the peer may have the new value: they differ.
            self.mark_dirty(at);
        }
        self.dirty.leave(at, reported, self.now);
        self.ops.remove(key);
        if let Some(buf) = buf {
            self.free(buf);
        }
        self.unlock(at, key);
    }

    /// A write that never started ends with an error.
    pub(super) fn fail_write(&mut self, key: Key) {
        self.answer_write(key, Answered::IoError);
        let Some(Op { kind: Kind::Write(write), .. }) = self.ops.remove(key) else { return };
        if let Some(buf) = write.buf {
            self.free(buf);
        }
    }

    /// Gives a range back and starts whoever was waiting for it.
    pub(super) fn unlock(&mut self, at: Extent, key: Key) {
        let mut granted = std::mem::take(&mut self.granted);
        granted.clear();
        self.locks.release(at, key, &mut granted);
        // A start may unlock in turn: work on a list of our own.
        for key in granted.drain(..) {
            match self.ops.get(key).map(|op| &op.kind) {
                Some(Kind::Write(_)) => self.write_locked(key),
                Some(Kind::Read(_)) => self.read_locked(key),
                Some(Kind::Piece(_)) => self.piece_locked(key),
                Some(Kind::Repair(_)) => self.repair_locked(key),
                None => panic!("a range was granted to nobody"),
            }
        }
        self.granted = granted;
    }

    /// Gates may have opened: everyone who waits at one tries again, in order.
    pub(super) fn open_gates(&mut self) {
        for _ in 0..self.gated.len() {
            let Some(key) = self.gated.pop_front() else { break };
            match self.ops.get(key).map(|op| &op.kind) {
                Some(Kind::Write(_)) => self.try_write(key),
                Some(Kind::Read(_)) => self.try_read(key),
                _ => {}
            }
        }
        self.settle_all_writes();
    }

    /// Answers that a change of record, stage or generation has made possible.
    fn settle_all_writes(&mut self) {
        let running = self.ops.keys_where(|op| {
            op.phase == Phase::Running
                && matches!(&op.kind, Kind::Write(write) if write.req.is_some())
        });
        for key in running {
            self.settle_write(key);
        }
    }

    /// What the daemon should have decided.
    pub(super) fn need(&self) -> Option<Need> {
        let record = self.record?;
        if !self.serves() || record.primary != Some(self.node) {
            return None;
        }
        let peer_member = record.members.contains(self.peer);
        if peer_member && (self.disk_failed || self.meta_failed) {
            return Some(Need::HandOver);
        }
        let overdue = self.stage == Stage::Away && self.shrink_at.is_some_and(|at| at <= self.now);
        if peer_member && (overdue || self.stage == (Stage::Blocked { shrink: true })) {
            return Some(Need::Shrink);
        }
        // R13: a member that answers no pings, as an attempt of its own is not closed, gives no
        // lease: with it as a member nothing could be served.
        let leased = self.now < self.lease_until;
        let ready = self.stage == Stage::Growing(super::state::Grow::Recording);
        (ready && leased).then_some(Need::Grow)
    }

    /// Whether clients wait for a decision.
    pub(super) fn is_holding(&self) -> bool {
        self.serves()
            && self.peer_required()
            && (!self.stage.replicates() || self.disk_failed || self.meta_failed)
            && (self.role == Role::Demoting || self.ops.len() > 0 || !self.flushes.is_idle())
    }
}
