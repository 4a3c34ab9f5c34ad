//! Client reads on the primary: gate, range, local disk; the peer when the local disk refuses.
//! Always: a read waits for every overlapping write in flight (R43), is admitted only while the
//! lease is valid (R13), and never sees a block that must be reconciled first (R41).

use super::Replica;
use super::action::{Action, Answered, Note};
use super::event::{BufId, DiskError, ReqId};
use super::ids::Waiter;
use super::mutant::Mutant;
use super::slab::Key;
use super::state::{Kind, Mend, Op, Phase, Piece, ReadOp, Repair, Stage};
use crate::limits::SYNC_OPS_MAX;
use crate::units::{BLOCK_BYTES, BlockIndex, Extent};
use crate::wire::message::{ByeReason, Message, Status};

impl Replica {
    pub(super) fn admit_read(&mut self, req: ReqId, at: Extent, buf: BufId) {
        let seq = self.next_seq();
        let kind = Kind::Read(ReadOp { req, buf, from_peer: false });
        let key = self.ops.insert(Op { at, phase: Phase::Gated, seq, since: self.now, kind });
        self.try_read(key);
    }

    fn read_may_start(&self, at: Extent) -> bool {
        if self.disk_failed {
            return false;
        }
        if !self.peer_required() {
            return true;
        }
        let leased = self.now < self.lease_until || Mutant::ReadWithoutLease.on(); // R13
        let equal = !self.dirty.bitmap.any(at.blocks()) || Mutant::ReadBeforeReconcile.on(); // R41
        leased && equal
    }

    pub(super) fn try_read(&mut self, key: Key) {
        let Some(Op { at, .. }) = self.ops.get(key) else { return };
        let at = *at;
        if !self.read_may_start(at) {
            self.set_phase(key, Phase::Gated);
            self.gated.push_back(key);
            self.want_first(at);
        } else if Mutant::ReadThroughWrite.on() || self.locks.acquire(at, false, key) {
            self.read_locked(key); // R43
        } else {
            self.set_phase(key, Phase::Locking);
        }
    }

    pub(super) fn read_locked(&mut self, key: Key) {
        let Some(Op { at, kind: Kind::Read(read), .. }) = self.ops.get(key) else { return };
        let (at, buf) = (*at, read.buf);
        if !self.read_may_start(at) {
            self.regate_read(key, at);
            return;
        }
        self.set_phase(key, Phase::Running);
        self.out.push_back(Action::DiskRead { op: Waiter::Op(key).id(), at, buf });
    }

    fn regate_read(&mut self, key: Key, at: Extent) {
        self.set_phase(key, Phase::Gated);
        self.gated.push_back(key);
        self.unlock_read(at, key);
    }

    fn unlock_read(&mut self, at: Extent, key: Key) {
        if !Mutant::ReadThroughWrite.on() {
            self.unlock(at, key);
        }
    }

    pub(super) fn on_read_done(&mut self, key: Key, result: Result<(), DiskError>) {
        let Some(Op { at, .. }) = self.ops.get(key) else { return };
        let at = *at;
        match result {
            _ if !self.serves() => self.finish_read(key, Answered::IoError),
            Ok(()) => self.finish_read(key, Answered::Ok),
            Err(_) if self.peer_has(at) => {
                if let Some(Op { kind: Kind::Read(read), .. }) = self.ops.get_mut(key) {
                    read.from_peer = true;
                }
                self.send(Message::Read { token: key.0, at });
            }
            // A member has it and is away: the read waits for its return, or for the decision.
            Err(_) if self.peer_is_member() && self.link.is_none() => self.regate_read(key, at),
            Err(error) => {
                self.note(Note::DiskFailed { errno: error.errno });
                self.finish_read(key, Answered::IoError);
            }
        }
    }

    /// Whether the peer's copy of the range is as good as ours should be.
    fn peer_has(&self, at: Extent) -> bool {
        let clean = !self.dirty.bitmap.any(at.blocks());
        clean && (self.stage.replicates() || self.stage == Stage::Syncing)
    }

    fn finish_read(&mut self, key: Key, result: Answered) {
        let Some(op) = self.ops.remove(key) else { return };
        let Kind::Read(read) = op.kind else { return };
        self.pace.answered(self.now.since(op.since), self.now);
        if result == Answered::Ok {
            self.counters.reads += 1;
            self.counters.read_bytes += u64::from(op.at.len);
        }
        self.answer(read.req, result);
        self.unlock_read(op.at, key);
    }

    /// The peer has read what we could not.
    pub(super) fn on_peer_read(&mut self, key: Key, status: Status, buf: Option<BufId>) {
        match self.ops.get(key).map(|op| (&op.kind, op.at)) {
            Some((Kind::Read(ReadOp { from_peer: true, buf: to, .. }), at)) => {
                let to = *to;
                match (status, buf) {
                    (Status::Ok, Some(from)) => {
                        self.out.push_back(Action::CopyBuf { from, to, len: at.len });
                        self.counters.reads_repaired += 1;
                        self.note(Note::ReadRepaired { at });
                        self.finish_read(key, Answered::Ok);
                        self.start_repair(at);
                    }
                    _ => self.finish_read(key, Answered::IoError),
                }
            }
            Some((Kind::Repair(_), _)) => {
                self.on_repair_data(key, status, buf);
                return;
            }
            Some((Kind::Piece(Piece { mend: Some(Mend::Asked), .. }), _)) => {
                self.on_piece_data(key, status, buf);
                return;
            }
            _ => {}
        }
        if let Some(buf) = buf {
            self.free(buf);
        }
    }

    /// Looks for what could not be read in a range, and rewrites it from the peer.
    fn start_repair(&mut self, at: Extent) {
        let repairs = self.ops.iter().filter(|(_, op)| matches!(op.kind, Kind::Repair(_))).count();
        if repairs < SYNC_OPS_MAX {
            self.repair_block(at.offset, at.end());
        }
    }

    /// The next block, under an exclusive range and with fresh data, so that no newer write is
    /// undone.
    fn repair_block(&mut self, first: u64, end: u64) {
        let at = Extent::of_blocks(BlockIndex(first / BLOCK_BYTES), 1);
        let seq = self.next_seq();
        let kind = Kind::Repair(Repair { step: Mend::Probing(None), end });
        let key = self.ops.insert(Op { at, phase: Phase::Locking, seq, since: self.now, kind });
        if self.locks.acquire(at, true, key) {
            self.repair_locked(key);
        }
    }

    pub(super) fn repair_locked(&mut self, key: Key) {
        self.set_phase(key, Phase::Running);
        match self.bufs.pop() {
            Some(buf) => {
                let Some(at) = self.set_repair(key, Mend::Probing(Some(buf))) else { return };
                let op = Waiter::Op(key).id();
                self.out.push_back(Action::DiskRead { op, at, buf: BufId::internal(buf) });
            }
            // Rewriting a block that can be read does no harm.
            None => self.ask_for_repair(key),
        }
    }

    fn set_repair(&mut self, key: Key, step: Mend) -> Option<Extent> {
        let Some(Op { at, kind: Kind::Repair(repair), .. }) = self.ops.get_mut(key) else {
            return None;
        };
        repair.step = step;
        Some(*at)
    }

    fn ask_for_repair(&mut self, key: Key) {
        let Some(at) = self.set_repair(key, Mend::Asked) else { return };
        if !self.peer_has(at) || !self.send(Message::Read { token: key.0, at }) {
            self.finish_repair(key, false);
        }
    }

    fn on_repair_data(&mut self, key: Key, status: Status, buf: Option<BufId>) {
        let Some(Op { kind: Kind::Repair(repair), .. }) = self.ops.get(key) else { return };
        if repair.step != Mend::Asked {
            self.refuse_frame(buf);
            self.say_bye(ByeReason::Protocol);
            return;
        }
        match (status, buf) {
            (Status::Ok, Some(buf)) => {
                let Some(at) = self.set_repair(key, Mend::Writing(buf)) else { return };
                let op = Waiter::Op(key).id();
                self.out.push_back(Action::DiskWrite { op, at, buf, fua: false });
            }
            _ => self.finish_repair(key, true),
        }
    }

    /// The disk has read a block, or written what the peer sent of it.
    pub(super) fn on_repair_disk(&mut self, key: Key, result: Result<(), DiskError>) {
        let Some(Op { kind: Kind::Repair(repair), .. }) = self.ops.get(key) else { return };
        match (repair.step, result) {
            (Mend::Probing(buf), result) => {
                self.bufs.extend(buf);
                match result {
                    Ok(()) => self.finish_repair(key, true),
                    Err(_) => self.ask_for_repair(key),
                }
            }
            (Mend::Writing(buf), result) => {
                self.free(buf);
                if let Err(error) = result {
                    self.note(Note::DiskFailed { errno: error.errno });
                }
                self.finish_repair(key, result.is_ok());
                self.greet_when_reaped();
            }
            (Mend::Asked, _) => panic!("a repair has nothing at the disk while the peer is asked"),
        }
    }

    /// A block is done with; the rest of the range is looked at while that makes sense.
    fn finish_repair(&mut self, key: Key, go_on: bool) {
        let Some(op) = self.ops.remove(key) else { return };
        let Kind::Repair(Repair { end, .. }) = op.kind else { return };
        self.unlock(op.at, key);
        if go_on && op.at.end() < end && self.serves() && self.leaving.is_none() {
            self.repair_block(op.at.end(), end);
        }
    }

    /// The session is gone: reads that waited for the peer try the local disk again, repairs that
    /// waited for it end.
    pub(super) fn lose_peer_reads(&mut self) {
        let waiting = self.ops.keys_where(|op| match &op.kind {
            Kind::Read(read) => read.from_peer,
            Kind::Repair(repair) => repair.step == Mend::Asked,
            _ => false,
        });
        for key in waiting {
            let Some(op) = self.ops.get_mut(key) else { continue };
            let at = op.at;
            match &mut op.kind {
                Kind::Read(read) => {
                    read.from_peer = false;
                    self.regate_read(key, at);
                }
                _ => self.finish_repair(key, false),
            }
        }
    }
}
