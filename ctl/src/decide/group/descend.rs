//! Downwards: resources go off in reverse order, then arbitration passes ownership on.
//! Always: arbitration is asked only when nothing of the group is left here; one that can't be
//! stopped keeps this node the owner.

use super::event::{Around, Note, Part, Refused, Step};
use super::state::{Ending, Power, State};
use super::{CLAIM_AGAIN_MAX, Group};
use crate::decide::event::Verb;
use crate::decide::mutant::Mutant;
use crate::decide::settings::{FinalAction, ResourceIndex};
use crate::decide::step;
use lockstep_engine::units::{Span, Tick};

impl Group {
    /// Begins to bring the group down.
    pub(super) fn fall(&mut self, ending: Ending, now: Tick) {
        self.ending = ending;
        for resource in &mut self.resources {
            resource.bounce = false;
            resource.given_up = false;
        }
        self.enter(State::Falling, now);
    }

    pub(super) fn descend(&mut self, around: &Around, now: Tick) {
        let set: Vec<usize> = self.ours().collect();
        if self.take_down(&set, now) || Mutant::PassWhileOn.on() {
            return self.pass(around, now);
        }
        let busy = self.ours().any(|index| self.is_busy(index));
        if self.is_unstoppable() && !busy {
            self.get_stuck(now);
        }
    }

    pub(super) fn is_unstoppable(&self) -> bool {
        self.resources.iter().any(|resource| resource.power == Power::Unstoppable)
    }

    /// It must not run twice: nothing is passed on, and its final action is due.
    fn get_stuck(&mut self, now: Tick) {
        self.enter(State::Stuck, now);
        let stuck = |index: &usize| self.resources[*index].power == Power::Unstoppable;
        let Some(index) = self.ours().find(stuck) else { return };
        let resource = ResourceIndex(index);
        let cause = self.resources[index].failure.clone().unwrap_or_default();
        self.answer(Err(Refused::StopFailed { resource, cause }));
        let action = self.settings.resources[index].stop_failed;
        self.note(Note::Final { resource: Some(resource), action });
        match action {
            // There is no group to stop: it has just shown that it can't be.
            FinalAction::None | FinalAction::StopGroup => {}
            _ => self.steps.push_back(Step::Final(action)),
        }
    }

    /// All is off: ownership goes where the ending says.
    pub(super) fn pass(&mut self, around: &Around, now: Tick) {
        let off = self.all_off() || Mutant::PassWhileOn.on(); // §1.1
        assert!(off, "nothing is passed on while a resource may be on");
        self.enter(State::Passing, now);
        if around.owner != Some(self.node) {
            self.answer(Err(Refused::Lost));
            return self.enter(State::Down, now);
        }
        let verb = match self.ending {
            Ending::Stop => Verb::Stop,
            Ending::Move | Ending::FailOver => Verb::Move,
            Ending::Release => Verb::Release,
        };
        self.arbitrate(verb);
    }

    pub(super) fn arbitrate(&mut self, verb: Verb) {
        self.arbitrating = true;
        self.steps.push_back(Step::Arbitrate { verb });
    }

    /// Arbitration has answered.
    pub(super) fn arbitrated(
        &mut self,
        result: Result<(), step::Refused>,
        around: &Around,
        now: Tick,
    ) {
        self.arbitrating = false;
        match self.state {
            State::Passing => self.passed(result, around, now),
            State::Claiming => self.claimed(result, now),
            _ => {}
        }
    }

    fn passed(&mut self, result: Result<(), step::Refused>, around: &Around, now: Tick) {
        let Err(why) = result else {
            self.refused = None;
            self.answer(Ok(()));
            return self.enter(State::Down, now);
        };
        if self.ending == Ending::FailOver && around.both {
            self.ending = Ending::Release;
            return self.arbitrate(Verb::Release);
        }
        self.put_off(why.clone(), now);
        self.answer(Err(Refused::Arbitration(why)));
        self.enter(State::Down, now);
    }

    fn claimed(&mut self, result: Result<(), step::Refused>, now: Tick) {
        match result {
            Ok(()) | Err(step::Refused::AlreadyPrimary) => self.refused = None,
            Err(why) => {
                self.put_off(why.clone(), now);
                self.answer(Err(Refused::Arbitration(why)));
            }
        }
        self.enter(State::Down, now);
    }

    /// Tried again after a wait that doubles, or at once when something has changed.
    fn put_off(&mut self, why: step::Refused, now: Tick) {
        let first = self.times.heartbeat_timeout.0;
        let wait = Span(first << self.claims_refused.min(6)).min(CLAIM_AGAIN_MAX);
        let wait = if Mutant::ClaimOnce.on() { Span(u64::MAX / 4) } else { wait };
        self.claims_refused = self.claims_refused.saturating_add(1);
        self.claim_at = now.after(wait);
        if self.refused.as_ref() != Some(&why) {
            self.note(Note::NotOwner(why.clone()));
        }
        self.refused = Some(why);
    }

    /// Where a group goes when the cluster service stops here.
    pub(in crate::decide) fn ending_by_leave(&self, around: &Around) -> Ending {
        let on = self.settings.failover_auto && !self.held_down && !self.stopped;
        let passes = on && self.can_pass(around).is_ok();
        if passes && around.part != Part::Suspended { Ending::FailOver } else { Ending::Stop }
    }
}
