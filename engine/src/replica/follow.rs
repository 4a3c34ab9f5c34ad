//! The peer's side of replication: carries out what the driver sends and reports (R18).
//! Always: a report follows the disk (in `received`: the memory); a flush covers everything that
//! was received before it; nothing is carried out while this node serves or prepares to.

use super::Replica;
use super::action::{Action, Note};
use super::bits::BitsOut;
use super::event::{BufId, DiskError};
use super::generation::enter_generation;
use super::ids::Waiter;
use super::mutant::Mutant;
use super::settings::AckMode;
use super::slab::{Key, Slab};
use super::state::{Kind, Op, Stage, Then};
use crate::limits::{PEER_OPS_MAX, PEER_READS_MAX};
use crate::units::{Digest, DiskState, Extent, Generation, InSyncMark, Role, Session};
use crate::wire::message::{ByeReason, Message, Status, SyncKind};
use std::collections::VecDeque;

/// Work for the peer.
pub(super) struct Follow {
    ops: Slab<FollowOp>,
    next_seq: u64,
    flushes: Vec<PeerFlush>,
    /// Reads and digests that wait for a buffer.
    reads: VecDeque<(u64, Extent, bool)>,
    /// Dirty bits that this node, as a resync target, has still to send.
    pub bits: Option<BitsOut>,
}

impl Default for Follow {
    fn default() -> Follow {
        Follow {
            ops: Slab::with_capacity(PEER_OPS_MAX),
            next_seq: 0,
            flushes: Vec::new(),
            reads: VecDeque::with_capacity(PEER_READS_MAX),
            bits: None,
        }
    }
}

impl Follow {
    /// Order of what the driver asked for.
    fn next_seq(&mut self) -> u64 {
        self.next_seq += 1;
        self.next_seq
    }

    pub fn is_empty(&self) -> bool {
        self.ops.len() == 0 && self.flushes.is_empty()
    }
}

struct FollowOp {
    session: Session,
    token: u64,
    at: Extent,
    seq: u64,
    what: FollowWhat,
}

#[derive(Clone, Copy)]
enum FollowWhat {
    Write { buf: Option<BufId>, punch: bool, fua: bool, reported: bool, started: bool },
    Read { buf: u32 },
    Digest { buf: u32 },
}

/// A flush that the driver asked for: waits for the writes before it, then for the disk.
struct PeerFlush {
    session: Session,
    token: u64,
    waits: usize,
    seq: u64,
    running: bool,
}

impl Replica {
    /// Whether this node carries out data of the peer.
    fn obeys(&self) -> bool {
        self.role == Role::Secondary && self.stage == Stage::Following
    }

    pub(super) fn on_peer_write(&mut self, token: u64, at: Extent, fua: bool, buf: Option<BufId>) {
        let Some(buf) = buf else {
            self.say_bye(ByeReason::Protocol);
            return;
        };
        self.follow_write(token, at, (false, fua), Some(buf));
    }

    pub(super) fn on_peer_zero(&mut self, token: u64, at: Extent, punch: bool, fua: bool) {
        self.follow_write(token, at, (punch, fua), None);
    }

    fn follow_write(
        &mut self,
        token: u64,
        at: Extent,
        (punch, fua): (bool, bool),
        buf: Option<BufId>,
    ) {
        let Some(session) = self.link.as_ref().map(|link| link.session) else {
            self.refuse_frame(buf);
            return;
        };
        let inside = at.end() <= self.meta.get().size;
        if !self.obeys() || !inside || self.follow.ops.len() >= PEER_OPS_MAX {
            self.refuse_frame(buf);
            self.say_bye(ByeReason::Protocol);
            return;
        }
        if self.disk_failed {
            self.refuse_frame(buf);
            self.send(Message::Ack { token, status: Status::IoError });
            return;
        }
        let reported = self.set.ack == AckMode::Received && !fua;
        let seq = self.follow.next_seq();
        let what = FollowWhat::Write { buf, punch, fua, reported, started: false };
        let key = self.follow.ops.insert(FollowOp { session, token, at, seq, what });
        if reported {
            self.send(Message::Ack { token, status: Status::Ok });
        }
        self.start_follow_write(key);
    }

    /// Starts a write, unless an earlier one to the same blocks is still at the disk: in `received`
    /// the driver may send the next one as soon as the first was reported (R19).
    fn start_follow_write(&mut self, key: Key) {
        let Some(op) = self.follow.ops.get(key) else { return };
        let (at, seq) = (op.at, op.seq);
        let blocked = self.follow.ops.iter().any(|(_, other)| {
            matches!(other.what, FollowWhat::Write { .. })
                && other.seq < seq
                && other.at.overlaps(at)
        });
        let Some(op) = self.follow.ops.get_mut(key) else { return };
        let FollowWhat::Write { buf, punch, fua, started, .. } = &mut op.what else { return };
        if blocked || *started {
            return;
        }
        *started = true;
        let (op, fua) = (Waiter::Follow(key).id(), *fua);
        self.out.push_back(match *buf {
            Some(buf) => Action::DiskWrite { op, at, buf, fua },
            None => Action::DiskZero { op, at, punch: *punch, fua },
        });
    }

    /// A write of the peer has ended: those that waited for its range may start.
    fn start_follow_waiting(&mut self, at: Extent) {
        let waits = self.follow.ops.keys_where(|op| {
            matches!(op.what, FollowWhat::Write { started: false, .. }) && op.at.overlaps(at)
        });
        for key in waits {
            self.start_follow_write(key);
        }
    }

    pub(super) fn on_follow_disk(&mut self, key: Key, result: Result<(), DiskError>) {
        let Some(op) = self.follow.ops.get(key) else {
            panic!("a disk operation for the peer ended twice");
        };
        let (session, token, at, what) = (op.session, op.token, op.at, op.what);
        match what {
            FollowWhat::Write { buf, reported, .. } => {
                self.follow_done(key);
                self.start_follow_waiting(at);
                if let Some(buf) = buf {
                    self.free(buf);
                }
                let status = self.status_of(result);
                if self.is_live(session) && !reported {
                    self.send(Message::Ack { token, status });
                } else if reported && status == Status::IoError {
                    self.say_bye(ByeReason::Failed);
                }
            }
            FollowWhat::Digest { buf } if result.is_ok() && self.is_live(session) => {
                let (op, buf) = (Waiter::Follow(key).id(), BufId::internal(buf));
                self.out.push_back(Action::Digest { op, at, buf, session });
            }
            FollowWhat::Digest { buf } => {
                self.follow_done(key);
                self.bufs.push(buf);
                if self.is_live(session) {
                    let status = Status::IoError;
                    self.send(Message::Digests { token, status, digests: Box::default() });
                }
            }
            FollowWhat::Read { buf } => {
                self.follow_done(key);
                if self.is_live(session) {
                    let ok = result.is_ok();
                    let status = if ok { Status::Ok } else { Status::IoError };
                    let payload = ok.then_some(BufId::internal(buf));
                    self.send_payload(Message::ReadDone { token, status, at }, payload, 0);
                }
                self.bufs.push(buf);
            }
        }
        self.greet_when_reaped();
    }

    /// A failed write is a failed disk (§1.3: no diskless mode).
    fn status_of(&mut self, result: Result<(), DiskError>) -> Status {
        match result {
            Ok(()) => Status::Ok,
            Err(error) => {
                self.fail_disk(error);
                Status::IoError
            }
        }
    }

    pub(super) fn on_follow_digests(&mut self, key: Key, digests: Box<[Digest]>) {
        let Some(op) = self.follow.ops.get(key) else { return };
        let (session, token) = (op.session, op.token);
        let FollowWhat::Digest { buf } = op.what else { return };
        self.follow_done(key);
        self.bufs.push(buf);
        if self.is_live(session) {
            self.send(Message::Digests { token, status: Status::Ok, digests });
        }
        self.greet_when_reaped();
    }

    fn follow_done(&mut self, key: Key) {
        let Some(op) = self.follow.ops.remove(key) else { return };
        if matches!(op.what, FollowWhat::Write { .. }) {
            for flush in &mut self.follow.flushes {
                if op.seq < flush.seq {
                    flush.waits -= 1;
                }
            }
        }
    }

    /// The driver wants what it has sent so far to be stable.
    pub(super) fn on_peer_flush(&mut self, token: u64) {
        let Some(session) = self.link.as_ref().map(|link| link.session) else { return };
        if !self.obeys() || !self.follow.flushes.is_empty() {
            self.say_bye(ByeReason::Protocol);
            return;
        }
        let is_write = |op: &FollowOp| matches!(op.what, FollowWhat::Write { .. });
        let waits = self.follow.ops.iter().filter(|(_, op)| is_write(op)).count();
        let seq = self.follow.next_seq();
        self.follow.flushes.push(PeerFlush { session, token, waits, seq, running: false });
    }

    /// Starts the flush whose writes have ended, and reads that have a buffer now.
    pub(super) fn pump_follow(&mut self) {
        let ready = self.follow.flushes.first().is_some_and(|f| f.waits == 0 && !f.running);
        if ready {
            self.follow.flushes[0].running = true;
            let op = Waiter::FollowFlush.id();
            self.out.push_back(Action::DiskFlush { op });
        }
        while !self.bufs.is_empty() {
            // In `received` a reported write may still be at the disk: it comes first (R43).
            let writing = |at: &Extent| {
                self.follow.ops.iter().any(|(_, op)| {
                    matches!(op.what, FollowWhat::Write { .. }) && op.at.overlaps(*at)
                })
            };
            let free = self.follow.reads.iter().position(|(_, at, _)| !writing(at));
            let Some((token, at, digest)) = free.and_then(|free| self.follow.reads.remove(free))
            else {
                break;
            };
            self.start_peer_read(token, at, digest);
        }
    }

    pub(super) fn on_follow_flushed(&mut self, result: Result<(), DiskError>) {
        let flush = self.follow.flushes.remove(0);
        let status = self.status_of(result);
        if self.is_live(flush.session) {
            self.send(Message::FlushDone { token: flush.token, status });
        }
        self.greet_when_reaped();
    }

    pub(super) fn on_peer_read_request(&mut self, token: u64, at: Extent, digest: bool) {
        let inside = at.end() <= self.meta.get().size;
        if !self.obeys() || !inside || self.follow.reads.len() >= PEER_READS_MAX {
            self.say_bye(ByeReason::Protocol);
            return;
        }
        self.follow.reads.push_back((token, at, digest));
    }

    fn start_peer_read(&mut self, token: u64, at: Extent, digest: bool) {
        let Some(session) = self.link.as_ref().map(|link| link.session) else { return };
        let Some(buf) = self.bufs.pop() else { return };
        let what = if digest { FollowWhat::Digest { buf } } else { FollowWhat::Read { buf } };
        let seq = self.follow.next_seq();
        let key = self.follow.ops.insert(FollowOp { session, token, at, seq, what });
        let (op, buf) = (Waiter::Follow(key).id(), BufId::internal(buf));
        self.out.push_back(Action::DiskRead { op, at, buf });
    }

    /// The session is gone: what is at the disk ends there, the rest is forgotten.
    pub(super) fn lose_follow_session(&mut self) {
        self.follow.flushes.retain(|flush| flush.running);
        self.follow.reads.clear();
        self.follow.bits = None;
    }

    // --- becoming a target, and becoming equal ---

    /// The driver starts a resync towards this node. R26: unless this copy is a member's, it is
    /// inconsistent from here on, durably, before the first byte.
    pub(super) fn on_sync_begin(&mut self, round: u64, kind: SyncKind, _generation: Generation) {
        let Some(session) = self.link.as_ref().map(|link| link.session) else { return };
        if !self.obeys() {
            self.say_bye(ByeReason::Protocol);
            return;
        }
        let then = Then::TargetReady { session, round, kind };
        if kind == SyncKind::Reconcile || Mutant::TargetStaysConsistent.on() {
            self.store(then, |_| {}); // R26
            return;
        }
        self.disk = DiskState::Inconsistent;
        self.mark = None;
        self.out.push_back(Action::KeepMark { mark: None });
        self.store(then, |sb| {
            sb.disk = DiskState::Inconsistent;
            sb.needs_full |= kind == SyncKind::Full;
            sb.mark = None;
        });
    }

    /// The driver says that this copy is equal and stable: it becomes worth a member's, and takes
    /// the mark (R42).
    pub(super) fn on_make_up_to_date(&mut self, round: u64, generation: Generation) {
        let Some(session) = self.link.as_ref().map(|link| link.session) else { return };
        if !self.obeys() || self.disk == DiskState::Failed {
            self.say_bye(ByeReason::Protocol);
            return;
        }
        let boot = self.set.boot;
        self.store(Then::UpToDate { session, round }, |sb| {
            sb.mark = Some(InSyncMark { generation, boot });
            enter_generation(sb, generation);
            sb.base = generation;
            sb.disk = DiskState::UpToDate;
            sb.needs_full = false;
            sb.diverged = false;
        });
    }

    pub(super) fn up_to_date_stored(&mut self, session: Session, round: u64) {
        if !self.is_live(session) || self.role != Role::Secondary {
            return;
        }
        self.disk = DiskState::UpToDate;
        let mark = InSyncMark { generation: self.meta.get().generation, boot: self.set.boot };
        self.mark = Some(mark);
        self.out.push_back(Action::KeepMark { mark: self.mark });
        self.out.push_back(Action::StatusChanged);
        let life = self.meta.get().life + 1;
        self.advance_life(life);
        self.send(Message::UpToDateDone { round });
    }

    /// Both copies are equal and the record says so: what this node remembered as different goes.
    pub(super) fn on_drop_bits(&mut self) {
        if self.obeys() {
            self.dirty.all_equal();
            if let Some(hello) = self.link.as_mut().and_then(|link| link.hello.as_mut()) {
                hello.dirty_blocks = 0;
            }
            self.out.push_back(Action::StatusChanged);
            self.start_full_checkpoint();
        }
    }

    /// A report of the peer.
    pub(super) fn on_ack(&mut self, key: Key, status: Status) {
        match self.ops.get(key) {
            Some(Op { kind: Kind::Write(_), .. }) => self.on_write_ack(key, status),
            Some(Op { kind: Kind::Piece(_), .. }) => self.on_piece_ack(key, status),
            _ => self.counters.frames_refused += 1,
        }
    }

    /// The peer's disk refused: it can't be counted on. The session goes, so that nothing of it
    /// arrives late, and a member that failed must be taken out of the record.
    pub(super) fn peer_disk_failed(&mut self) {
        if self.link.is_some() {
            self.note(Note::PeerDiskFailed);
            self.say_bye(ByeReason::Failed);
        }
    }
}
