//! What the decider is told.

use super::record::Record;
use lockstep_engine::units::{BootId, Status, Tick, Version, VolumeId};

/// Names a step that reports back.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub struct StepId(pub u64);

/// Names an operator's request.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// One thing that happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// The status of the engine of the volume that it names, on connection and whenever it changes.
    Engine(Box<Status>),
    /// The admin socket of that volume's engine is closed: the engine is gone or restarting. Steps
    /// in flight to it are lost.
    EngineGone { volume: VolumeId },
    /// An engine command ended; `refused` has the engine's stable word.
    EngineDone { id: StepId, refused: Option<String> },
    /// A strongly consistent read ended.
    ArbiterRead { id: StepId, result: ReadResult },
    /// A conditional write ended.
    ArbiterSwapped { id: StepId, result: SwapResult },
    /// An authentic, new heartbeat of the peer arrived.
    Heartbeat(PeerBeat),
    /// The peer answered (R13) a heartbeat that this node sent at that tick.
    HeartbeatAnswered { sent: Tick },
    /// An operator wants something.
    Operator { request: RequestId, verb: Verb },
    /// The deadline has come, or nothing.
    Wake,
}

/// What a heartbeat of the peer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerBeat {
    /// Boot of the peer's host.
    pub boot: BootId,
    /// The peer has given up the group at this version, after its fast fence (§1.2): a release.
    pub released: Option<Version>,
    /// Highest version of the record that the peer knows: one that hears of a higher version than
    /// its own reads the arbiter at once.
    pub version: Option<Version>,
}

/// Outcome of a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadResult {
    /// The record.
    Found(Record),
    /// No record exists for the group.
    Absent,
    /// Nothing is known: time-out, outage, or the store is refused.
    Failed,
}

/// Outcome of a conditional write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SwapResult {
    /// The write took effect, first time or recognised by its nonce.
    Won,
    /// Another write has the version (or a later one exists); this is the newest record.
    Lost(Record),
    /// Time-out or error: it may have landed or may land yet (R4).
    Unknown,
}

/// What an operator may want of the record of a group: of all its volumes together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Write the first record: this node is the member, or both when both are blank.
    Create { both_blank: bool },
    /// Serve here. `without_peer`: the operator says that the peer is dead (boot grace waived).
    Start { without_peer: bool },
    /// Take over here once there is evidence.
    Takeover,
    /// Hand over to the peer, in order.
    Move,
    /// Stop serving, in order; nobody is primary.
    Stop,
    /// Make this copy the truth, against the rules. The loss was shown and typed.
    ForcePromote,
    /// Give up: the data here is not to be served; allow the peer to take over. The only verb that
    /// needs no engine.
    Release,
}
