//! The superblock: who this copy is, what it is worth, what was promised.

use crate::limits::{ATTEMPTS_MAX, HISTORY_MAX};
use crate::units::{
    BootId, ClusterId, DiskState, Generation, GroupId, NodeId, OpenAttempt, PairTag, VolumeId,
    VolumeRecord,
};

/// Everything that a superblock says. The replica owns one and rewrites it whole.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Superblock {
    /// Raised with every write; the newest valid slot wins.
    pub sequence: u64,
    /// Identity, fixed at `format`.
    pub cluster: ClusterId,
    /// Group whose record speaks for the volume.
    pub group: GroupId,
    /// The volume.
    pub volume: VolumeId,
    /// Which node of the pair this is.
    pub node: NodeId,
    /// Exported bytes.
    pub size: u64,
    /// Entries of the intent table, fixed at `format`.
    pub intent_regions: u32,
    /// Binds the data partition (R21).
    pub pair_tag: PairTag,
    /// Byte offset of the data tail on the data partition.
    pub tail_offset: u64,
    /// Serial or WWID of the data device, empty for files. At most 64 bytes.
    pub serial: String,
    /// Own life counter (R21).
    pub life: u64,
    /// Highest life counter heard of the peer.
    pub life_heard: u64,
    /// What the copy is worth. `Consistent` is never stored: it is `UpToDate` not yet confirmed.
    pub disk: DiskState,
    /// The copy must be filled whole before it counts.
    pub needs_full: bool,
    /// Generation of the data.
    pub generation: Generation,
    /// Generation in which both copies were last equal: base of the bitmap.
    pub base: Generation,
    /// Earlier generations, newest first.
    pub history: [Generation; HISTORY_MAX],
    /// Last accepted record.
    pub record: Option<VolumeRecord>,
    /// Conditional writes that may still land (R4).
    pub attempts: [Option<OpenAttempt>; ATTEMPTS_MAX],
    /// Boot in which this node last became primary; `NONE` after an orderly demotion or stop.
    pub primary_boot: BootId,
    /// The node was forced to primary at least once since the copies were last equal.
    pub diverged: bool,
}
