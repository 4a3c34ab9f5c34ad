//! One conditional write, from its storing on the engines' disks to its closing (R4).
//! Always: nothing is sent before every engine of the group has stored its part, so that whichever
//! of them a restarted daemon finds first tells it that the version has to be closed; an attempt is
//! closed by nothing but a higher version, read or written. One that not every engine has was never
//! sent; it is closed all the same, since an engine acts on what it has stored. A closing write of
//! the unchanged record needs no storing of its own.

use super::Decider;
use super::state::{Claim, Closed, EngineSide, Outcome, Phase, Purpose, is_connected};
use crate::decide::event::{StepId, SwapResult, Verb};
use crate::decide::mutant::Mutant;
use crate::decide::record::Record;
use crate::decide::step::{EngineCommand, Note, Refused, Step};
use crate::decide::transition::{self, Transition};
use lockstep_engine::units::{
    DiskState, LinkState, Members, Need, NodeId, OpenAttempt, Status, Tick, Version, VolumeId,
    VolumeRecord,
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
    /// Every engine has its part on its disk.
    pub stored: bool,
    /// Found in the engines' superblocks: an earlier daemon's.
    pub adopted: bool,
    /// Not every engine has it: it was never sent, and `wanted` lacks volumes.
    pub partial: bool,
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

impl Open {
    fn new(transition: Transition, base: Option<Record>, wanted: Record) -> Open {
        Open {
            transition,
            expected: base.as_ref().map_or(Version(0), |record| record.version),
            base,
            wanted,
            closer: None,
            stored: false,
            adopted: false,
            partial: false,
            held: false,
            sent: 0,
            out: VecDeque::new(),
            current: None,
            until: Tick(0),
            noted: false,
        }
    }

    /// A forced record that the engines serve under already; it still has to reach the arbiter.
    pub fn forced(base: Record, wanted: Record) -> Open {
        Open { stored: true, ..Open::new(Transition::Force, Some(base), wanted) }
    }
}

impl Decider {
    /// Opens an attempt; its request follows when every engine has stored it.
    pub(super) fn begin(&mut self, transition: Transition, base: Option<Record>, wanted: Record) {
        assert!(self.open.is_none(), "one attempt at a time");
        self.open = Some(Open::new(transition, base, wanted));
    }

    /// An attempt of an earlier daemon, or one whose confirmation was lost with an engine. Any
    /// engine that has stored it makes it open.
    pub(super) fn adopt_attempts(&mut self) {
        let known = self.arbiter.known.as_ref().map_or(Version(0), |record| record.version);
        let found = self.engines.statuses().flat_map(|status| status.attempts.iter());
        let Some(newest) = found.max_by_key(|attempt| attempt.expected).copied() else { return };
        if newest.expected < known {
            return; // All of them are closed: `learn` tells the engines.
        }
        let growing = self
            .open
            .as_ref()
            .is_some_and(|open| open.partial && open.wanted.nonce == newest.wanted.nonce);
        if self.open.is_some() && !growing {
            return; // Ours, or closed by what closes ours.
        }
        let part = |status: &Status| {
            let same = |attempt: &&OpenAttempt| attempt.wanted.nonce == newest.wanted.nonce;
            let attempt = status.attempts.iter().find(same)?;
            Some((status.volume, attempt.wanted))
        };
        let parts: Vec<(VolumeId, VolumeRecord)> =
            self.engines.statuses().filter_map(part).collect();
        let settings = &self.settings;
        let head = newest.wanted;
        let record = Record::of_parts(settings.cluster, settings.group, &head, &parts);
        let partial = parts.len() < self.engines.count();
        if let Some(open) = &mut self.open {
            // Another engine is back and has its part.
            open.partial = partial;
            open.wanted = record;
            return;
        }
        let base = self.arbiter.known.clone().filter(|known| known.version == newest.expected);
        let seen = |volume: VolumeId| {
            let seen = self.engines.of(volume).and_then(EngineSide::last_record);
            seen.filter(|seen| seen.version == newest.expected).copied()
        };
        let parts: Vec<_> = parts.iter().map(|(volume, part)| (seen(*volume), *part)).collect();
        let transition = classify(settings.node, &parts);
        self.open = Some(Open {
            expected: newest.expected,
            base,
            stored: true,
            adopted: true,
            partial,
            sent: 1,
            ..Open::new(transition, None, record)
        });
        self.doubt();
    }

    /// Does the next thing for the open attempt: store it, send it, or wait.
    pub(super) fn drive_open(&mut self, now: Tick) {
        let Some(open) = &self.open else { return };
        if !open.stored && !Mutant::SwapBeforeAttemptStored.on() {
            self.store_open(now);
        }
        let Some(open) =
            self.open.as_ref().filter(|open| open.stored || Mutant::SwapBeforeAttemptStored.on())
        else {
            return;
        };
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

    /// Has every engine store its part. What is held back and not sent is stored on those that are
    /// there: a release does not wait for an engine that has gone.
    fn store_open(&mut self, now: Tick) {
        let Some(open) = &self.open else { return };
        if !(self.engines.are_there() || open.held && !self.engines.are_away()) {
            return;
        }
        let mut missing = Vec::new();
        for engine in self.engines.iter() {
            let Some(status) = &engine.status else { continue };
            let Some(wanted) = open.wanted.for_volume(engine.volume) else { return };
            let attempt = OpenAttempt { expected: open.expected, wanted };
            if !status.attempts.contains(&attempt) {
                let asking = engine.calling(|purpose| *purpose == Purpose::Attempt);
                missing.push((engine.volume, attempt, asking));
            }
        }
        if missing.is_empty()
            && let Some(open) = &mut self.open
        {
            open.stored = true;
        }
        for (volume, attempt, asking) in missing {
            if !asking {
                self.command(volume, Purpose::Attempt, EngineCommand::Attempt(attempt), now);
            }
        }
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
    /// one closes it as well.
    fn still_wanted(&self, now: Tick) -> bool {
        let Some(open) = &self.open else { return false };
        if open.partial {
            return false; // Nobody knows all of it, and nobody has sent it.
        }
        let swapping = |verb: fn(&Verb) -> bool| {
            self.op.as_ref().is_some_and(|op| op.phase == Phase::Swap && verb(&op.verb))
        };
        let quiet = self.engines.are_quiet();
        match open.transition {
            Transition::Create | Transition::Force | Transition::Close => true,
            Transition::Shrink => {
                self.all_changed(open, |status| status.need == Some(Need::Shrink))
                    || (quiet && self.claim.is_some() && !self.has_lease(now))
            }
            Transition::Grow => {
                self.all_changed(open, |status| status.need == Some(Need::Grow))
                    || Mutant::GrowWithoutNeed.on()
            }
            Transition::Takeover => {
                let evident = open.base.as_ref().is_some_and(|base| self.evident(base, now));
                swapping(|verb| matches!(verb, Verb::Takeover))
                    && !open.adopted
                    && self.engines.are_silent()
                    && evident
            }
            Transition::Start => {
                // Alone only beside a peer that can't be made equal.
                let lonely = |status: &Status| {
                    let spoiled =
                        |disk| matches!(disk, DiskState::Inconsistent | DiskState::Failed);
                    let useless = is_connected(status) && status.peer_disk.is_some_and(spoiled);
                    status.link == LinkState::Down || useless || status.reconcile_stuck
                };
                swapping(|verb| matches!(verb, Verb::Start { .. }))
                    && !open.adopted
                    && open.base.is_some()
                    && self.all_changed(open, lonely)
            }
            Transition::Move => {
                (quiet && self.engines.are_connected()) || Mutant::MoveBeforeDemote.on()
            }
            // A stop stored for a release of an earlier daemon: with a copy that can't serve, the
            // group is better released again than left to nobody.
            Transition::Stop => quiet && !(open.adopted && self.engines.any_spoiled()),
        }
    }

    /// Whether this holds for the engine of every volume whose members the attempt changes.
    fn all_changed(&self, open: &Open, holds: impl Fn(&Status) -> bool) -> bool {
        let Some(base) = &open.base else { return false };
        base.volumes.iter().all(|entry| {
            let wanted = open.wanted.for_volume(entry.volume);
            let same = wanted.is_some_and(|wanted| wanted.members == entry.members);
            let engine = self.engines.of(entry.volume);
            same || engine.and_then(|engine| engine.status.as_ref()).is_some_and(&holds)
        })
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
        open.wanted.volumes.iter().all(|entry| {
            let engine = self.engines.of(entry.volume);
            let mark = engine.and_then(|engine| engine.status.as_ref()?.mark);
            mark.is_some_and(|mark| mark.boot == boot && entry.parent == mark.generation)
        })
    }

    /// An engine could not store its part of an attempt: nothing was sent. What others have stored
    /// is closed as a restarted daemon would do it.
    pub(super) fn attempt_refused(&mut self, word: String, now: Tick) {
        let Some(open) = self.open.as_mut().filter(|open| !open.stored && open.sent == 0) else {
            return;
        };
        if let Some(op) = self.op.as_mut().filter(|op| op.phase == Phase::Store) {
            op.unstored = true;
            op.phase = Phase::Demote;
            let asking = self.engines.calling(|purpose| *purpose == Purpose::Attempt);
            if asking || self.engines.any(|status| has_attempt(status, open)) {
                open.stored = true; // Held back where it is stored.
                return;
            }
        }
        self.open = None;
        self.needs_at = now.after(self.times().arbiter_attempt);
        if self.op.is_some_and(|op| op.phase == Phase::Swap) {
            self.finish(Err(Refused::Engine(word)), now);
        }
        self.adopt_attempts();
    }
}

fn has_attempt(status: &Status, open: &Open) -> bool {
    status.attempts.iter().any(|attempt| attempt.wanted.nonce == open.wanted.nonce)
}

/// Which transition an attempt of an earlier daemon is, from what each engine has stored of it and
/// of the record that it is conditional on.
fn classify(node: NodeId, parts: &[(Option<VolumeRecord>, VolumeRecord)]) -> Transition {
    let Some((seen, wanted)) = parts.first() else { return Transition::Close };
    let raised = seen.is_none_or(|seen| wanted.epoch > seen.epoch);
    let was_peers = seen.is_none_or(|seen| seen.primary == Some(node.peer()));
    let shrinks = |(seen, wanted): &(Option<VolumeRecord>, VolumeRecord)| {
        wanted.members != Members::BOTH && seen.is_none_or(|seen| seen.members == Members::BOTH)
    };
    match wanted.primary {
        _ if wanted.version == Version(1) => Transition::Create,
        _ if wanted.forced => Transition::Force,
        None => Transition::Stop,
        Some(owner) if owner != node => Transition::Move,
        Some(_) if raised && was_peers => Transition::Takeover,
        Some(_) if raised => Transition::Start,
        Some(_) if parts.iter().any(shrinks) => Transition::Shrink,
        Some(_) => Transition::Grow,
    }
}
