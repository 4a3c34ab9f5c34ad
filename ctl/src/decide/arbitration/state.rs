//! What a decider remembers, in parts. Data only; the rules are in the files beside.

use super::attempt::Open;
use crate::decide::event::{PeerBeat, RequestId, StepId, Verb};
use crate::decide::record::Record;
use crate::decide::step::Waiting;
use lockstep_engine::units::{
    DiskState, Epoch, InSyncMark, LinkState, Role, StartId, Status, Tick, Version, VolumeId,
    VolumeRecord,
};
use std::collections::BTreeMap;

/// What is known of the arbiter.
#[derive(Clone, Debug, Default)]
pub(super) struct Arbiter {
    /// Newest record that a read or a write returned.
    pub known: Option<Record>,
    /// The last conclusive read found no record.
    pub absent: bool,
    /// `known` or `absent` comes from an exchange that began after the last reason to doubt.
    pub fresh: bool,
    /// Read under way.
    pub read: Option<ReadCall>,
    /// Exchanges without an answer since the last answer.
    pub failures: u32,
    /// Any exchange was answered yet.
    pub answered: bool,
    /// No read before this tick.
    pub retry_at: Tick,
    /// A read is due at this tick although nothing is in doubt (R11).
    pub probe_at: Tick,
    /// The store holds less than was seen before: no transitions (§3.1).
    pub rolled_back: bool,
}

/// A read under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReadCall {
    pub id: StepId,
    pub deadline: Tick,
    /// Something has happened since it was sent: its answer may be from before.
    pub doubted: bool,
    /// Highest version seen when it was sent: less in the answer is a rollback.
    pub floor: Version,
}

/// The engine of one volume on this node, or the keeper of a group without volumes.
#[derive(Clone, Debug, Default)]
pub(super) struct EngineSide {
    /// Its volume.
    pub volume: VolumeId,
    /// Last status, brought up to date by what the engine has confirmed since; `None` when away.
    pub status: Option<Status>,
    /// When that status came.
    pub received: Tick,
    /// Process that it is about, and when that was seen first.
    pub start: Option<StartId>,
    pub seen: Tick,
    /// Commands under way.
    pub calls: BTreeMap<StepId, Call>,
    /// In-sync mark, kept over a restart of the engine (R42).
    pub mark: Option<InSyncMark>,
    /// The engine that went away was serving, with link leases until then.
    pub served: bool,
    pub lease_until: Tick,
    /// Since when it is away, if it is.
    pub away_since: Tick,
    /// Last record of an engine that went away.
    pub record: Option<VolumeRecord>,
    /// Commands that were refused are repeated no earlier, with doubling waits.
    pub learn: Backoff,
    pub promote: Backoff,
    pub other: Backoff,
    /// Of its own: no other refusal may put the fast fence off (R13).
    pub fence: Backoff,
    /// Word of the last refusal of `Learn`.
    pub learn_refused: Option<String>,
}

impl EngineSide {
    /// An engine that nothing was heard of.
    pub fn new(volume: VolumeId, now: Tick) -> EngineSide {
        EngineSide { volume, away_since: now, ..EngineSide::default() }
    }

    /// Whether it answers clients, or did when it was last heard of.
    pub fn may_serve(&self) -> bool {
        self.status.as_ref().map_or(self.served, |status| serves(status.role))
    }

    /// Whether it is there and serves.
    pub fn is_serving(&self) -> bool {
        self.status.as_ref().is_some_and(|status| serves(status.role))
    }

    /// Whether it is there and answers no client.
    pub fn is_quiet(&self) -> bool {
        self.status.as_ref().is_some_and(|status| status.role == Role::Secondary)
    }

    /// Whether it is there, answers no client, and no promotion is on its way to it.
    pub fn is_at_rest(&self) -> bool {
        self.is_quiet() && !self.calling(|purpose| matches!(purpose, Purpose::Promote(_)))
    }

    /// Last accepted record, also of an engine that is away.
    pub fn last_record(&self) -> Option<&VolumeRecord> {
        match &self.status {
            Some(status) => status.record.as_ref(),
            None => self.record.as_ref(),
        }
    }

    /// Whether a command of this kind is under way.
    pub fn calling(&self, kind: fn(&Purpose) -> bool) -> bool {
        self.calls.values().any(|call| kind(&call.purpose))
    }
}

/// Whether a role answers clients.
pub(super) const fn serves(role: Role) -> bool {
    matches!(role, Role::Primary | Role::Demoting)
}

/// Whether the copy of that engine can't serve: it refuses every promotion but a forced one.
pub(super) fn is_spoiled(status: &Status) -> bool {
    let sound = matches!(status.disk, DiskState::UpToDate | DiskState::Consistent);
    status.needs_full || !sound
}

/// Whether the link of that engine has a session with both hellos.
pub(super) fn is_connected(status: &Status) -> bool {
    status.link == LinkState::Up
}

/// A wait that doubles with every failure.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Backoff {
    /// Not before this tick.
    pub at: Tick,
    /// Failures in a row.
    pub failures: u32,
}

/// An engine command under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    pub purpose: Purpose,
    pub deadline: Tick,
}

/// What an engine command is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Learn(VolumeRecord),
    Promote(VolumeRecord),
    Demote,
    Fence,
    Attempt,
    Prepare,
    Cancel,
    Mark(InSyncMark),
}

/// The peer's daemon, as its heartbeats show it.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    /// Last heartbeat, or since when they are listened to.
    pub heard: Tick,
    /// A heartbeat was heard at all.
    pub beat: Option<PeerBeat>,
    /// Last heartbeat that may have been answered, by an earlier daemon too.
    pub answered: Tick,
    /// Newest heartbeat of ours that the peer has answered, by the tick of its sending.
    pub lease_from: Option<Tick>,
    /// Version of the peer that last prompted a read, and when.
    pub prompted: (Version, Tick),
}

/// The right of this node to promote its engines without asking anybody for more than a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    /// Epoch in which it was earned: by a transition of this decider, by a move to this node, or
    /// by an engine that was primary in this boot.
    pub epoch: Epoch,
    /// R13: not before the lease of the old primary is over.
    pub gated: bool,
    /// The peer has moved the group here.
    pub moved: bool,
}

/// A request under way: an operator's, or one that the decider has made itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Op {
    /// Whom to answer.
    pub request: Option<RequestId>,
    pub verb: Verb,
    pub phase: Phase,
    /// When it was asked.
    pub asked: Tick,
    /// What it waits for, and what was last shown of it.
    pub waiting: Option<Waiting>,
    pub shown: Option<Waiting>,
    /// Fence instead of demoting: the disk has failed.
    pub fence: bool,
    /// An engine could not store the release.
    pub unstored: bool,
}

/// How far a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Preconditions, on a fresh record. Leaves when they hold or are refused.
    Check,
    /// The attempt of a release is being stored. Leaves with the engines' answers.
    Store,
    /// The engines drain and flush. Leaves when all are secondary, or one has refused.
    Demote,
    /// All engines are secondary; the write is next.
    Demoted,
    /// The engines fall silent. Leaves when all are, or when the peer is heard.
    Prepare,
    /// The old primary's lease runs out. Leaves when it is over, or when the peer is heard.
    Lease,
    /// The write is under way. Leaves when the attempt is closed (R4).
    Swap,
    /// The record is won. Leaves when all engines are primary, or one has refused.
    Promote,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It took effect.
    Won,
    /// It did not, and can't any more.
    NotHappened,
}

/// An attempt with its end.
pub(super) type Closed = (Open, Outcome);
