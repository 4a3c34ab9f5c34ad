//! The engines: their statuses, the commands to them and what comes of them.
//! Always: at most one command of a kind is under way at an engine; one that does not report in
//! time is asked for again by the rule that wanted it. What the engine confirms is entered into the
//! last status at once, so that no rule acts on a status that a reply has overtaken.

use super::attempt::Open;
use super::state::{Call, EngineSide, Phase, Purpose, serves};
use super::{Decider, GIVE_UP};
use crate::decide::event::{StepId, Verb};
use crate::decide::step::{EngineCommand, Refused, Step};
use lockstep_engine::units::{
    BootId, OpenAttempt, Role, Status, Tick, Version, VolumeId, VolumeRecord,
};

/// The engine's word for "another role change is under way".
const BUSY: &str = "busy";

impl Decider {
    pub(super) fn engine_status(&mut self, status: Status, now: Tick) {
        let known = self.arbiter.known.as_ref().map(|record| record.version);
        let Some(engine) = self.engines.of_mut(status.volume) else { return };
        let back = engine.status.is_none();
        let before = engine.last_record().map(|record| record.version).max(known);
        let served = engine.is_serving();
        if engine.start != Some(status.start) {
            engine.start = Some(status.start);
            engine.seen = now;
            engine.learn = Default::default();
            engine.promote = Default::default();
            engine.other = Default::default();
            engine.fence = Default::default();
        } else {
            engine.mark = None; // Its own engine knows better than what was kept.
        }
        if status.mark.is_some() {
            engine.mark = status.mark;
        }
        let newer = status.record.map(|record| record.version) > before;
        let stopped_serving = served && !serves(status.role);
        engine.received = now;
        engine.status = Some(status);
        let served = self.maybe_released.is_some_and(|version| self.all_serve_at(version));
        if served && self.released.is_none() {
            self.maybe_released = None; // What is released is not served.
        }
        if back || newer || stopped_serving {
            self.doubt();
        }
        self.fill_seat(now);
        self.adopt_attempts();
    }

    pub(super) fn engine_gone(&mut self, volume: VolumeId, now: Tick) {
        let Some(engine) = self.engines.of_mut(volume) else { return };
        let Some(status) = engine.status.take() else { return };
        engine.calls.clear();
        engine.away_since = now;
        engine.served = serves(status.role);
        engine.lease_until = status.lease_until.unwrap_or(Tick(0));
        engine.record = status.record;
        // What is held back is stored where it can be.
        let dropped = |open: &mut Open| !open.stored && (!open.held || self.engines.are_away());
        if self.open.take_if(dropped).is_some() {
            self.adopt_attempts(); // Whether the others have stored it, they have told.
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

    /// Whether every engine answers clients under the record of that version.
    pub(super) fn all_serve_at(&self, version: Version) -> bool {
        self.engines.all(|status| serves_at(status, version))
    }

    /// Whether an engine answers clients under the record of that version.
    pub(super) fn any_serves_at(&self, version: Version) -> bool {
        self.engines.any(|status| serves_at(status, version))
    }

    /// Sends a command to an engine and remembers what it is for.
    pub(super) fn command(
        &mut self,
        volume: VolumeId,
        purpose: Purpose,
        command: EngineCommand,
        now: Tick,
    ) {
        let id = self.next_id();
        let wait = match purpose {
            Purpose::Fence => self.times().fence,
            _ => GIVE_UP,
        };
        let Some(engine) = self.engines.of_mut(volume) else { return };
        engine.calls.insert(id, Call { purpose, deadline: now.after(wait) });
        self.steps.push_back(Step::Engine { id, volume, command });
    }

    /// Sends the same to every engine that serves.
    pub(super) fn command_serving(&mut self, purpose: Purpose, what: &EngineCommand, now: Tick) {
        for volume in self.engines.which(EngineSide::is_serving) {
            self.command(volume, purpose, what.clone(), now);
        }
    }

    pub(super) fn expire_calls(&mut self, now: Tick) {
        let mut demotes = 0;
        for engine in self.engines.iter_mut() {
            let due = |_: &StepId, call: &mut Call| call.deadline <= now;
            let late = engine.calls.extract_if(.., due);
            demotes += late.filter(|(_, call)| call.purpose == Purpose::Demote).count();
        }
        if demotes > 0 {
            self.demote_refused("no-answer".to_owned(), now);
        } // The others are asked for again by their rules.
        let deadlines = self.engines.iter().flat_map(|engine| engine.calls.values());
        if let Some(at) = deadlines.map(|call| call.deadline).min() {
            self.wake_at(at);
        }
    }

    pub(super) fn engine_done(&mut self, id: StepId, refused: Option<String>, now: Tick) {
        let Some((volume, call)) = self.engines.take_call(id) else { return };
        match refused {
            None => self.confirmed(volume, call.purpose, now),
            Some(word) => self.refused(volume, call.purpose, word, now),
        }
    }

    fn confirmed(&mut self, volume: VolumeId, purpose: Purpose, now: Tick) {
        let boot = self.settings.boot;
        let Some(engine) = self.engines.of_mut(volume) else { return };
        match purpose {
            Purpose::Learn(record) => {
                engine.learn = Default::default();
                engine.learn_refused = None;
                self.stored_record(volume, record);
            }
            Purpose::Promote(record) => {
                engine.promote = Default::default();
                if let Some(status) = &mut engine.status {
                    status.role = Role::Primary;
                    status.primary_boot = boot;
                }
                self.stored_record(volume, record);
                if self.engines.are_primary() {
                    self.promoted(now);
                }
            }
            Purpose::Demote | Purpose::Fence => {
                let orderly = purpose == Purpose::Demote;
                let Some(status) = &mut engine.status else { return };
                status.role = Role::Secondary;
                if orderly {
                    // Drained, flushed, intent retired: the engine's next status says so too.
                    status.primary_boot = BootId::NONE;
                    status.hot_regions = 0;
                    status.dirty_blocks = 0;
                }
                self.doubt();
            }
            Purpose::Attempt => self.attempt_stored(volume),
            Purpose::Prepare => {
                if let Some(status) = &mut engine.status {
                    // The next status names the tick of the last answer; it is no later than now.
                    if !status.silent {
                        status.pong_sent = Some(now);
                    }
                    status.silent = true;
                }
            }
            Purpose::Cancel => {
                if let Some(status) = &mut engine.status {
                    status.silent = false;
                }
            }
            Purpose::Mark(mark) => {
                if let Some(status) = &mut engine.status {
                    status.mark = Some(mark);
                }
            }
        }
    }

    fn attempt_stored(&mut self, volume: VolumeId) {
        let Some(open) = &self.open else { return };
        let (expected, wanted) = (open.expected, open.wanted.for_volume(volume));
        let engine = self.engines.of_mut(volume);
        if let (Some(engine), Some(wanted)) = (engine, wanted)
            && let Some(status) = &mut engine.status
        {
            let attempt = OpenAttempt { expected, wanted };
            if !status.attempts.contains(&attempt) {
                status.attempts.push(attempt);
            }
        }
    }

    fn stored_record(&mut self, volume: VolumeId, record: VolumeRecord) {
        let me = self.me();
        let Some(engine) = self.engines.of_mut(volume) else { return };
        let Some(status) = &mut engine.status else { return };
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

    fn refused(&mut self, volume: VolumeId, purpose: Purpose, word: String, now: Tick) {
        let first = self.times().arbiter_attempt;
        let Some(engine) = self.engines.of_mut(volume) else { return };
        match purpose {
            Purpose::Learn(_) => {
                engine.learn.failed(first, now);
                engine.learn_refused = Some(word);
            }
            Purpose::Promote(_) => {
                engine.promote.failed(first, now);
                if word != BUSY {
                    self.promote_refused(word, now);
                }
            }
            Purpose::Demote => {
                engine.other.failed(first, now);
                self.demote_refused(word, now);
            }
            Purpose::Attempt => self.attempt_refused(word, now),
            Purpose::Prepare => {
                engine.other.failed(first, now);
                if self.op.is_some_and(|op| op.phase == Phase::Prepare) {
                    self.finish(Err(Refused::Engine(word)), now);
                }
            }
            Purpose::Mark(_) => engine.mark = None,
            Purpose::Fence => engine.fence.at = now.after(first),
            Purpose::Cancel => engine.other.failed(first, now),
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
    pub(super) fn give_marks(&mut self, now: Tick) {
        let boot = self.settings.boot;
        let lost = |engine: &EngineSide| {
            let mark = engine.mark.filter(|mark| mark.boot == boot)?;
            let calling = engine.calling(|purpose| matches!(purpose, Purpose::Mark(_)));
            let lacks = engine.status.as_ref().is_some_and(|status| status.mark.is_none());
            (lacks && !calling).then_some((engine.volume, mark))
        };
        let lost: Vec<_> = self.engines.iter().filter_map(lost).collect();
        for (volume, mark) in lost {
            self.command(volume, Purpose::Mark(mark), EngineCommand::Mark(mark), now);
        }
    }

    /// Each engine learns every record that is newer than its own, and what closes its attempts.
    pub(super) fn learn(&mut self, now: Tick) {
        let Some(known) = &self.arbiter.known else { return };
        let mut due = Vec::new();
        let mut later = None;
        for engine in self.engines.iter() {
            let Some(status) = &engine.status else { continue };
            let Some(record) = known.for_volume(engine.volume) else { continue };
            let has = status.record.map(|seen| seen.version);
            let closes = status.attempts.iter().any(|attempt| attempt.expected < record.version);
            let told = has > Some(record.version) || (has == Some(record.version) && !closes);
            let learns =
                |purpose: &Purpose| matches!(purpose, Purpose::Learn(_) | Purpose::Promote(_));
            if told || engine.calling(learns) {
                continue;
            }
            if now < engine.learn.at {
                later = Some(later.map_or(engine.learn.at, |at: Tick| at.min(engine.learn.at)));
            } else {
                due.push((engine.volume, record));
            }
        }
        for (volume, record) in due {
            self.command(volume, Purpose::Learn(record), EngineCommand::Learn(record), now);
        }
        if let Some(at) = later {
            self.wake_at(at);
        }
    }
}

fn serves_at(status: &Status, version: Version) -> bool {
    serves(status.role) && status.record.is_some_and(|seen| seen.version == version)
}
