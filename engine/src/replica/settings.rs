//! What a replica is opened with. Identity and time bounds; never changed while it lives.

use crate::limits::Times;
use crate::units::{BootId, Span, StartId};

/// When the peer reports a write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AckMode {
    /// When it is on the peer's disk (its volatile cache included).
    Written,
    /// When it is in the peer's memory.
    Received,
}

/// Settings of a replica. Ids and sizes come from the superblock.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Boot of this host.
    pub boot: BootId,
    /// Start of this engine: new for every process.
    pub start: StartId,
    /// When writes count on the peer.
    pub ack: AckMode,
    /// Compare digests before sending, in every resync, where that pays. Reconciliation always
    /// compares.
    pub sync_digests: bool,
    /// Resync pieces in flight at most, within `SYNC_OPS_MAX`.
    pub sync_window: usize,
    /// Bytes that a resync may read and send in a second; `None` is no bound (R28).
    pub sync_rate_max: Option<u64>,
    /// Bytes that a resync may read and send in a second whatever clients feel, up to
    /// `sync_rate_max` (R28).
    pub sync_rate_floor: u64,
    /// What client requests may take on average beside a resync (R28).
    pub sync_delay_target: Span,
    /// A region is retired this long after its last write.
    pub intent_idle: Span,
    /// Times of SAFETY §1.2.
    pub times: Times,
}
