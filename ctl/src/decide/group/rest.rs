//! A group that is down here: when this node starts it, takes it over, or ends an ownership that
//! it does not use. Nothing here is asked of a person.

use super::event::{Around, Engines, Part, Refused};
use super::state::{Ending, State};
use super::{ENGINE_PATIENCE, Group, OWNER_PATIENCE, START_PATIENCE};
use crate::decide::event::Verb;
use crate::decide::mutant::Mutant;
use crate::decide::step;
use lockstep_engine::units::Tick;

impl Group {
    pub(super) fn rest(&mut self, around: &Around, now: Tick) {
        self.resources.iter_mut().for_each(|resource| resource.failed_starts = 0);
        let Some(owner) = around.owner else { return self.rest_ownerless(around, now) };
        if owner != self.node {
            self.answer(Err(Refused::Lost));
            return self.rest_beside(around, now);
        }
        let stopped = self.stopped && !Mutant::StartWhatWasStopped.on();
        let unwanted = stopped || self.barred || around.part == Part::Stopped;
        if unwanted {
            return self.end_ownership(around, now);
        }
        let serves = around.engines == Engines::Serving || Mutant::StartBeforePromotion.on();
        if self.may_run(around) && serves {
            return self.enter(State::Rising, now);
        }
        self.rest_as_owner(around, now);
    }

    /// The other node owns it.
    fn rest_beside(&mut self, around: &Around, now: Tick) {
        let may = self.settings.failover_auto && around.part == Part::Takes && !self.barred;
        let able = around.evidence && around.engines != Engines::Away;
        if may && able && self.is_time(now) {
            self.claim(Verb::Takeover, now);
        }
    }

    /// Nobody owns it.
    fn rest_ownerless(&mut self, around: &Around, now: Tick) {
        if around.version.is_none() {
            return;
        }
        self.answer(Err(Refused::Lost));
        let stopped = self.stopped && !Mutant::StartWhatWasStopped.on();
        let unwanted = stopped || self.barred || self.held_down;
        let may = self.settings.startup_auto && around.part == Part::Takes && !unwanted;
        let halted = around.peer.is_some_and(|peer| peer.stopped || peer.held_down);
        let halted = halted && !Mutant::StartWhatWasStopped.on();
        if !may || halted || !around.listened || around.engines == Engines::Away {
            return;
        }
        let peer_able = around.peer_takes && around.peer.is_some_and(|peer| !peer.barred);
        let since = self.ownerless_since.unwrap_or(now);
        // What the peer says may be older than the stop that made this version: an operator's stop
        // must not be undone because the heartbeat that told of it was lost.
        if !around.peer_told && now < since.after(START_PATIENCE) {
            return self.wake_at(since.after(START_PATIENCE));
        }
        let better = self.settings.nodes[0] != self.node && peer_able;
        if better && now < since.after(START_PATIENCE) {
            return self.wake_at(since.after(START_PATIENCE));
        }
        if self.is_time(now) {
            self.claim(Verb::Start { without_peer: false }, now);
        }
    }

    /// This node owns it and is not to run it.
    fn end_ownership(&mut self, around: &Around, now: Tick) {
        let there = around.engines != Engines::Away;
        // What is released may be taken over; an operator's stop makes a stop of it.
        let held = self.stopped || !around.released;
        let rests = !(around.fenced && around.resumes);
        if there && held && rests && self.is_time(now) {
            self.ending = match self.ending_by_leave(around) {
                Ending::FailOver if around.engines == Engines::Serving => Ending::FailOver,
                _ => Ending::Stop,
            };
            self.pass(around, now);
        }
    }

    /// This node owns it and does not serve: after its host or its engine was restarted.
    fn rest_as_owner(&mut self, around: &Around, now: Tick) {
        let away = around.engines == Engines::Away;
        let released = around.released && !Mutant::WaitAfterRelease.on();
        let resumes = around.fenced && around.resumes;
        if around.part != Part::Takes || (resumes && !away && !released) {
            return; // What is fenced serves again by itself, or is lost; not what was released.
        }
        let idle_since = if away { self.engines_away_since } else { self.idle_owner_since };
        let since = idle_since.unwrap_or(now);
        let peer_able = around.both
            && around.peer_takes
            && around.peer.is_some_and(|peer| !peer.barred)
            && self.settings.failover_auto;
        if away {
            let at = since.after(ENGINE_PATIENCE);
            if !peer_able || around.released {
                return;
            }
            if now < at {
                return self.wake_at(at);
            }
            if self.is_time(now) {
                self.ending = Ending::Release;
                self.pass(around, now);
            }
            return;
        }
        if around.released && !self.settings.startup_auto {
            return;
        }
        let leave = around.released && peer_able;
        let patience = if leave { START_PATIENCE } else { OWNER_PATIENCE };
        let at = since.after(patience);
        if now < at {
            return self.wake_at(at);
        }
        if around.listened && self.is_time(now) {
            self.claim(Verb::Start { without_peer: false }, now);
        }
    }

    fn is_time(&mut self, now: Tick) -> bool {
        if now < self.claim_at {
            self.wake_at(self.claim_at);
        }
        now >= self.claim_at
    }

    /// Asks arbitration to make this node the owner.
    pub(super) fn claim(&mut self, verb: Verb, now: Tick) {
        self.enter(State::Claiming, now);
        self.arbitrate(verb);
    }

    /// Whether arbitration has said that the copy here can't serve.
    pub(super) fn is_unfit(&self) -> bool {
        use step::Refused::{BadCopy, NoMark, NotMember};
        let refused = self.refused.as_ref();
        refused.is_some_and(|why| matches!(why, NotMember { .. } | BadCopy | NoMark))
    }
}
