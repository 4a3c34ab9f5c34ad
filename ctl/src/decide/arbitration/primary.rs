//! What an owner does without being asked: serve what it may serve, shrink, grow, hand over.

use super::Decider;
use super::attempt::serves;
use super::state::{Claim, Op, Phase, Purpose};
use crate::decide::event::Verb;
use crate::decide::mutant::Mutant;
use crate::decide::record::Record;
use crate::decide::step::{EngineCommand, Refused, Waiting};
use crate::decide::transition::{self, Inputs, Transition};
use lockstep_engine::units::{LinkState, Need, NodeId, Role, Tick, Version};

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
        let Some(status) = &self.engine.status else { return };
        let this_boot = status.primary_boot == self.settings.boot;
        let resumed = this_boot || serves(status.role) || Mutant::ResumeAfterReboot.on(); // R42
        let moved = base.writer == self.me().peer() && !base.forced && self.may_accept_move(&base);
        if resumed || moved {
            self.claim = Some(Claim { epoch: base.epoch, gated: false, moved: !resumed });
        }
    }

    /// A move to this node counts in the life that could accept it: the in-sync mark shows that the
    /// host has not rebooted since, or this decider has itself moved the group away before.
    fn may_accept_move(&self, base: &Record) -> bool {
        let boot = self.settings.boot;
        let mark = self.engine.status.as_ref().and_then(|status| status.mark);
        let marked = mark.is_some_and(|mark| {
            mark.boot == boot && base.volumes.iter().all(|v| v.generation == mark.generation)
        });
        marked || self.moved_away.is_some_and(|version| version < base.version)
    }

    /// Promotes the engine when this node has the right to, and the record still says so.
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
        if !self.engine.is_quiet() || self.engine.calling(told) {
            return;
        }
        let Some(base) = self.base() else { return };
        let forced = self.local.as_ref().is_some_and(|local| local.nonce == base.nonce);
        if !(forced || self.open.is_none() && self.is_confirmed(&base)) {
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
        if now < self.engine.promote.at {
            let at = self.engine.promote.at;
            return self.wake_at(at);
        }
        let Some(record) = base.for_volume(self.settings.volume) else { return };
        self.fenced = false;
        self.command(Purpose::Promote(record), EngineCommand::Promote(record), now);
    }

    /// A strongly consistent exchange showed this very record; or (R10) nobody else can win it and
    /// the engine has it on disk.
    pub(super) fn is_confirmed(&self, base: &Record) -> bool {
        if self.arbiter.rolled_back {
            return false;
        }
        let known = self.arbiter.known.as_ref();
        let same = known.is_some_and(|known| known.nonce == base.nonce);
        if (self.arbiter.fresh && same) || Mutant::PromoteWithoutRead.on() {
            return true;
        }
        let stored = self.engine.last_record().is_some_and(|seen| seen.nonce == base.nonce);
        self.arbiter.failures > 0 && stored && base.is_alone(self.me())
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

    /// Whether the engine answers clients under the record of that version.
    pub(super) fn serves_at(&self, version: Version) -> bool {
        self.engine.status.as_ref().is_some_and(|status| {
            serves(status.role) && status.record.is_some_and(|seen| seen.version == version)
        })
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
        let reports = self.engine.calling(|p| matches!(p, Purpose::Promote(_)));
        let Some(base) = self.base().filter(|_| waits && !reports) else { return };
        let served = self.engine.role() == Some(Role::Primary) && self.serves_at(base.version);
        if served && self.owns(&base) {
            self.promoted(now);
        }
    }

    /// The engine serves under the record that it was handed.
    pub(super) fn promoted(&mut self, now: Tick) {
        if let Some(claim) = &mut self.claim {
            claim.gated = false;
            claim.moved = false;
        }
        if self.op.is_some_and(|op| op.phase == Phase::Promote) {
            self.finish(Ok(()), now);
        }
    }

    /// The engine refused to serve: whoever asked is told, and a move to this node is undone.
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
        let alive = self.engine.is_connected() || heard;
        let inputs = Inputs { was_in_sync: true, ..self.inputs() };
        let author = self.author();
        match transition::move_(&base, author, &inputs) {
            Ok(next) if alive => self.begin(Transition::Move, Some(base), next),
            _ => self.announce(Some(base.version)),
        }
    }

    /// What the engine asks for.
    pub(super) fn needs(&mut self, now: Tick) {
        let Some(status) = &self.engine.status else { return };
        let careless = Mutant::GrowWithoutNeed.on() && status.link == LinkState::Up;
        let need = status.need.or(careless.then_some(Need::Grow));
        let Some(need) = need.filter(|_| serves(status.role)) else { return };
        let Some(base) = self.base().filter(|base| self.owns(base)) else { return };
        // Metadata that failed learns nothing any more; the group is handed over all the same.
        let told = need == Need::HandOver
            || status.record.is_some_and(|seen| seen.version == base.version);
        if !told || self.open.is_some() || self.released.is_some() || self.arbiter.rolled_back {
            return;
        }
        if now < self.needs_at {
            return self.wake_at(self.needs_at);
        }
        let inputs = self.inputs();
        let author = self.author();
        let me: NodeId = self.me();
        let next = match need {
            Need::Shrink if !base.is_alone(me) => {
                Some((Transition::Shrink, transition::shrink(&base, author, &inputs)))
            }
            Need::Grow if !base.has_both() => {
                Some((Transition::Grow, transition::grow(&base, author, &inputs)))
            }
            Need::HandOver if base.has_both() => {
                self.hand_over(now);
                None
            }
            _ => None,
        };
        if let Some((transition, Ok(next))) = next {
            if Mutant::LoosenBeforeShrink.on()
                && let Some(record) = next.for_volume(self.settings.volume)
            {
                self.command(Purpose::Learn(record), EngineCommand::Learn(record), now); // R1
            }
            self.begin(transition, Some(base), next);
            self.drive_open(now);
        }
    }

    /// The disk here has failed and the peer's is good: fence, release.
    pub(super) fn hand_over(&mut self, now: Tick) {
        if self.op.is_some() {
            return;
        }
        self.op = Some(Op { fence: true, ..Op::own(Verb::Release, now) });
        while self.op_turn(now) {}
    }

    /// Waits for the engine to have what the arbiter has.
    pub(super) fn engine_is_told(&mut self, record: &Record) -> bool {
        let seen = self.engine.last_record().map(|seen| seen.version);
        if seen == Some(record.version) {
            return true;
        }
        self.wait(Waiting::Engine);
        false
    }
}
