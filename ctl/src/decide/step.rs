//! What the decider asks for. `ctl::act` carries each out and reports with an event.

use super::event::{RequestId, StepId};
use super::record::Record;
use lockstep_engine::units::{InSyncMark, OpenAttempt, Version, VolumeId, VolumeRecord};
use serde::Serialize;

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Command the engine of that volume, or the keeper of a group without volumes
    /// (`keeper::seat_of`); report `EngineDone`.
    Engine { id: StepId, volume: VolumeId, command: EngineCommand },
    /// Read the record, strongly consistent; report `ArbiterRead`.
    Read { id: StepId },
    /// Install `next` if the stored version is still `expected` (`None`: if there is no record);
    /// report `ArbiterSwapped`.
    Swap { id: StepId, expected: Option<Version>, next: Record },
    /// Answer the peer's heartbeats (true, the state at start) or fall silent (R13). An answer
    /// extends the peer's lease, so an owner gives none, nor does one that prepares a takeover.
    /// `Event::Heartbeat` is told in both states.
    AnswerHeartbeats(bool),
    /// Say in every heartbeat that this node has released the group at that version, or stop.
    AnnounceRelease(Option<Version>),
    /// Answer an operator, once.
    Reply { request: RequestId, result: Result<(), Refused> },
    /// An operator's request is waiting; show this.
    Progress { request: RequestId, waiting: Waiting },
    /// A decision worth a line in the log.
    Note(Note),
}

/// Commands to an engine; the meaning is that of `lockstep_engine::admin::Verb`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EngineCommand {
    /// Persist this record and act on it.
    Learn(VolumeRecord),
    /// Persist this record and serve.
    Promote(VolumeRecord),
    /// Drain, flush, stop serving.
    Demote,
    /// Stop answering at once.
    Fence,
    /// Store an attempt before it is sent.
    Attempt(OpenAttempt),
    /// Stop answering pings.
    PrepareTakeover,
    /// Answer pings again.
    CancelTakeover,
    /// Give a mark back.
    Mark(InSyncMark),
}

/// Why a request waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Waiting {
    /// For the arbiter to answer.
    Arbiter,
    /// For the engine to carry out a command.
    Engine,
    /// For the peer's silence to become evidence, or a release.
    Evidence,
    /// For the lease of the old primary to be over.
    Lease,
    /// For intent regions to be made equal with the peer.
    Reconcile,
    /// For the peer to be heard, or for the boot grace to pass.
    BootGrace,
}

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// No record: `mirror create` first.
    NoRecord,
    /// A record exists already.
    RecordExists,
    /// The record names another primary, which must stop or be taken over from.
    OtherPrimary,
    /// This node is not a member: its copy is stale. `solo_since` is the record's wall clock.
    NotMember { solo_since: u64 },
    /// The copy here can't be promoted.
    BadCopy,
    /// This node holds no in-sync mark: its host rebooted while the peer went on (R42).
    NoMark,
    /// The peer is alive: its link or heartbeats are heard. Use `mirror move`.
    PeerAlive,
    /// The peer must be connected and in sync.
    NotInSync,
    /// This node is not primary.
    NotPrimary,
    /// Already so.
    AlreadyPrimary,
    /// The group is configured with other volumes than its record has.
    OtherVolumes,
    /// The other node won the record.
    Lost,
    /// The arbiter does not answer; nothing was decided.
    ArbiterAway,
    /// The stored record is older than one that this node has seen: deleted or rolled back.
    ArbiterRolledBack,
    /// The engine is not there, or one of several is not.
    EngineAway,
    /// The engine refused, with its word.
    Engine(String),
    /// Another request is under way.
    Busy,
}

/// Decisions worth a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// An attempt was stored and sent.
    Attempting { transition: &'static str, version: Version },
    /// The record changed by this node.
    Won { transition: &'static str, version: Version },
    /// The record was changed by the other node first.
    Lost { transition: &'static str, version: Version },
    /// The outcome is not known; it will be closed (R4).
    Unknown { transition: &'static str, version: Version },
    /// The lease ended without a decision: the engine is fenced (R13).
    FastFence,
    /// Link and heartbeats are silent: evidence for a takeover.
    Evidence,
    /// Only one of link and heartbeats is silent: an alarm, no evidence.
    HalfSilent,
    /// The arbiter's record is older than one already seen.
    ArbiterRolledBack,
}
