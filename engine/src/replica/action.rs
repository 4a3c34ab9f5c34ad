//! What the replica asks for. The shell carries each out and reports with an event.

use super::event::{BufId, CmdId, OpId, ReqId};
use crate::units::{Epoch, Extent, InSyncMark, Page, Session};
use crate::wire::message::Message;

/// One thing to do.
#[derive(Clone, Debug)]
pub enum Action {
    /// Read from the data partition into `buf`; report with `DiskDone`. An internal buffer may
    /// still be on its way out of a socket: the shell then waits for that before it reads.
    DiskRead { op: OpId, at: Extent, buf: BufId },
    /// Write `buf` to the data partition; stable when reported if `fua`.
    DiskWrite { op: OpId, at: Extent, buf: BufId, fua: bool },
    /// Make a range of the data partition zeroes; stable when reported if `fua`.
    DiskZero { op: OpId, at: Extent, punch: bool, fua: bool },
    /// Make the data partition's completed writes stable.
    DiskFlush { op: OpId },
    /// Write a page of the cluster partition, stable when reported.
    MetaWrite { op: OpId, page: u64, bytes: Box<Page> },
    /// Write one 4 KiB slot (0 or 1) of the data tail, stable when reported.
    TailWrite { op: OpId, slot: u8, bytes: Box<Page> },
    /// Digest each block of `buf` (`at.len` bytes), keyed by the session; report `DigestsDone`.
    Digest { op: OpId, at: Extent, buf: BufId, session: Session },
    /// Send on the link. Control messages go on the control flow, the rest on any data flow.
    /// Dropped in silence when the session is not the live one. The payload, if any, starts `skip`
    /// bytes into `buf`; its length is that of the message's extent.
    Send { session: Session, epoch: Epoch, message: Message, buf: Option<BufId>, skip: u32 },
    /// Copy the first `len` bytes of one buffer to another.
    CopyBuf { from: BufId, to: BufId, len: u32 },
    /// Answer a client piece, once. For a read with `Answered::Ok` the data is in its buffer.
    Answer { req: ReqId, result: Answered },
    /// The replica needs this (non-internal) buffer no more. It may still be on its way out of a
    /// socket: the shell waits for that.
    Free { buf: BufId },
    /// Close this session's flows.
    DropLink { session: Session, why: DropReason },
    /// Refuse and disconnect clients (`open == false`), or accept them.
    Clients { open: bool },
    /// Answer a command, once.
    Reply { cmd: CmdId, result: Result<(), Refusal> },
    /// Hand the mark to the daemon to keep (R42), or take it back.
    KeepMark { mark: Option<InSyncMark> },
    /// A state change that people want to read about; one per change, never per I/O.
    Note(Note),
    /// The status changed in a way that a daemon acts on.
    StatusChanged,
    /// Everything is stable: the process may end.
    Stopped,
}

/// What a client is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answered {
    /// Done.
    Ok,
    /// The disk failed, or this node may not answer (fenced, suspended too long).
    IoError,
    /// This node does not serve the volume (any more).
    ShuttingDown,
}

/// Why a session is dropped from this side.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DropReason {
    /// Nothing heard for `link_dead`.
    Silent,
    /// Hello did not come in time.
    HelloLate,
    /// See the bye that was sent.
    Said(crate::wire::message::ByeReason),
    /// The peer said bye.
    PeerSaid(crate::wire::message::ByeReason),
    /// The peer answers pings but makes no progress.
    NoProgress,
}

/// Why a command is refused. The daemon shows it to an operator.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// The record is older than the one that is stored.
    OlderRecord,
    /// Same version, other nonce: two arbiters, or a store that was rolled back.
    OtherNonce,
    /// The record does not name this node primary.
    NotPrimaryInRecord,
    /// This node is not a member: its copy is stale.
    NotMember,
    /// The copy is Inconsistent, Outdated or Failed.
    BadDisk,
    /// The copy is of another generation than the record's.
    OtherGeneration,
    /// Not now: another role change is under way.
    Busy,
    /// Only a primary can do that.
    NotPrimary,
    /// Needs a live link.
    NoLink,
    /// Metadata could not be written.
    MetadataFailed,
    /// The attempts table is full: close one first.
    TooManyAttempts,
    /// The mark is of another boot or generation.
    StaleMark,
}

/// State changes worth a line in the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Note {
    /// The session is open and both hellos are in.
    PeerConnected,
    /// Writes are held: a member can't be reached.
    Holding,
    /// Held writes go on.
    Released,
    /// Held requests were failed: nobody decided in time.
    SuspendedTooLong,
    /// A record was stored and acted on.
    RecordLearned,
    /// This node serves.
    Promoted,
    /// This node does not serve any more, in order.
    Demoted,
    /// This node was stopped from answering.
    Fenced,
    /// Resync started.
    SyncStarted { blocks: u64 },
    /// Both copies are equal and flushed.
    SyncDone { blocks: u64 },
    /// Generation adopted before the first solo answer.
    GenerationAdopted,
    /// A local read failed and was served and repaired from the peer.
    ReadRepaired { at: Extent },
    /// The local data device refused.
    DiskFailed { errno: i32 },
    /// The peer's data device refused.
    PeerDiskFailed,
    /// The cluster partition refused.
    MetadataFailed { errno: i32 },
    /// Verify ended.
    VerifyDone { blocks: u64, mismatches: u64 },
    /// A block differed.
    VerifyMismatch { at: Extent },
    /// The peer could not read a piece that was to be compared.
    VerifyUnreadable { at: Extent },
    /// Two histories: the session was refused.
    SplitBrain,
    /// The data partition is not the one that the metadata describes (R21).
    DiskSwapped,
    /// An operator gave this copy up; it waits to be filled.
    Discarded,
    /// A frame of an older epoch was refused.
    OldEpochRefused,
}
