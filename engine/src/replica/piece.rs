//! One piece of a resync or verify: takes its range, reads, compares digests, sends what differs.
//! What can't be read here is taken from a peer that is proven to miss nothing, or stays dirty.
//! Always: no client write touches the range meanwhile; the buffer is given back when neither the
//! disk nor the hasher uses it.

use super::Replica;
use super::action::{Action, Note};
use super::event::{BufId, DiskError};
use super::ids::Waiter;
use super::slab::Key;
use super::state::{Kind, Mend, Op, Phase, Piece, Stage};
use crate::limits::PIECE_RUNS_MAX;
use crate::units::{BLOCK_BYTES, BlockIndex, Digest, DiskState, Extent, InSyncMark};
use crate::wire::message::{Message, Status};

impl Replica {
    pub(super) fn start_piece(&mut self, at: Extent, digests: bool, verify: bool) {
        let buf = self.bufs.pop().expect("the caller saw a free buffer");
        let piece = Piece {
            buf,
            verify,
            digests,
            mine: None,
            theirs: None,
            runs: Vec::new(),
            acks: 0,
            busy: false,
            mend: None,
            failed: false,
            lost: false,
        };
        let seq = self.next_seq();
        let key = self.ops.insert(Op {
            at,
            phase: Phase::Locking,
            seq,
            since: self.now,
            kind: Kind::Piece(piece),
        });
        if self.locks.acquire(at, true, key) {
            self.piece_locked(key);
        }
    }

    pub(super) fn piece_locked(&mut self, key: Key) {
        let Some(Op { at, phase, kind: Kind::Piece(piece), .. }) = self.ops.get_mut(key) else {
            return;
        };
        *phase = Phase::Running;
        let (at, buf, digests, verify) = (*at, piece.buf, piece.digests, piece.verify);
        if piece.failed || (!verify && !self.dirty.bitmap.any(at.blocks())) {
            self.finish_piece(key);
            return;
        }
        if let Some(Op { kind: Kind::Piece(piece), .. }) = self.ops.get_mut(key) {
            piece.busy = true;
        }
        if digests {
            self.send(Message::DigestRequest { token: key.0, at });
        }
        let op = Waiter::Op(key).id();
        self.out.push_back(Action::DiskRead { op, at, buf: BufId::internal(buf) });
    }

    /// The disk is done with a piece: with its read, or with what was written to mend it.
    pub(super) fn on_piece_disk(&mut self, key: Key, result: Result<(), DiskError>) {
        match self.ops.get(key).map(|op| &op.kind) {
            Some(Kind::Piece(Piece { mend: Some(_), .. })) => self.on_piece_mended(key, result),
            _ => self.on_piece_read(key, result),
        }
    }

    fn on_piece_read(&mut self, key: Key, result: Result<(), DiskError>) {
        let Some(link) = &self.link else {
            self.fail_piece(key);
            return;
        };
        let session = link.session;
        let Some(Op { at, kind: Kind::Piece(piece), .. }) = self.ops.get_mut(key) else { return };
        let (at, buf) = (*at, BufId::internal(piece.buf));
        let wanted = !(piece.verify || piece.failed || piece.lost);
        match result {
            Err(error) => return self.piece_unreadable(key, at, error, wanted),
            Ok(()) if piece.failed || piece.lost => return self.fail_piece(key),
            Ok(()) => {}
        }
        if piece.digests {
            self.out.push_back(Action::Digest { op: Waiter::Op(key).id(), at, buf, session });
            return;
        }
        piece.busy = false;
        piece.acks = 1;
        self.count_sent(at);
        self.send_payload(Message::SyncWrite { token: key.0, at }, Some(buf), 0);
    }

    /// What must be made equal can't be read here. The copy stays what it is, since all its other
    /// blocks may be the only ones that are left. A peer that misses nothing has the data: what
    /// this node has beyond that was never answered, nor shown to anybody (R41, R43).
    fn piece_unreadable(&mut self, key: Key, at: Extent, error: DiskError, wanted: bool) {
        self.note(Note::DiskFailed { errno: error.errno });
        let proven = self.stage == Stage::Reconciling && self.peer_is_proven();
        let asked = wanted && proven && self.send(Message::Read { token: key.0, at });
        if !asked {
            return self.fail_piece(key);
        }
        if let Some(Op { kind: Kind::Piece(piece), .. }) = self.ops.get_mut(key) {
            piece.busy = false;
            piece.mend = Some(Mend::Asked);
        }
    }

    /// Whether the peer holds every acknowledged write of this generation (R42).
    fn peer_is_proven(&self) -> bool {
        let generation = self.meta.get().generation;
        let Some(hello) = self.link.as_ref().and_then(|link| link.hello.as_ref()) else {
            return false;
        };
        let sound = matches!(hello.disk, DiskState::UpToDate | DiskState::Consistent);
        let marked = hello.mark == Some(InSyncMark { generation, boot: hello.boot });
        sound && marked && hello.generation == generation && self.peer_is_member()
    }

    /// The peer has read what this disk could not: it is written here, stable before it counts.
    pub(super) fn on_piece_data(&mut self, key: Key, status: Status, buf: Option<BufId>) {
        let Some(Op { at, kind: Kind::Piece(piece), .. }) = self.ops.get_mut(key) else { return };
        self.acked_at = self.now;
        let (at, wanted) = (*at, !(piece.failed || piece.lost));
        match (status, buf) {
            (Status::Ok, Some(buf)) if wanted => {
                piece.busy = true;
                piece.mend = Some(Mend::Writing(buf));
                let op = Waiter::Op(key).id();
                self.out.push_back(Action::DiskWrite { op, at, buf, fua: true });
            }
            (_, buf) => {
                if let Some(buf) = buf {
                    self.free(buf);
                }
                self.fail_piece(key);
            }
        }
    }

    fn on_piece_mended(&mut self, key: Key, result: Result<(), DiskError>) {
        let Some(Op { at, kind: Kind::Piece(piece), .. }) = self.ops.get_mut(key) else { return };
        let (at, mend) = (*at, piece.mend.take());
        piece.busy = false;
        piece.failed |= result.is_err();
        if let Some(Mend::Writing(buf)) = mend {
            self.free(buf);
        }
        match result {
            Ok(()) => {
                self.counters.reads_repaired += 1;
                self.note(Note::ReadRepaired { at });
            }
            Err(error) => self.note(Note::DiskFailed { errno: error.errno }),
        }
        self.finish_piece(key);
        self.greet_when_reaped();
    }

    /// The disk or the hasher is done with the buffer and the piece is not wanted any more.
    fn fail_piece(&mut self, key: Key) {
        if let Some(Op { kind: Kind::Piece(piece), .. }) = self.ops.get_mut(key) {
            piece.busy = false;
            piece.failed = true;
        }
        self.finish_piece(key);
    }

    pub(super) fn on_piece_digests(&mut self, key: Key, digests: Box<[Digest]>) {
        let Some(Op { kind: Kind::Piece(piece), .. }) = self.ops.get_mut(key) else { return };
        piece.busy = false;
        piece.mine = Some(digests);
        if piece.failed {
            self.finish_piece(key);
        } else {
            self.compare_piece(key);
        }
    }

    pub(super) fn on_peer_digests(&mut self, key: Key, status: Status, digests: Box<[Digest]>) {
        let Some(Op { at, kind: Kind::Piece(piece), .. }) = self.ops.get_mut(key) else { return };
        let blocks = u64::from(at.len) / BLOCK_BYTES;
        if !piece.digests || piece.theirs.is_some() {
            return;
        }
        self.acked_at = self.now; // Where nothing differs, no write is ever reported.
        // A target that can't read a block gets it whole: no digests means all differ.
        let usable = status == Status::Ok && digests.len() as u64 == blocks;
        if piece.verify && !usable {
            // Nothing says that it differs.
            piece.failed = true;
            let (at, busy) = (*at, piece.busy);
            self.verify_unreadable(at);
            if !busy {
                self.finish_piece(key);
            }
            return;
        }
        piece.theirs = Some(if usable { digests } else { Box::default() });
        self.compare_piece(key);
    }

    fn compare_piece(&mut self, key: Key) {
        let Some(Op { at, kind: Kind::Piece(piece), .. }) = self.ops.get_mut(key) else { return };
        let (Some(mine), Some(theirs)) = (&piece.mine, &piece.theirs) else { return };
        let (at, verify) = (*at, piece.verify);
        let first = at.offset / BLOCK_BYTES;
        let runs = differing_runs(mine, theirs, first);
        if verify {
            self.verify_compared(at, &runs);
            self.finish_piece(key);
            return;
        }
        if piece.lost {
            self.finish_piece(key);
            return;
        }
        if let Some(sync) = &mut self.sync {
            sync.sampling.found(runs.len() == 1 && runs.first() == Some(&at));
        }
        piece.runs = runs;
        if !self.send_runs(key) {
            self.finish_piece(key);
        }
    }

    /// Sends runs while few are on their way, so that what the peer holds for us is bounded;
    /// `false` when nothing is on its way any more.
    fn send_runs(&mut self, key: Key) -> bool {
        loop {
            let Some(Op { at, kind: Kind::Piece(piece), .. }) = self.ops.get_mut(key) else {
                return true;
            };
            if piece.acks as usize >= PIECE_RUNS_MAX {
                return true;
            }
            let Some(run) = piece.runs.pop() else { return piece.acks > 0 };
            piece.acks += 1;
            let (at, buf) = (*at, BufId::internal(piece.buf));
            self.count_sent(run);
            let skip = u32::try_from(run.offset - at.offset).expect("inside a piece");
            let message = Message::SyncWrite { token: key.0, at: run };
            self.send_payload(message, Some(buf), skip);
        }
    }

    fn count_sent(&mut self, at: Extent) {
        if self.sync.is_some() {
            self.sync_sent += u64::from(at.len);
        }
    }

    pub(super) fn on_piece_ack(&mut self, key: Key, status: Status) {
        self.acked_at = self.now;
        let Some(Op { kind: Kind::Piece(piece), .. }) = self.ops.get_mut(key) else { return };
        if piece.acks == 0 {
            return;
        }
        piece.acks -= 1;
        piece.failed |= status != Status::Ok;
        if piece.failed {
            piece.runs.clear();
        }
        if status != Status::Ok {
            self.peer_disk_failed();
        }
        if !self.send_runs(key) {
            self.finish_piece(key);
        }
    }

    /// The piece has ended: its range, its buffer and its place in the window are free.
    pub(super) fn finish_piece(&mut self, key: Key) {
        let Some(op) = self.ops.remove(key) else { return };
        let Kind::Piece(piece) = op.kind else { return };
        assert!(!piece.busy, "a piece ended while its buffer was in use");
        self.bufs.push(piece.buf);
        if piece.lost {
            // What started it ended with the session.
        } else if piece.verify {
            self.verify_piece_done();
        } else {
            self.sync_piece_done(op.at, !piece.failed);
        }
        self.unlock(op.at, key);
    }

    /// Pieces of an earlier resync end on their own and count for nothing.
    pub(super) fn disown_pieces(&mut self) {
        for key in self.ops.keys_where(|op| matches!(op.kind, Kind::Piece(_))) {
            if let Some(Op { kind: Kind::Piece(piece), .. }) = self.ops.get_mut(key) {
                piece.lost = true;
            }
        }
    }

    /// Whether something that a piece has sent in this session is not reported.
    pub(super) fn pieces_on_the_way(&self) -> bool {
        self.ops.iter().any(|(_, op)| matches!(&op.kind, Kind::Piece(piece) if piece.acks > 0))
    }

    /// The session is gone: pieces end as soon as the disk and the hasher let go of them.
    pub(super) fn lose_pieces(&mut self) {
        for key in self.ops.keys_where(|op| matches!(op.kind, Kind::Piece(_))) {
            let Some(Op { phase, kind: Kind::Piece(piece), .. }) = self.ops.get_mut(key) else {
                continue;
            };
            piece.failed = true;
            piece.lost = true;
            if !piece.busy && *phase == Phase::Running {
                self.finish_piece(key);
            }
        }
    }
}

/// Runs of blocks whose digests differ, last one first. Missing digests of the peer count as
/// different.
fn differing_runs(mine: &[Digest], theirs: &[Digest], first: u64) -> Vec<Extent> {
    let mut runs: Vec<Extent> = Vec::new();
    for (index, digest) in mine.iter().enumerate() {
        if theirs.get(index) == Some(digest) {
            continue;
        }
        let one = Extent::of_blocks(BlockIndex(first + index as u64), 1);
        match runs.last_mut() {
            Some(run) if run.end() == one.offset => run.len += one.len,
            _ => runs.push(one),
        }
    }
    runs.reverse();
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_join_neighbours_and_take_missing_digests_as_different() {
        let a = Digest([1; 16]);
        let b = Digest([2; 16]);
        let mine = [a, b, b, a, b];
        let theirs = [a, a, a, a];
        let runs = differing_runs(&mine, &theirs, 10);
        assert_eq!(
            runs,
            [Extent::of_blocks(BlockIndex(14), 1), Extent::of_blocks(BlockIndex(11), 2)]
        );
    }
}
