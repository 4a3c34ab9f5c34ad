//! What the replica is told. The shell translates completions, frames and commands into these.

use crate::units::{BootId, NodeId};
use crate::units::{
    Digest, Epoch, Extent, InSyncMark, OpenAttempt, Session, Span, StartId, VolumeRecord,
};
use crate::wire::message::Message;

/// A client request piece, named by the client lane. Comes back in `Action::Answer`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub struct ReqId(pub u64);

/// A payload buffer of the shell. `internal(n)` names the n-th of the `INTERNAL_BUFS` buffers that
/// the replica hands out itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct BufId(pub u32);

impl BufId {
    const INTERNAL: u32 = 1 << 31;

    /// The n-th buffer that belongs to the replica.
    pub const fn internal(n: u32) -> BufId {
        BufId(BufId::INTERNAL | n)
    }
    /// Which of the replica's buffers this is, if it is one.
    pub const fn as_internal(self) -> Option<u32> {
        if self.0 & BufId::INTERNAL != 0 { Some(self.0 & !BufId::INTERNAL) } else { None }
    }
}

/// A disk, metadata or digest operation that the replica asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub struct OpId(pub u64);

/// A command of the daemon. Comes back in `Action::Reply`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct CmdId(pub u64);

/// One thing that happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// A client wants something. Whole blocks, inside the volume, at most `PIECE_BYTES_MAX`
    /// (`ZERO_PIECE_BYTES_MAX` for zeroes): the client lane has checked.
    Request { req: ReqId, what: Request },
    /// A data or metadata operation ended; for reads the payload is in the buffer named then.
    DiskDone { op: OpId, result: Result<(), DiskError> },
    /// Digests of a buffer are ready, one per block.
    DigestsDone { op: OpId, digests: Box<[Digest]> },
    /// The greeting has authenticated a new session. Every earlier session is dead in the shell:
    /// nothing of it arrives any more, its sockets are closed.
    LinkUp { session: Session, peer: NodeId, peer_boot: BootId, peer_start: StartId },
    /// The session is over (reset, flow lost, framing error).
    LinkDown { session: Session },
    /// A message of the peer. `buf` is the payload of `Write`, `SyncWrite` and `ReadDone`;
    /// the replica frees it.
    Frame { session: Session, epoch: Epoch, message: Message, buf: Option<BufId> },
    /// The daemon commands.
    Command { cmd: CmdId, what: Command },
    /// The deadline has come (or nothing; a spurious call is harmless).
    Wake,
}

/// What a client wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Request {
    /// Fill `buf` from the volume.
    Read { at: Extent, buf: BufId },
    /// Write `buf`. The replica frees `buf` when nothing needs it any more, which may be later
    /// than the answer.
    Write { at: Extent, buf: BufId, fua: bool },
    /// Write zeroes, deallocating when `punch`.
    Zero { at: Extent, punch: bool, fua: bool },
    /// Everything answered so far must be stable on every member.
    Flush,
}

/// Why a disk operation failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DiskError {
    /// The kernel's errno.
    pub errno: i32,
}

/// What a daemon commands. Role and membership always come with the whole record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// Learn this record: persist it and act on it. Closes attempts on lower versions. Shrink and
    /// grow take effect through it; a record that names another primary fences this node.
    Learn { record: VolumeRecord },
    /// Learn this record and serve. Refused unless the promote conditions of SAFETY §1.1 hold.
    Promote { record: VolumeRecord },
    /// Drain, flush every member, refuse clients, become secondary. Replies when that is so.
    Demote,
    /// Fail everything pending with EIO, refuse clients, become secondary, now (R13, R14).
    Fence,
    /// Store an attempt before its request is sent (R4). Replies when durable.
    Attempt { attempt: OpenAttempt },
    /// Stop answering pings (R13). Replies with the tick of the last answer in the status.
    PrepareTakeover,
    /// Answer pings again.
    CancelTakeover,
    /// An in-sync mark that the daemon kept over a restart of the engine on the same boot.
    Mark { mark: InSyncMark },
    /// Stop or continue resync; replication of new writes goes on.
    PauseSync { paused: bool },
    /// Compare everything with the peer; mismatches are marked dirty and repaired.
    Verify { start: bool },
    /// Raise the life counter in superblock and tail, flush, mark the stop as clean.
    Shutdown,
    /// Give this copy up for that of the peer: stop answering, forget the record, and be filled
    /// whole. Replies when that is durable. Only for an operator, after both went on alone.
    Discard,
    /// The daemon is there and has these limits; the engine's own `suspend_max` stands back.
    Attend { suspend_max: Option<Span> },
}
