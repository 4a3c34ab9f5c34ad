//! What an owner does without being asked: serve what it may serve, shrink, grow, hand over.

use super::Decider;
use super::state::{Claim, EngineSide, Op, Phase, Purpose, serves};
use crate::decide::event::Verb;
use crate::decide::mutant::Mutant;
use crate::decide::record::Record;
use crate::decide::step::{EngineCommand, Refused, Waiting};
use crate::decide::transition::{self, Inputs, Transition};
use lockstep_engine::units::{LinkState, Need, Status, Tick};

impl Decider {
    /// Finds out whether this node may promote without an operator (§1.1, R10, R42).
    pub(super) fn observe_claim(&mut self) {
        let Some(base) = self.base() else { return };
        let stale =
            |claim: &mut Claim| base.owner != Some(self.settings.node) || claim.epoch != base.epoch;
        self.claim.take_if(stale);
        let passing_on = |op: &Op| {
            !matches!(op.phase, Phase::Check | Phase::Promote)
                || matches!(op.verb, Verb::Release | Verb::Stop)
        };
        let busy = self.open.is_some() || self.op.as_ref().is_some_and(passing_on);
        if busy || self.claim.is_some() || self.released.is_some() || !self.owns(&base) {
            return;
        }
        if self.given_up == Some(base.version) {
            return;
        }
        if !self.engines.are_there() {
            return;
        }
        // An engine that was primary in this boot shows that the host has not rebooted since, which
        // is true of all its copies.
        let boot = self.settings.boot;
        let this_boot =
            self.engines.any(|status| status.primary_boot == boot || serves(status.role));
        let resumed = this_boot || Mutant::ResumeAfterReboot.on(); // R42
        let moved = base.writer == self.me().peer() && !base.forced && self.may_accept_move(&base);
        if resumed || moved {
            self.claim = Some(Claim { epoch: base.epoch, gated: false, moved: !resumed });
        }
    }

    /// A move to this node counts in the life that could accept it: the in-sync marks show that the
    /// host has not rebooted since, or this decider has itself moved the group away before.
    fn may_accept_move(&self, base: &Record) -> bool {
        let boot = self.settings.boot;
        let marked = base.volumes.iter().all(|entry| {
            let engine = self.engines.of(entry.volume);
            let mark = engine.and_then(|engine| engine.status.as_ref()?.mark);
            mark.is_some_and(|mark| mark.boot == boot && mark.generation == entry.generation)
        });
        marked || self.moved_away.is_some_and(|version| version < base.version)
    }

    /// Promotes the engines when this node has the right to, and the record still says so: none
    /// before every one of them is there and may.
    pub(super) fn serve(&mut self, now: Tick) {
        let Some(claim) = self.claim else { return };
        self.notice_promotion(now);
        let handing_over = |op: &Op| match op.verb {
            Verb::Move | Verb::Stop | Verb::Release => op.phase != Phase::Check,
            Verb::Start { .. } | Verb::ForcePromote => op.phase == Phase::Swap,
            Verb::Create { .. } | Verb::Takeover => false,
        };
        if self.op.as_ref().is_some_and(handing_over) || self.released.is_some() {
            return;
        }
        let told =
            |p: &Purpose| matches!(p, Purpose::Promote(_) | Purpose::Learn(_) | Purpose::Fence);
        let waiting = self.engines.which(|engine| engine.is_quiet() && !engine.calling(told));
        let half_fenced = self.fenced && self.engines.any(|status| serves(status.role));
        if waiting.is_empty() || !self.engines.are_there() || half_fenced {
            return;
        }
        let Some(base) = self.base() else { return };
        let forced = self.local.as_ref().is_some_and(|local| local.nonce == base.nonce);
        if !(forced || self.open.is_none() && self.is_confirmed(&base)) {
            return;
        }
        if !self.is_of_volumes(&base) {
            return;
        }
        let inputs = self.inputs();
        let allowed = transition::may_promote(&base, self.me(), &inputs);
        if let (Err(why), false) = (allowed, base.forced) {
            let asked = self.op.is_some_and(|op| op.phase == Phase::Promote);
            if asked {
                self.finish(Err(why), now);
            }
            return;
        }
        if claim.gated && now < self.answers_over_at(now) {
            let at = self.answers_over_at(now);
            return self.wake_at(at); // R13
        }
        if base.has_both() && !self.has_lease(now) && !Mutant::ServeWithoutLease.on() {
            return self.shrink_first(&base, inputs, now);
        }
        self.leaseless_since = None;
        let unsure = base.has_both() && self.maybe_released == Some(base.version);
        if unsure && !Mutant::ResumeWhatWasReleased.on() {
            return self.write_anew(&base, now);
        }
        for volume in waiting {
            let at = self.engines.of(volume).map_or(now, |engine| engine.promote.at);
            if now < at {
                self.wake_at(at);
            } else if let Some(record) = base.for_volume(volume) {
                self.fenced = false;
                let command = EngineCommand::Promote(record);
                self.command(volume, Purpose::Promote(record), command, now);
            }
        }
    }

    /// An engine has refused and this node has given up: what serves without it goes to rest, since
    /// the group can't use it.
    pub(super) fn stand_down(&mut self, now: Tick) {
        let idle = self.op.is_none() && self.open.is_none() && self.claim.is_none();
        let given_up = self.base().is_some_and(|base| self.given_up == Some(base.version));
        let under_way = |p: &Purpose| matches!(p, Purpose::Demote | Purpose::Fence);
        if !idle || !given_up || self.engines.calling(under_way) {
            return;
        }
        let serving = self.engines.which(EngineSide::is_serving);
        if serving.len() == self.engines.count() {
            return;
        }
        for volume in serving {
            let at = self.engines.of(volume).map_or(now, |engine| engine.other.at);
            if now < at {
                self.wake_at(at);
            } else {
                self.command(volume, Purpose::Demote, EngineCommand::Demote, now);
            }
        }
    }

    /// A strongly consistent exchange showed this very record; or (R10) nobody else can win it and
    /// all engines have it on disk.
    pub(super) fn is_confirmed(&self, base: &Record) -> bool {
        if self.arbiter.rolled_back {
            return false;
        }
        let known = self.arbiter.known.as_ref();
        let same = known.is_some_and(|known| known.nonce == base.nonce);
        if (self.arbiter.fresh && same) || Mutant::PromoteWithoutRead.on() {
            return true;
        }
        let stored =
            |engine: &EngineSide| engine.last_record().is_some_and(|seen| seen.nonce == base.nonce);
        let stored = self.engines.iter().all(stored);
        self.arbiter.failures > 0 && stored && !base.is_member(self.me().peer())
    }

    /// The peer is away, or silent because it takes over: goes on alone before it serves, instead
    /// of serving without a lease. The write decides who is first.
    fn shrink_first(&mut self, base: &Record, inputs: Inputs, now: Tick) {
        let patience = self.times().link_dead.plus(self.times().grace);
        let at = self.leaseless_since.get_or_insert(now).after(patience);
        if now < at {
            return self.wake_at(at);
        }
        if now < self.needs_at {
            return self.wake_at(self.needs_at);
        }
        let author = self.author();
        if let Ok(next) = transition::shrink(base, author, &inputs) {
            self.begin(Transition::Shrink, Some(base.clone()), next);
            self.drive_open(now);
        }
    }

    /// This version may have been released, and the peer may hear of it or act on it late.
    /// The same record one version higher is one that nobody has released; whoever writes first on
    /// the old one decides.
    pub(super) fn write_anew(&mut self, base: &Record, now: Tick) {
        if now < self.needs_at {
            return self.wake_at(self.needs_at);
        }
        if self.open.is_some() {
            return;
        }
        let author = self.author();
        let next = transition::close(base, author);
        self.begin(Transition::Close, Some(base.clone()), next);
        self.drive_open(now);
    }

    /// The report of a promotion may be lost, as by a host that stood still: the status tells, too.
    fn notice_promotion(&mut self, now: Tick) {
        let waits = self.op.is_some_and(|op| op.phase == Phase::Promote);
        let reports = self.engines.calling(|p| matches!(p, Purpose::Promote(_)));
        let Some(base) = self.base().filter(|_| waits && !reports) else { return };
        let served = self.engines.are_primary() && self.engines.are_told(base.version);
        if served && self.owns(&base) {
            self.promoted(now);
        }
    }

    /// The engines serve under the record that they were handed.
    pub(super) fn promoted(&mut self, now: Tick) {
        if let Some(claim) = &mut self.claim {
            claim.gated = false;
            claim.moved = false;
        }
        if self.op.is_some_and(|op| op.phase == Phase::Promote) {
            self.finish(Ok(()), now);
        }
    }

    /// An engine refused to serve: whoever asked is told, and a move to this node is undone.
    pub(super) fn promote_refused(&mut self, word: String, now: Tick) {
        let moved = self.claim.is_some_and(|claim| claim.moved);
        if self.op.is_some_and(|op| op.phase == Phase::Promote) {
            self.claim = None;
            self.given_up = Some(self.highest());
            self.finish(Err(Refused::Engine(word)), now);
        }
        if !moved || self.open.is_some() {
            return; // Tried again after a growing wait.
        }
        let Some(base) = self.base() else { return };
        self.claim = None;
        self.given_up = Some(base.version);
        let heard = self.peer.heard.after(self.times().heartbeat_timeout) > now;
        let alive = self.engines.are_connected() || heard;
        if !self.engines.are_quiet() {
            // What serves already, or will, goes to rest first; then the same follows.
            let phase = Phase::Demote;
            self.op = Some(match alive {
                true => Op { phase, ..Op::own(Verb::Move, now) },
                false => Op { phase, ..Op::own(Verb::Release, now) },
            });
            return;
        }
        let inputs = Inputs { was_in_sync: true, ..self.inputs() };
        let author = self.author();
        match transition::move_(&base, author, &inputs) {
            Ok(next) if alive => self.begin(Transition::Move, Some(base), next),
            _ => self.announce(Some(base.version)),
        }
    }

    /// What the engines ask for: each for its volume, all in one write of the group's record. A
    /// disk that failed comes before answers that are held, and those before a second copy.
    pub(super) fn needs(&mut self, now: Tick) {
        let Some(base) = self.base().filter(|base| self.owns(base)) else { return };
        if self.open.is_some() || self.released.is_some() || self.arbiter.rolled_back {
            return;
        }
        let careless = |status: &Status| {
            Mutant::GrowWithoutNeed.on() && status.link == LinkState::Up && status.need.is_none()
        };
        let needed = |need: Need| {
            let needs = |status: &Status| status.need == Some(need);
            let holds = |s: &Status| needs(s) || need == Need::Grow && careless(s);
            self.engines.any(|status| serves(status.role) && holds(status))
        };
        let can_pass = needed(Need::HandOver) && base.has_both();
        let (shrink, grow) = (needed(Need::Shrink), needed(Need::Grow) && !base.has_both());
        // Metadata that failed learns nothing any more; the group is handed over all the same.
        let told = self.engines.are_told(base.version);
        if !can_pass && !(told && (shrink || grow)) {
            return;
        }
        if now < self.needs_at {
            return self.wake_at(self.needs_at);
        }
        if can_pass {
            return self.hand_over(now);
        }
        let inputs = self.inputs();
        let author = self.author();
        let (transition, next) = if shrink {
            (Transition::Shrink, transition::shrink(&base, author, &inputs))
        } else {
            (Transition::Grow, transition::grow(&base, author, &inputs))
        };
        if let Ok(next) = next {
            if Mutant::LoosenBeforeShrink.on() {
                for volume in self.engines.which(|_| true) {
                    if let Some(record) = next.for_volume(volume) {
                        let command = EngineCommand::Learn(record);
                        self.command(volume, Purpose::Learn(record), command, now); // R1
                    }
                }
            }
            self.begin(transition, Some(base), next);
            self.drive_open(now);
        }
    }

    /// A disk here has failed and the peer's is good, or an engine can't serve: fence, release.
    pub(super) fn hand_over(&mut self, now: Tick) {
        if self.op.is_some() {
            return;
        }
        self.op = Some(Op { fence: true, ..Op::own(Verb::Release, now) });
        while self.op_turn(now) {}
    }

    /// Waits for the engines to have what the arbiter has.
    pub(super) fn engines_are_told(&mut self, record: &Record) -> bool {
        if self.engines.are_told(record.version) {
            return true;
        }
        self.wait(Waiting::Engine);
        false
    }
}
