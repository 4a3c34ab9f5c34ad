//! One conditional write, from its storing on the engine's disk to its closing (R4).
//! Always: nothing is sent before the attempt is stored; an attempt is closed by nothing but a
//! higher version, read or written. A closing write of the unchanged record needs no storing of its
//! own: the stored attempt already tells a restarted daemon that its version has to be closed.

use super::Decider;
use super::state::{Claim, Closed, Outcome, Phase, Purpose};
use crate::decide::event::{StepId, SwapResult, Verb};
use crate::decide::mutant::Mutant;
use crate::decide::record::Record;
use crate::decide::step::{EngineCommand, Note, Refused, Step};
use crate::decide::transition::{self, Transition};
use lockstep_engine::units::{
    DiskState, LinkState, Members, Need, NodeId, OpenAttempt, Role, Tick, Version, VolumeRecord,
};
use std::collections::VecDeque;

/// Requests whose late replies are still understood.
const SENT_MAX: usize = 16;

/// A conditional write that is not closed.
#[derive(Clone, Debug)]
pub(super) struct Open {
    pub transition: Transition,
    /// Version that it is conditional on; 0 when there must be no record.
    pub expected: Version,
    /// The record at that version, once known.
    pub base: Option<Record>,
    /// What it would install.
    pub wanted: Record,
    /// The unchanged record that closes it, once one was sent.
    pub closer: Option<Record>,
    pub stored: Stored,
    /// Found in the engine's superblock: an earlier daemon's.
    pub adopted: bool,
    /// Stored for a release, not to be sent.
    pub held: bool,
    /// Requests sent, and those that may still report: true for the wanted record.
    pub sent: u32,
    pub out: VecDeque<(StepId, bool)>,
    /// The request that is waited for, until when; else no request before that tick.
    pub current: Option<StepId>,
    pub until: Tick,
    /// The operator has read that the outcome is not known.
    pub noted: bool,
}

/// Whether the engine has the attempt on its disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stored {
    No,
    Asking,
    Yes,
}

impl Open {
    fn new(transition: Transition, base: Option<Record>, wanted: Record) -> Open {
        Open {
            transition,
            expected: base.as_ref().map_or(Version(0), |record| record.version),
            base,
            wanted,
            closer: None,
            stored: Stored::No,
            adopted: false,
            held: false,
            sent: 0,
            out: VecDeque::new(),
            current: None,
            until: Tick(0),
            noted: false,
        }
    }

    /// A forced record that the engine serves under already; it still has to reach the arbiter.
    pub fn forced(base: Record, wanted: Record) -> Open {
        Open { stored: Stored::Yes, ..Open::new(Transition::Force, Some(base), wanted) }
    }
}

impl Decider {
    /// Opens an attempt; its request follows when the engine has stored it.
    pub(super) fn begin(&mut self, transition: Transition, base: Option<Record>, wanted: Record) {
        assert!(self.open.is_none(), "one attempt at a time");
        self.open = Some(Open::new(transition, base, wanted));
    }

    /// An attempt of an earlier daemon, or one whose confirmation was lost with the engine.
    pub(super) fn adopt_attempts(&mut self, attempts: &[OpenAttempt]) {
        let known = self.arbiter.known.as_ref().map_or(Version(0), |record| record.version);
        let newest = attempts.iter().max_by_key(|attempt| attempt.expected);
        let Some(attempt) = newest.filter(|attempt| attempt.expected >= known) else {
            return; // All of them are closed: `learn` tells the engine.
        };
        if self.open.is_some() {
            return; // Ours, or closed by what closes ours.
        }
        let settings = &self.settings;
        let wanted = &attempt.wanted;
        let record = Record::of_volume(settings.cluster, settings.group, settings.volume, wanted);
        let base = self.arbiter.known.clone().filter(|known| known.version == attempt.expected);
        let seen = self.engine.last_record().filter(|seen| seen.version == attempt.expected);
        let transition = classify(settings.node, seen, wanted);
        self.open = Some(Open {
            expected: attempt.expected,
            base,
            stored: Stored::Yes,
            adopted: true,
            sent: 1,
            ..Open::new(transition, None, record)
        });
        self.doubt();
    }

    /// Does the next thing for the open attempt: store it, send it, or wait.
    pub(super) fn drive_open(&mut self, now: Tick) {
        let Some(open) = &self.open else { return };
        let stored = if Mutant::SwapBeforeAttemptStored.on() { Stored::Yes } else { open.stored };
        match stored {
            Stored::Asking => return,
            Stored::No => return self.store_open(now),
            Stored::Yes => {}
        }
        if open.held || self.arbiter.rolled_back {
            return;
        }
        let (until, waiting) = (open.until, open.current.is_some());
        if now < until {
            return self.wake_at(until);
        }
        if waiting {
            self.arbiter_silent(now);
            self.outcome_unknown(now);
        }
        let known = self.arbiter.known.clone();
        let needs_base = self.open.as_ref().is_some_and(|o| o.base.is_none() && o.expected.0 > 0);
        if needs_base {
            let Some(open) = &mut self.open else { return };
            open.base = known.filter(|known| known.version == open.expected);
            if open.base.is_none() {
                return; // A read is due; it shows this version or closes the attempt.
            }
        }
        self.send_open(now);
    }

    fn store_open(&mut self, now: Tick) {
        let ready = self.engine.status.is_some();
        let Some(open) = &mut self.open else { return };
        let Some(wanted) = open.wanted.for_volume(self.settings.volume) else { return };
        if !ready {
            return;
        }
        open.stored = Stored::Asking;
        let attempt = OpenAttempt { expected: open.expected, wanted };
        self.command(Purpose::Attempt, EngineCommand::Attempt(attempt), now);
    }

    fn send_open(&mut self, now: Tick) {
        let keep = self.still_wanted(now);
        let closer = match self.open.as_ref().and_then(|open| open.base.clone()) {
            Some(base) if !keep => {
                let author = self.author();
                Some(transition::close(&base, author))
            }
            _ => None,
        };
        let id = self.next_id();
        let until = now.after(self.times().arbiter_attempt);
        let Some(open) = &mut self.open else { return };
        let wanted = keep || closer.is_none();
        let next = if wanted {
            open.wanted.clone()
        } else {
            // The same closing record every time, so that one nonce is enough to know it by.
            open.closer.get_or_insert_with(|| closer.unwrap_or_else(|| open.wanted.clone())).clone()
        };
        open.sent += 1;
        open.current = Some(id);
        open.until = until;
        open.out.push_back((id, wanted));
        if open.out.len() > SENT_MAX {
            open.out.pop_front();
        }
        let expected = Some(open.expected).filter(|version| version.0 > 0);
        let (name, version, first) = (open.transition.name(), next.version, open.sent == 1);
        if first {
            self.note(Note::Attempting { transition: name, version });
        }
        self.steps.push_back(Step::Swap { id, expected, next });
        self.wake_at(until);
    }

    /// Whether the wanted record is still the right one to close the attempt with. The unchanged
    /// record always is.
    fn still_wanted(&self, now: Tick) -> bool {
        let Some(open) = &self.open else { return false };
        let status = self.engine.status.as_ref();
        let need = status.and_then(|status| status.need);
        let link_down = status.is_some_and(|status| status.link == LinkState::Down);
        let connected = self.engine.is_connected();
        let spoiled = |disk| matches!(disk, DiskState::Inconsistent | DiskState::Failed);
        let useless = connected && status.and_then(|status| status.peer_disk).is_some_and(spoiled);
        let stuck = status.is_some_and(|status| status.reconcile_stuck);
        let quiet = self.engine.is_quiet();
        let swapping = |verb: fn(&Verb) -> bool| {
            self.op.as_ref().is_some_and(|op| op.phase == Phase::Swap && verb(&op.verb))
        };
        match open.transition {
            Transition::Create | Transition::Force | Transition::Close => true,
            Transition::Shrink => {
                need == Some(Need::Shrink)
                    || (quiet && self.claim.is_some() && !self.has_lease(now))
            }
            Transition::Grow => need == Some(Need::Grow) || Mutant::GrowWithoutNeed.on(),
            Transition::Takeover => {
                let silent = status.is_some_and(|status| status.silent);
                let evident = open.base.as_ref().is_some_and(|base| self.evident(base, now));
                swapping(|verb| matches!(verb, Verb::Takeover))
                    && !open.adopted
                    && silent
                    && evident
            }
            Transition::Start => {
                let same = open.base.as_ref().is_some_and(|base| {
                    base.is_alone(self.me()) || !open.wanted.is_alone(self.me())
                });
                swapping(|verb| matches!(verb, Verb::Start { .. }))
                    && !open.adopted
                    && (same || link_down || useless || stuck)
            }
            Transition::Move => (quiet && connected) || Mutant::MoveBeforeDemote.on(),
            // A stop stored for a release of an earlier daemon: with a copy that can't serve, the
            // group is better released again than left to nobody.
            Transition::Stop => quiet && !(open.adopted && self.engine.is_spoiled()),
        }
    }

    pub(super) fn swap_ended(&mut self, id: StepId, result: SwapResult, now: Tick) {
        let sent = self.open.as_ref().and_then(|open| {
            let (_, wanted) = open.out.iter().find(|(sent, _)| *sent == id)?;
            let record = if *wanted { Some(&open.wanted) } else { open.closer.as_ref() };
            Some((record?.clone(), open.expected, open.current == Some(id)))
        });
        match (result, sent) {
            (SwapResult::Won, Some((record, _, current))) => {
                self.arbiter_spoke(now);
                self.learned_of(record, now);
                self.arbiter.fresh |= current;
            }
            (SwapResult::Lost(record), Some((_, expected, current))) => {
                self.arbiter_spoke(now);
                if record.version > expected {
                    self.learned_of(record, now);
                    self.arbiter.fresh |= current;
                } else if record.version < expected {
                    self.rolled_back();
                } else if current {
                    self.outcome_unknown(now); // Lost to nobody: that is no answer.
                }
            }
            (SwapResult::Lost(record), None) => self.learned_of(record, now),
            (SwapResult::Unknown, Some((_, _, true))) => {
                self.arbiter_silent(now);
                self.outcome_unknown(now);
            }
            _ => {} // Closed by other means since.
        }
    }

    fn outcome_unknown(&mut self, now: Tick) {
        let Some(open) = &mut self.open else { return };
        open.current = None;
        let (transition, version) = (open.transition.name(), open.wanted.version);
        if !std::mem::replace(&mut open.noted, true) {
            self.note(Note::Unknown { transition, version });
        }
        if Mutant::UnknownCountsAsLost.on()
            && let Some(open) = self.open.take()
        {
            self.closed((open, Outcome::NotHappened), now); // R4
        }
    }

    /// How an attempt ended, seen from a higher version than the one it was conditional on.
    pub(super) fn outcome(&self, open: &Open) -> Outcome {
        let Some(known) = &self.arbiter.known else { return Outcome::NotHappened };
        let own = known.version == open.wanted.version && known.nonce == open.wanted.nonce;
        // It may have been superseded since; an epoch is won by one write only.
        let before = open.base.as_ref().map(|base| base.epoch);
        let superseded = before.is_some_and(|epoch| epoch < open.wanted.epoch)
            && known.epoch == open.wanted.epoch
            && known.owner == open.wanted.owner
            && known.version > open.wanted.version;
        if own || superseded { Outcome::Won } else { Outcome::NotHappened }
    }

    /// An attempt is closed: take note, and let the request that made it go on.
    pub(super) fn closed(&mut self, (open, outcome): Closed, now: Tick) {
        let (transition, version) = (open.transition.name(), open.wanted.version);
        let won = outcome == Outcome::Won;
        if won {
            self.note(Note::Won { transition, version });
        } else {
            self.note(Note::Lost { transition, version });
        }
        let epoch = open.wanted.epoch;
        let earned = Claim { epoch, gated: false, moved: false };
        match open.transition {
            Transition::Start if won && !open.adopted => self.claim = Some(earned),
            Transition::Force if won => self.claim = Some(earned),
            Transition::Takeover if won && self.completes_takeover(&open) => {
                self.claim = Some(Claim { gated: !self.was_released(&open), ..earned });
            }
            Transition::Move if won => {
                self.moved_away = Some(version);
                self.claim = None;
            }
            Transition::Stop if won => self.claim = None,
            _ => {} // A move that did not happen leaves the claim: the engine serves again.
        }
        self.op_closed(&open, won, now);
    }

    /// After a restart of the daemon: the mark proves that the host has not rebooted since (R42).
    fn completes_takeover(&mut self, open: &Open) -> bool {
        if !open.adopted {
            return true;
        }
        let boot = self.settings.boot;
        let mark = self.engine.status.as_ref().and_then(|status| status.mark);
        mark.is_some_and(|mark| {
            mark.boot == boot && open.wanted.volumes.iter().all(|v| v.parent == mark.generation)
        })
    }

    /// The engine could not store an attempt: nothing was sent, nothing is open.
    pub(super) fn attempt_refused(&mut self, word: String, now: Tick) {
        if self.open.as_ref().is_none_or(|open| open.sent > 0) {
            return;
        }
        self.open = None;
        self.needs_at = now.after(self.times().arbiter_attempt);
        match &mut self.op {
            Some(op) if op.phase == Phase::Store => {
                op.unstored = true;
                op.phase = Phase::Demote;
            }
            Some(op) if op.phase == Phase::Swap => {
                self.finish(Err(Refused::Engine(word)), now);
            }
            _ => {}
        }
    }
}

/// Which transition an attempt of an earlier daemon is.
fn classify(node: NodeId, seen: Option<&VolumeRecord>, wanted: &VolumeRecord) -> Transition {
    let raised = seen.is_none_or(|seen| wanted.epoch > seen.epoch);
    let was_peers = seen.is_none_or(|seen| seen.primary == Some(node.peer()));
    match wanted.primary {
        _ if wanted.version == Version(1) => Transition::Create,
        _ if wanted.forced => Transition::Force,
        None => Transition::Stop,
        Some(owner) if owner != node => Transition::Move,
        Some(_) if raised && was_peers => Transition::Takeover,
        Some(_) if raised => Transition::Start,
        Some(_) if wanted.members == Members::BOTH => Transition::Grow,
        Some(_) => Transition::Shrink,
    }
}

/// Whether a role answers clients.
pub(super) const fn serves(role: Role) -> bool {
    matches!(role, Role::Primary | Role::Demoting)
}
