//! What a decider tells of itself to people. Never an input to a decision.

use super::Decider;
use crate::decide::record::Record;
use crate::decide::step::Waiting;
use lockstep_engine::units::{Tick, Version};
use serde::Serialize;

/// A snapshot of a decider.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct View {
    /// Newest record known from the arbiter.
    pub record: Option<Record>,
    /// Whether the arbiter answers, and makes sense.
    pub arbiter: ArbiterView,
    /// Conditional write that is not closed yet (R4).
    pub attempt: Option<AttemptView>,
    /// What the silence of the peer amounts to.
    pub evidence: EvidenceView,
    /// What the request under way waits for.
    pub waiting: Option<Waiting>,
    /// The operator's request under way.
    pub request: Option<u64>,
    /// This node has given up the group at that version.
    pub released: Option<Version>,
    /// Heartbeats of the peer are answered.
    pub answering: bool,
    /// The engine was fenced at the end of a lease and has not been promoted since (R13).
    pub fenced: bool,
    /// What was fenced is promoted by itself, once that is allowed: a right to serve is held, or a
    /// write not closed.
    pub resumes: bool,
    /// End of the lease as known here; `None` when none is needed, or while the link renews it.
    pub lease_until: Option<Tick>,
    /// Last authentic heartbeat of the peer.
    pub peer_beat: Option<Tick>,
}

/// What the arbiter looks like from here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ArbiterView {
    /// Nothing was heard of it yet.
    #[default]
    Unknown,
    /// The last exchange was answered.
    Answers,
    /// The last exchange failed: decisions have lost their redundancy (R11).
    Away,
    /// It holds a record older than one that was seen before: no transitions.
    RolledBack,
}

/// An attempt that is not closed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AttemptView {
    /// Name of the transition.
    pub transition: &'static str,
    /// Version that it is conditional on; 0 for a first record.
    pub expected: Version,
    /// Times that a request was sent.
    pub sent: u32,
}

/// What the silence of the peer amounts to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EvidenceView {
    /// The peer is heard on link and heartbeats, or not silent for long enough.
    #[default]
    None,
    /// Only one of link and heartbeats is silent: an alarm.
    HalfSilent,
    /// Both are silent for the time-out.
    Silent,
    /// The peer has released the group at the current version.
    Released,
}

impl Decider {
    /// Whether a conditional write is not closed yet.
    pub fn has_open_attempt(&self) -> bool {
        self.open.is_some()
    }

    /// What is known and waited for, for `status`.
    pub fn view(&self) -> View {
        let arbiter = match &self.arbiter {
            arbiter if arbiter.rolled_back => ArbiterView::RolledBack,
            arbiter if arbiter.failures > 0 => ArbiterView::Away,
            arbiter if arbiter.answered => ArbiterView::Answers,
            _ => ArbiterView::Unknown,
        };
        let attempt = self.open.as_ref().map(|open| AttemptView {
            transition: open.transition.name(),
            expected: open.expected,
            sent: open.sent,
        });
        View {
            record: self.arbiter.known.clone(),
            arbiter,
            attempt,
            evidence: self.evidence_view(),
            waiting: self.op.and_then(|op| op.waiting),
            request: self.op.and_then(|op| op.request).map(|request| request.0),
            released: self.released,
            answering: self.answering,
            fenced: self.fenced,
            resumes: self.claim.is_some() || self.open.is_some(),
            lease_until: self.lease_until(),
            peer_beat: self.peer.beat.as_ref().map(|_| self.peer.heard),
        }
    }
}
