//! The states of a replica, one enum per question, one comment per state: what it waits for and
//! how it leaves. The tables of who may do what in which state stand beside the enums.

use super::event::{BufId, CmdId, ReqId};
use super::meta::Ticket;
use super::sampling::Sampling;
use crate::units::{BootId, Digest, Extent, Session, StartId, Tick, VolumeRecord};
use crate::wire::message::{Hello, SyncKind};

/// How far this node is with replicating to, or following, the peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// No session. Leaves on LinkUp.
    Away,
    /// Session up; waits for both hellos to agree on one record. Leaves with a verdict.
    Greeting,
    /// The peer is a member that can't be counted on (`shrink`), or membership is being decided.
    /// Leaves when a newer record is learned.
    Blocked { shrink: bool },
    /// Connected, and nothing differs that could be made equal now. Leaves on a hello.
    Idle,
    /// This node obeys the peer, which is primary or has the copy that wins. Leaves on a hello.
    Following,
    /// The peer's copy is equal; waits for it to hold the in-sync mark. Leaves to Mirrored.
    Marking,
    /// SyncBegin was sent; waits for the peer's dirty bits. Leaves on SyncReady.
    Preparing,
    /// The peer is not a member; dirty blocks travel. Leaves to Growing when none is left.
    Syncing,
    /// R27, see `Grow`. Leaves to Mirrored with the new record, or to Away.
    Growing(Grow),
    /// The peer is a member; intent regions are made equal. Leaves to Mirrored.
    Reconciling,
    /// Every write goes to both nodes.
    Mirrored,
}

impl Stage {
    /// Whether writes go to the peer and its reports count.
    pub fn replicates(self) -> bool {
        matches!(self, Stage::Growing(_) | Stage::Reconciling | Stage::Mirrored)
    }

    /// Whether pieces of a resync or verify may travel.
    pub fn syncs(self) -> bool {
        matches!(self, Stage::Syncing | Stage::Reconciling | Stage::Mirrored)
    }

    /// Whether a flush can reach the peer and means something there.
    pub fn flushes(self) -> bool {
        self.replicates() || self == Stage::Syncing
    }
}

/// The steps of R27, in their only order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Grow {
    /// (1) done, (2): waits for writes admitted before to be reported by both.
    Draining,
    /// (3): waits for the flush of both, and for the generation to be adopted here.
    Flushing,
    /// (4): waits for the peer to persist UpToDate and the generation.
    Persisting,
    /// (5): waits for the record that names both.
    Recording,
}

/// The link as the replica sees it.
pub(super) struct Link {
    pub session: Session,
    pub peer_life: (BootId, StartId),
    pub heard: Tick,
    /// Our hello was sent (old disk writes had ended before).
    pub hello_sent: bool,
    pub hello_serial: u64,
    pub hello: Option<Box<Hello>>,
    pub next_ping: Tick,
}

/// One leg of a write on the local disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Local {
    Waiting,
    Done,
    Failed,
}

/// One leg of a write on the peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Remote {
    /// Never sent: its blocks are dirty.
    Local,
    /// Sent in the live session; waits for the report.
    Sent,
    /// The session it was sent in is dead and the peer is a member: sent again in the next
    /// session, or dirty once the record is shrunk.
    Lost,
    /// Reported.
    Reported,
    /// The peer will never report it: its blocks are dirty.
    Missed,
}

/// What an operation is.
#[derive(Debug)]
pub(super) enum Kind {
    Read(ReadOp),
    Write(WriteOp),
    Piece(Piece),
    Repair(Repair),
}

/// An operation that holds, or waits for, a byte range.
#[derive(Debug)]
pub(super) struct Op {
    pub at: Extent,
    pub phase: Phase,
    /// Order of admission.
    pub seq: u64,
    /// When it was admitted.
    pub since: Tick,
    pub kind: Kind,
}

/// How far an operation is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// May not start now (held, no lease, not reconciled); holds no range.
    Gated,
    /// Queued for its range.
    Locking,
    /// Has its range; waits for durable intent.
    Intent,
    /// Has its range; waits for room in the intent table.
    TableFull,
    /// At the disk, on the link, or both.
    Running,
}

/// A client read.
#[derive(Debug)]
pub(super) struct ReadOp {
    pub req: ReqId,
    pub buf: BufId,
    /// The local disk refused; the peer was asked in the live session.
    pub from_peer: bool,
}

/// A client write or zero.
#[derive(Debug)]
pub(super) struct WriteOp {
    /// `None` once answered.
    pub req: Option<ReqId>,
    /// `None` for zeroes.
    pub buf: Option<BufId>,
    pub punch: bool,
    pub fua: bool,
    pub local: Local,
    pub remote: Remote,
    /// Counted into its regions.
    pub entered: bool,
}

/// A piece of resync or verify.
#[derive(Debug)]
pub(super) struct Piece {
    pub buf: u32,
    pub verify: bool,
    pub digests: bool,
    pub mine: Option<Box<[Digest]>>,
    pub theirs: Option<Box<[Digest]>>,
    /// Runs that differ and are still to be sent, last one first.
    pub runs: Vec<Extent>,
    /// Acks still to come of the runs that were sent.
    pub acks: u32,
    /// A disk read, a digest or the write of a mend is under way.
    pub busy: bool,
    /// The local disk refused it and the peer holds every acknowledged write: its data is taken.
    pub mend: Option<Mend>,
    pub failed: bool,
    /// Its session is over: the resync or verify that started it does not count it any more.
    pub lost: bool,
}

/// Looks for what the local disk can't read, block by block, and rewrites it from the peer: one
/// block is held at a time, so that a client waits for no other.
#[derive(Debug)]
pub(super) struct Repair {
    pub step: Mend,
    /// Where the range ends that a client could not read here.
    pub end: u64,
}

/// How far the mending of what the local disk can't read is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mend {
    /// Waits for its range, or reads it here, into this buffer, to see whether it needs mending.
    Probing(Option<u32>),
    /// The peer was asked in the live session.
    Asked,
    /// What the peer sent is being written.
    Writing(BufId),
}

/// The resync that this node drives as the source.
pub(super) struct Sync {
    pub kind: SyncKind,
    pub paused: bool,
    /// Word behind the last one that the target has told as dirty.
    pub bits_next: u64,
    /// Blocks below it have been started in this pass.
    pub cursor: u64,
    pub inflight: u32,
    pub total: u64,
    pub done: u64,
    /// Equal on both disks, not yet flushed on the target: dirty until then (R16). The flag says
    /// that the running flush covers the extent.
    pub unflushed: Vec<(Extent, bool)>,
    pub unflushed_bytes: u64,
    pub flush_running: bool,
    pub sampling: Sampling,
    /// Writes to dirty blocks go to both nodes (R26 i).
    pub write_both: bool,
    pub progress_at: Tick,
    pub remaining_at: u64,
    /// Blocks done when the pass began: a pass that got nowhere is not repeated at once.
    pub pass_done: u64,
    /// The pass looks for blocks that can be read: the next piece has so many at most. It starts
    /// with one, doubles with each that went well, and begins anew after one that did not.
    pub careful: Option<u64>,
    /// Pieces start from then on: after a pass that got nowhere, and under a bounded rate.
    pub retry_at: Tick,
}

impl Sync {
    /// A resync that has not started. Members take every write on both sides from the beginning.
    pub fn new(kind: SyncKind, total: u64, now: Tick) -> Sync {
        Sync {
            kind,
            paused: false,
            bits_next: 0,
            cursor: 0,
            inflight: 0,
            total,
            done: 0,
            unflushed: Vec::new(),
            unflushed_bytes: 0,
            flush_running: false,
            sampling: Sampling::default(),
            write_both: kind == SyncKind::Reconcile,
            progress_at: now,
            remaining_at: u64::MAX,
            pass_done: 0,
            careful: None,
            retry_at: now,
        }
    }
}

/// A verify under way.
pub(super) struct Verify {
    pub cursor: u64,
    pub inflight: u32,
    pub compared: u64,
    pub mismatches: u64,
}

/// What to do when a superblock change is durable.
#[derive(Clone, Debug)]
pub(super) enum Then {
    /// A record was stored: act on it; reply if a command brought it.
    Learned { record: VolumeRecord, cmd: Option<CmdId> },
    /// The record of a promotion was stored.
    Promoted { record: VolumeRecord, cmd: CmdId },
    /// The generation of the record was adopted.
    Adopted,
    /// An attempt was stored.
    Replied { cmd: CmdId },
    /// Target: Inconsistent was stored (or nothing had to be): send bits, then ready.
    TargetReady { session: Session, round: u64, kind: SyncKind },
    /// Target: UpToDate and generation were stored.
    UpToDate { session: Session, round: u64 },
    /// The life counter is in tail and superblock: tell the peer.
    LifeStored { counter: u64 },
    /// Orderly demotion is stored.
    DemoteStored,
    /// Orderly stop is stored.
    StopStored,
    /// An operator gave this copy up.
    Discarded { cmd: CmdId },
    /// The copy was found to be another's or older (R21) in a session.
    DistrustStored,
    /// As above, for a device that is bound anew: both tail slots follow, above this life.
    SwapStored { life: u64 },
}

/// A superblock change that somebody waits for.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub ticket: Ticket,
    pub then: Then,
}
