//! Requests of operators, each answered exactly once, and orders of the node.

use super::Group;
use super::event::{Around, Engines, GroupVerb, Note, Order, Part, Refused, Step};
use super::state::{Asked, Ending, Power, State};
use crate::decide::event::{RequestId, Verb};
use crate::decide::settings::ResourceIndex;
use crate::decide::step;
use lockstep_engine::units::Tick;

impl Group {
    /// Whether a request would be begun now, and why not. The dry run asks the same.
    pub fn check(&self, verb: GroupVerb, around: &Around) -> Result<(), Refused> {
        let moving = matches!(
            self.state,
            State::Asking | State::Claiming | State::Passing | State::Fencing | State::Cleaning
        );
        if self.asked.is_some() || moving {
            return Err(Refused::Busy);
        }
        if around.part == Part::Stopped && verb != GroupVerb::Stop {
            return Err(Refused::ClusterStopped);
        }
        let here = self.state.is_online();
        let not_here = Refused::NotHere { owner: around.owner };
        match verb {
            GroupVerb::Start { .. } if self.state == State::Up => Err(Refused::AlreadyUp),
            // Nothing but the operator's word tells a group without volumes that nobody runs it.
            GroupVerb::Start { without_peer: true }
                if around.evidence && self.settings.volumes.is_empty() =>
            {
                self.not_falling()
            }
            GroupVerb::Start { .. } if around.owner == Some(self.node.peer()) => {
                Err(Refused::Arbitration(step::Refused::OtherPrimary))
            }
            GroupVerb::Start { .. } => self.not_falling(),
            GroupVerb::Stop if around.owner == Some(self.node.peer()) => Err(not_here),
            GroupVerb::Stop => Ok(()),
            GroupVerb::Move if here => self.not_falling().and_then(|()| self.can_pass(around)),
            GroupVerb::Move => Err(not_here),
            GroupVerb::Failover if here => {
                self.not_falling()?;
                match self.can_pass(around) {
                    Err(Refused::NotInSync) if around.both => Ok(()),
                    other => other,
                }
            }
            GroupVerb::Failover => Ok(()),
            GroupVerb::ResourceStart(index) | GroupVerb::ResourceStop(index) => {
                if index.0 >= self.resources.len() {
                    return Err(Refused::NoResource);
                }
                if self.is_mirror(index.0) {
                    return Err(Refused::IsMirror);
                }
                if !here {
                    return Err(not_here);
                }
                match verb {
                    GroupVerb::ResourceStart(_) => {
                        self.not_falling()?;
                        let needs = &self.settings.resources[index.0].after;
                        let off = needs.iter().find(|needed| !self.is_on(needed.0, around));
                        off.map_or(Ok(()), |needed| Err(Refused::NeedsOther(*needed)))
                    }
                    _ => Ok(()),
                }
            }
        }
    }

    fn not_falling(&self) -> Result<(), Refused> {
        if self.state == State::Falling {
            return Err(Refused::Busy);
        }
        self.not_stuck()
    }

    fn not_stuck(&self) -> Result<(), Refused> {
        let stuck = |resource: &super::Resource| resource.power == Power::Unstoppable;
        match self.resources.iter().position(stuck) {
            Some(index) => {
                let cause = self.resources[index].failure.clone().unwrap_or_default();
                Err(Refused::StopFailed { resource: ResourceIndex(index), cause })
            }
            None => Ok(()),
        }
    }

    pub(super) fn operator(
        &mut self,
        request: RequestId,
        verb: GroupVerb,
        around: &Around,
        now: Tick,
    ) {
        if let Err(why) = self.check(verb, around) {
            self.steps.push_back(Step::Reply { request, result: Err(why) });
            return;
        }
        self.asked = Some(Asked { request, verb });
        match verb {
            GroupVerb::Start { without_peer } => self.start(without_peer, around, now),
            GroupVerb::Stop => self.stop(around, now),
            GroupVerb::Move => self.fall(Ending::Move, now),
            GroupVerb::Failover if self.state.is_online() => {
                self.note(Note::FailsOver { because: None });
                self.fall(Ending::FailOver, now);
            }
            GroupVerb::Failover if around.owner == Some(self.node.peer()) => {
                self.forgive();
                self.claim(Verb::Takeover, now);
            }
            GroupVerb::Failover => self.start(false, around, now),
            GroupVerb::ResourceStart(index) => {
                let resource = &mut self.resources[index.0];
                resource.wanted = true;
                resource.given_up = false;
                resource.failed_starts = 0;
            }
            GroupVerb::ResourceStop(index) => {
                for other in self.with_dependents(index.0) {
                    self.resources[other].wanted = false;
                    self.resources[other].retry_at = now;
                }
                if self.state == State::Stuck {
                    self.enter(State::Falling, now);
                }
            }
        }
    }

    /// An operator knows better than what has failed before.
    fn forgive(&mut self) {
        self.stopped = false;
        self.barred = false;
        self.held_down = false;
        self.refused = None;
        for resource in &mut self.resources {
            resource.given_up = false;
            resource.failed_starts = 0;
            resource.failovers = 0;
        }
    }

    fn start(&mut self, without_peer: bool, around: &Around, now: Tick) {
        self.forgive();
        let served = around.engines == Engines::Serving && self.may_run(around);
        if self.state != State::Down {
            return; // On its way already, or degraded: `rise` goes on.
        }
        self.resources.iter_mut().for_each(|resource| resource.wanted = true);
        if !served {
            self.claim(Verb::Start { without_peer }, now);
        }
    }

    fn stop(&mut self, around: &Around, now: Tick) {
        self.stopped = true;
        self.resources.iter_mut().for_each(|resource| resource.retry_at = now);
        match self.state {
            State::Down if around.owner.is_none() => self.answer(Ok(())),
            State::Down => {
                self.ending = Ending::Stop;
                self.pass(around, now);
            }
            State::Falling => self.ending = Ending::Stop,
            _ => self.fall(Ending::Stop, now),
        }
    }

    /// The operator's request under way.
    pub fn request(&self) -> Option<RequestId> {
        self.asked.map(|asked| asked.request)
    }

    /// Answers the operator's request under way, if there is one.
    pub(super) fn answer(&mut self, result: Result<(), Refused>) {
        if let Some(asked) = self.asked.take() {
            self.steps.push_back(Step::Reply { request: asked.request, result });
        }
    }

    /// Requests about one resource end when it is what was asked for.
    pub(super) fn answer_resource_verbs(&mut self, around: &Around) {
        let Some(asked) = self.asked else { return };
        let done = match asked.verb {
            GroupVerb::ResourceStart(index) => self.is_on(index.0, around),
            GroupVerb::ResourceStop(index) => {
                self.with_dependents(index.0).into_iter().all(|other| self.is_off(other))
            }
            _ => false,
        };
        if done {
            self.answer(Ok(()));
        }
    }

    pub(super) fn order(&mut self, order: Order, around: &Around, now: Tick) {
        let online = matches!(self.state, State::Rising | State::Up | State::Degraded);
        match order {
            Order::Reactivate(target) => self.reactivate(target, now),
            Order::FailOver if online && self.can_fail_over(around) => {
                self.note(Note::FailsOver { because: None });
                self.answer(Err(Refused::Busy));
                self.fall(Ending::FailOver, now);
            }
            Order::FailOver => {}
            Order::StopHere => {
                self.barred = true;
                if online {
                    self.answer(Err(Refused::Busy));
                    self.fall(Ending::Stop, now);
                }
            }
            Order::Leave { hand_over } => {
                self.held_down = !hand_over;
                if online {
                    self.answer(Err(Refused::ClusterStopped));
                    self.fall(self.ending_by_leave(around), now);
                }
            }
            Order::Want => {
                self.forgive();
                self.forced = true;
            }
            Order::Rest(index) if index.0 < self.resources.len() => {
                for other in self.with_dependents(index.0) {
                    self.resources[other].resting = !self.is_mirror(other);
                }
            }
            Order::Rest(_) => {}
            Order::LetGo => self.resources.iter_mut().for_each(|one| one.resting = false),
            Order::Join => {
                self.barred = false;
                self.held_down = false;
                self.claims_refused = 0;
                self.claim_at = now;
                self.refused = None;
                self.resources.iter_mut().for_each(|resource| resource.failovers = 0);
            }
        }
    }

    /// Whether a monitor's failover would be carried out.
    pub fn can_fail_over(&self, around: &Around) -> bool {
        let may = self.settings.failover_auto && around.part == Part::Takes;
        may && self.state.is_online() && self.can_pass(around).is_ok()
    }
}
