//! The engine: its status, the commands to it and what comes of them.
//! Always: at most one command of a kind is under way; one that does not report in time is asked
//! for again by the rule that wanted it. What the engine confirms is entered into the last status
//! at once, so that no rule acts on a status that a reply has overtaken.

use super::attempt::{Stored, serves};
use super::state::{Call, Phase, Purpose};
use super::{Decider, GIVE_UP};
use crate::decide::event::{StepId, Verb};
use crate::decide::step::{EngineCommand, Refused, Step};
use lockstep_engine::units::{BootId, OpenAttempt, Role, Status, Tick, VolumeRecord};

/// The engine's word for "another role change is under way".
const BUSY: &str = "busy";

impl Decider {
    pub(super) fn engine_status(&mut self, status: Status, now: Tick) {
        let back = self.engine.status.is_none();
        let known = self.arbiter.known.as_ref().map(|record| record.version);
        let before = self.engine.last_record().map(|record| record.version).max(known);
        let served = self.engine.role().is_some_and(serves);
        if self.engine.start != Some(status.start) {
            self.engine.start = Some(status.start);
            self.engine.seen = now;
            self.engine.learn = Default::default();
            self.engine.promote = Default::default();
            self.engine.other = Default::default();
            self.engine.fence = Default::default();
        } else {
            self.engine.mark = None; // Its own engine knows better than what was kept.
        }
        if status.mark.is_some() {
            self.engine.mark = status.mark;
        }
        let newer = status.record.map(|record| record.version) > before;
        let stopped_serving = served && !serves(status.role);
        self.engine.received = now;
        let attempts = status.attempts.clone();
        self.engine.status = Some(status);
        let served = self.maybe_released.is_some_and(|version| self.serves_at(version));
        if served && self.released.is_none() {
            self.maybe_released = None; // What is released is not served.
        }
        if back || newer || stopped_serving {
            self.doubt();
        }
        self.adopt_attempts(&attempts);
    }

    pub(super) fn engine_gone(&mut self, now: Tick) {
        let Some(status) = self.engine.status.take() else { return };
        self.engine.calls.clear();
        self.engine.away_since = now;
        self.engine.served = serves(status.role);
        self.engine.lease_until = status.lease_until.unwrap_or(Tick(0));
        self.engine.record = status.record;
        if self.open.as_ref().is_some_and(|open| open.stored != Stored::Yes) {
            self.open = None; // Whether it was stored, the next status tells.
        }
        let Some(op) = &mut self.op else { return };
        match (op.verb, op.phase) {
            (Verb::Move, Phase::Demote | Phase::Demoted) => {
                self.finish(Err(Refused::EngineAway), now);
            }
            (_, Phase::Swap | Phase::Promote) if self.open.is_some() || self.claim.is_some() => {}
            _ => {
                op.phase = Phase::Check;
                op.asked = now;
            }
        }
    }

    /// Sends a command and remembers what it is for.
    pub(super) fn command(&mut self, purpose: Purpose, command: EngineCommand, now: Tick) {
        let id = self.next_id();
        let wait = match purpose {
            Purpose::Fence => self.times().fence,
            _ => GIVE_UP,
        };
        self.engine.calls.insert(id, Call { purpose, deadline: now.after(wait) });
        self.steps.push_back(Step::Engine { id, command });
    }

    pub(super) fn expire_calls(&mut self, now: Tick) {
        let due = |call: &Call| call.deadline <= now;
        let late: Vec<StepId> =
            self.engine.calls.iter().filter(|(_, call)| due(call)).map(|(id, _)| *id).collect();
        for id in late {
            let Some(call) = self.engine.calls.remove(&id) else { continue };
            match (call.purpose, &mut self.open) {
                (Purpose::Attempt, Some(open)) if open.stored == Stored::Asking => {
                    open.stored = Stored::No;
                }
                (Purpose::Demote, _) => self.demote_refused("no-answer".to_owned(), now),
                _ => {} // Asked for again by its rule.
            }
        }
        if let Some(at) = self.engine.calls.values().map(|call| call.deadline).min() {
            self.wake_at(at);
        }
    }

    pub(super) fn engine_done(&mut self, id: StepId, refused: Option<String>, now: Tick) {
        let Some(call) = self.engine.calls.remove(&id) else { return };
        match refused {
            None => self.confirmed(call.purpose, now),
            Some(word) => self.refused(call.purpose, word, now),
        }
    }

    fn confirmed(&mut self, purpose: Purpose, now: Tick) {
        match purpose {
            Purpose::Learn(record) => {
                self.engine.learn = Default::default();
                self.engine.learn_refused = None;
                self.stored_record(record);
            }
            Purpose::Promote(record) => {
                self.engine.promote = Default::default();
                self.stored_record(record);
                if let Some(status) = &mut self.engine.status {
                    status.role = Role::Primary;
                    status.primary_boot = self.settings.boot;
                }
                self.promoted(now);
            }
            Purpose::Demote | Purpose::Fence => {
                let orderly = purpose == Purpose::Demote;
                let Some(status) = &mut self.engine.status else { return };
                status.role = Role::Secondary;
                if orderly {
                    // Drained, flushed, intent retired: the engine's next status says so too.
                    status.primary_boot = BootId::NONE;
                    status.hot_regions = 0;
                    status.dirty_blocks = 0;
                }
                self.doubt();
            }
            Purpose::Attempt => self.attempt_stored(),
            Purpose::Prepare => {
                if let Some(status) = &mut self.engine.status {
                    // The next status names the tick of the last answer; it is no later than now.
                    if !status.silent {
                        status.pong_sent = Some(now);
                    }
                    status.silent = true;
                }
            }
            Purpose::Cancel => {
                if let Some(status) = &mut self.engine.status {
                    status.silent = false;
                }
            }
            Purpose::Mark(mark) => {
                if let Some(status) = &mut self.engine.status {
                    status.mark = Some(mark);
                }
            }
        }
    }

    fn attempt_stored(&mut self) {
        let volume = self.settings.volume;
        let Some(open) = &mut self.open else { return };
        open.stored = Stored::Yes;
        let (expected, wanted) = (open.expected, open.wanted.for_volume(volume));
        if let (Some(status), Some(wanted)) = (&mut self.engine.status, wanted) {
            let attempt = OpenAttempt { expected, wanted };
            if !status.attempts.contains(&attempt) {
                status.attempts.push(attempt);
            }
        }
    }

    fn stored_record(&mut self, record: VolumeRecord) {
        let me = self.me();
        let Some(status) = &mut self.engine.status else { return };
        if status.record.is_some_and(|seen| seen.version > record.version) {
            return;
        }
        status.record = Some(record);
        status.epoch = record.epoch;
        status.attempts.retain(|attempt| attempt.expected >= record.version);
        if record.primary == Some(me.peer()) {
            status.role = Role::Secondary;
        }
        if record.primary == Some(me) && !record.members.contains(me.peer()) {
            status.lease_until = None;
        }
    }

    fn refused(&mut self, purpose: Purpose, word: String, now: Tick) {
        let first = self.times().arbiter_attempt;
        match purpose {
            Purpose::Learn(_) => {
                self.engine.learn.failed(first, now);
                self.engine.learn_refused = Some(word);
            }
            Purpose::Promote(_) => {
                self.engine.promote.failed(first, now);
                if word != BUSY {
                    self.promote_refused(word, now);
                }
            }
            Purpose::Demote => self.demote_refused(word, now),
            Purpose::Attempt => self.attempt_refused(word, now),
            Purpose::Prepare => {
                self.engine.other.failed(first, now);
                if self.op.is_some_and(|op| op.phase == Phase::Prepare) {
                    self.finish(Err(Refused::Engine(word)), now);
                }
            }
            Purpose::Mark(_) => self.engine.mark = None,
            Purpose::Fence => self.engine.fence.at = now.after(first),
            Purpose::Cancel => self.engine.other.failed(first, now),
        }
    }

    fn demote_refused(&mut self, word: String, now: Tick) {
        let Some(op) = &mut self.op else { return };
        if op.phase != Phase::Demote {
            return;
        }
        if matches!(op.verb, Verb::Release) && !op.unstored {
            op.fence = true; // It is given up either way.
        } else {
            self.finish(Err(Refused::Engine(word)), now);
        }
    }

    /// R42: a restarted engine gets back the mark that its predecessor held in this boot.
    pub(super) fn give_mark(&mut self, now: Tick) {
        let Some(status) = &self.engine.status else { return };
        let Some(mark) = self.engine.mark.filter(|mark| mark.boot == self.settings.boot) else {
            return;
        };
        if status.mark.is_none() && !self.engine.calling(|p| matches!(p, Purpose::Mark(_))) {
            self.command(Purpose::Mark(mark), EngineCommand::Mark(mark), now);
        }
    }

    /// The engine learns every record that is newer than its own, and what closes its attempts.
    pub(super) fn learn(&mut self, now: Tick) {
        let Some(status) = &self.engine.status else { return };
        let Some(known) = &self.arbiter.known else { return };
        let Some(record) = known.for_volume(self.settings.volume) else { return };
        let has = status.record.map(|seen| seen.version);
        let closes = status.attempts.iter().any(|attempt| attempt.expected < record.version);
        if has > Some(record.version) || (has == Some(record.version) && !closes) {
            return;
        }
        if self.engine.calling(|p| matches!(p, Purpose::Learn(_) | Purpose::Promote(_))) {
            return;
        }
        let at = self.engine.learn.at;
        if now < at {
            return self.wake_at(at);
        }
        self.command(Purpose::Learn(record), EngineCommand::Learn(record), now);
    }
}
