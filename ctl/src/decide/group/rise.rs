//! Upwards: resources come on in dependency order, independent ones together; reactivation; what
//! is done about one that does not come on.

use super::Group;
use super::event::{Act, Around, GroupVerb, Note, Part, Refused, Step};
use super::state::{Ending, Power, State};
use crate::decide::mutant::Mutant;
use crate::decide::settings::{FinalAction, ResourceIndex};
use lockstep_engine::units::Tick;

impl Group {
    /// Brings every resource to what is wanted of it.
    pub(super) fn rise(&mut self, around: &Around, now: Tick) {
        if around.part == Part::Stopped {
            return self.fall(self.ending_by_leave(around), now);
        }
        let down: Vec<usize> = self.ours().filter(|index| self.must_go_down(*index)).collect();
        self.take_down(&down, now);
        if self.is_unstoppable() {
            // What can't be stopped can't be started again either, nor passed on.
            self.fall(Ending::Stop, now);
            return;
        }
        for index in self.ours().collect::<Vec<_>>() {
            if self.must_come_on(index, around) {
                self.act(index, Act::Start, now);
            }
        }
        let all = self.ours().all(|index| {
            let resource = &self.resources[index];
            let on = resource.power == Power::On;
            let wanted = resource.wanted && !resource.resting;
            !resource.bounce && if wanted { on } else { resource.power == Power::Off }
        });
        let waits = self.ours().any(|index| {
            let resource = &self.resources[index];
            self.is_busy(index) || resource.bounce || self.must_go_down(index)
        });
        let failed = self.resources.iter().any(|resource| resource.given_up);
        let next = match (all, failed && !waits) {
            (true, _) => State::Up,
            (false, true) => State::Degraded,
            (false, false) => State::Rising,
        };
        if next != self.state {
            // From one end of the table to the other it goes through the middle.
            self.enter(State::Rising, now);
            self.enter(next, now);
        }
        if next == State::Up {
            self.is_up(around, now);
        }
        self.answer_resource_verbs(around);
    }

    fn must_go_down(&self, index: usize) -> bool {
        let resource = &self.resources[index];
        let unwanted = !resource.wanted || resource.resting || resource.bounce || resource.given_up;
        unwanted && resource.power != Power::Off
    }

    fn must_come_on(&self, index: usize, around: &Around) -> bool {
        let resource = &self.resources[index];
        let held = resource.resting || resource.bounce || resource.given_up;
        let wanted = resource.wanted && !held;
        let resting = matches!(resource.power, Power::Off | Power::HalfOn | Power::Unknown);
        let needs = &self.settings.resources[index].after;
        let ready = |needed: &ResourceIndex| {
            let bounces = self.resources[needed.0].bounce;
            self.is_on(needed.0, around) && !bounces
        };
        // A start is not begun while the engine is away, whether it is needed directly or not.
        let served = around.engines == super::Engines::Serving;
        let served = served || Mutant::StartBeforePromotion.on();
        wanted && resting && served && needs.iter().all(ready)
    }

    fn is_up(&mut self, around: &Around, now: Tick) {
        for resource in &mut self.resources {
            resource.failovers = 0;
        }
        let starting = |verb| matches!(verb, GroupVerb::Start { .. } | GroupVerb::Failover);
        if self.asked.is_some_and(|asked| starting(asked.verb)) {
            self.answer(Ok(()));
        }
        let elsewhere = self.settings.nodes[0] != self.node;
        let back = self.settings.failback_auto && self.may_fail_back && elsewhere;
        let can_pass = self.can_pass(around).is_ok() || Mutant::FailBackUnsynced.on();
        if back && around.part == Part::Takes && can_pass {
            self.may_fail_back = false;
            self.note(Note::FailsBack);
            self.fall(Ending::Move, now);
        }
    }

    /// A resource was not brought on by all its attempts.
    pub(super) fn activation_failed(
        &mut self,
        index: usize,
        cause: String,
        around: &Around,
        now: Tick,
    ) {
        if !matches!(self.state, State::Rising | State::Up | State::Degraded) {
            return;
        }
        let resource = ResourceIndex(index);
        let alone = GroupVerb::ResourceStart(resource);
        let by_hand = self.asked.is_some_and(|asked| asked.verb == alone);
        self.answer(Err(Refused::StartFailed { resource, cause }));
        if by_hand {
            return; // Whoever tries a resource by hand does not want the group to move.
        }
        let settings = &self.settings.resources[index];
        let (most, action) = (settings.failovers_max, settings.start_failed);
        let may = self.settings.failover_auto && around.part == Part::Takes;
        if may && self.resources[index].failovers < most && self.can_pass(around).is_ok() {
            self.resources[index].failovers += 1;
            self.note(Note::FailsOver { because: Some(resource) });
            return self.fall(Ending::FailOver, now);
        }
        self.note(Note::Final { resource: Some(resource), action });
        match action {
            FinalAction::None => {}
            FinalAction::StopGroup => {
                self.barred = true;
                self.fall(Ending::Stop, now);
            }
            _ => {
                self.barred = true;
                self.steps.push_back(Step::Final(action));
            }
        }
    }

    /// Whether the peer could have the group in order now.
    pub(super) fn can_pass(&self, around: &Around) -> Result<(), Refused> {
        if !around.peer_takes {
            return Err(Refused::PeerNotReady);
        }
        if around.peer.is_some_and(|peer| peer.barred) {
            return Err(Refused::PeerBarred);
        }
        if !around.both || !around.in_sync {
            return Err(Refused::NotInSync);
        }
        Ok(())
    }

    /// Stops and starts these again, with what needs them. Mirrors are no part of it.
    pub(super) fn reactivate(&mut self, target: Option<ResourceIndex>, now: Tick) {
        if !matches!(self.state, State::Up | State::Degraded) {
            return;
        }
        let set = match target {
            Some(index) if index.0 < self.resources.len() => self.with_dependents(index.0),
            Some(_) => return,
            None => self.ours().collect(),
        };
        for index in set {
            let resource = &mut self.resources[index];
            resource.given_up = false;
            resource.failed_starts = 0;
            let off = resource.power == Power::Off;
            let mirror = self.is_mirror(index);
            self.resources[index].bounce = !off && !mirror;
        }
        self.enter(State::Rising, now);
    }
}
