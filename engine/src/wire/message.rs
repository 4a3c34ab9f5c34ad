//! What two engines say to each other once the greeting has authenticated both.
//! Payload bytes are never here: a message that carries them says how many, the shell has them.

use crate::units::{
    BootId, Digest, DiskState, Extent, Generation, InSyncMark, NodeId, Role, StartId, VolumeRecord,
};

/// One message. `token` is chosen by the sender of a request and comes back in its answer; it is
/// unique within a session.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Message {
    // --- control flow ---
    /// Is anybody there? `stamp` is the sender's tick.
    Ping { stamp: u64 },
    /// Answer to a ping, with its stamp. Extends the primary's lease (R13).
    Pong { stamp: u64 },
    /// The sender's state. Opens a session; sent again whenever role or record change.
    Hello(Box<Hello>),
    /// Source to target: prepare to be written; answer with `Bits`, few at a time, then
    /// `SyncReady`.
    SyncBegin { round: u64, kind: SyncKind, generation: Generation },
    /// Target to source: blocks that may differ, as words of the bitmap from `first_word` on.
    Bits { round: u64, first_word: u64, words: Box<[u64]> },
    /// Source to target: one `Bits` was taken; another one may come.
    BitsTaken { round: u64 },
    /// Target to source: state is durable, all bits were sent, resync may start.
    SyncReady { round: u64 },
    /// Make everything received so far stable.
    Flush { token: u64 },
    /// Done, or the disk refused.
    FlushDone { token: u64, status: Status },
    /// Source to target, R27 (4): persist UpToDate and this generation, take the mark, or only
    /// the mark when the copy is a member's already.
    MakeUpToDate { round: u64, generation: Generation },
    /// Target to source: persisted, mark held.
    UpToDateDone { round: u64 },
    /// Source to target: both copies are equal and recorded so: drop your dirty bits.
    DropBits { round: u64 },
    /// The sender's life counter (R21); the receiver stores the highest.
    Life { counter: u64 },
    /// The sender gives up this session and says why.
    Bye(ByeReason),

    // --- data flows ---
    /// Payload follows: write it.
    Write { token: u64, at: Extent, fua: bool },
    /// Make the range zeroes; `punch` allows to deallocate it.
    Zero { token: u64, at: Extent, punch: bool, fua: bool },
    /// Payload follows: resynced data.
    SyncWrite { token: u64, at: Extent },
    /// Answer to `Write`, `Zero` and `SyncWrite`.
    Ack { token: u64, status: Status },
    /// Send me this range (read repair).
    Read { token: u64, at: Extent },
    /// Payload follows when the status is `Ok`.
    ReadDone { token: u64, status: Status, at: Extent },
    /// Send me the digests of the blocks of this range.
    DigestRequest { token: u64, at: Extent },
    /// One digest per block; empty unless the status is `Ok`.
    Digests { token: u64, status: Status, digests: Box<[Digest]> },
}

/// Outcome of a disk operation, as told to the peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Status {
    /// Done.
    Ok = 0,
    /// The device refused.
    IoError = 1,
}

/// How a target must treat a resync.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum SyncKind {
    /// The target is not a member: it is Inconsistent from the first byte on; dirty blocks travel.
    Incremental = 1,
    /// As above, and every block is dirty: histories are unrelated or tracking is lost.
    Full = 2,
    /// The target is a member and stays one: intent regions are made equal again (R41, R42).
    Reconcile = 3,
}

/// Why a session is given up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum ByeReason {
    /// The sender stops in order.
    Stopping = 1,
    /// A frame of an older epoch (R5).
    OldEpoch = 2,
    /// Both histories went on alone: split brain, no automatic merge.
    Unrelated = 3,
    /// Two records of one version with different authors: two arbiters.
    TwoRecords = 4,
    /// A message that makes no sense here: a bug of the peer, or not a peer.
    Protocol = 5,
    /// A new session replaced this one.
    Replaced = 6,
    /// The peer answers pings but makes no progress (R30).
    NoProgress = 7,
    /// Sizes of the two volumes differ.
    WrongSize = 8,
    /// The sender's disk or metadata failed.
    Failed = 9,
}

/// The sender's state at the start of a session and after each change of role or record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hello {
    /// Who speaks.
    pub node: NodeId,
    /// Raised with every hello of a session.
    pub serial: u64,
    /// What the sender does.
    pub role: Role,
    /// What its copy is worth.
    pub disk: DiskState,
    /// Its last accepted record, if any.
    pub record: Option<VolumeRecord>,
    /// Generation its data is in; `NONE` on a fresh disk.
    pub generation: Generation,
    /// Generation in which both copies were last known equal: the base of its bitmap.
    pub base: Generation,
    /// Earlier generations, newest first; `NONE` where unused.
    pub history: [Generation; crate::limits::HISTORY_MAX],
    /// This copy must be filled whole before it counts (fresh, swapped, or tracking lost).
    pub needs_full: bool,
    /// In-sync mark that the sender holds (R42).
    pub mark: Option<InSyncMark>,
    /// Boot of the sender's host.
    pub boot: BootId,
    /// Start of the sender's engine.
    pub start: StartId,
    /// Blocks marked dirty, intent regions included.
    pub dirty_blocks: u64,
    /// Regions with open intent.
    pub hot_regions: u32,
    /// Exported bytes.
    pub size: u64,
    /// The sender's life counter.
    pub life: u64,
    /// Highest life counter that the sender has heard of the receiver (R21).
    pub life_heard: u64,
}
