//! Effects on resources: asked for with a deadline, ended by a report or by the deadline.
//! Always: at most one effect on a resource is under way, but for a kill, which overtakes.

use super::event::{Act, Around, Engines, Note, Outcome, Step};
use super::state::{Power, State};
use super::{CHECK_MAX, CLEAN_AGAIN, Group, KILL_AGAIN, REPORT_SLACK};
use crate::decide::event::StepId;
use crate::decide::mutant::Mutant;
use crate::decide::settings::{ResourceIndex, ResourceKind};
use lockstep_engine::units::{Span, Tick};

/// An effect under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    pub resource: usize,
    pub act: Act,
    pub deadline: Tick,
}

impl Call {
    /// When it counts as lost.
    pub fn lost_at(&self) -> Tick {
        match self.act {
            Act::Kill => self.deadline,
            _ => self.deadline.after(REPORT_SLACK),
        }
    }
}

impl Group {
    /// Asks for an effect.
    pub(super) fn act(&mut self, index: usize, act: Act, now: Tick) {
        let settings = &self.settings.resources[index];
        let deadline = match act {
            Act::Check => now.after(CHECK_MAX),
            Act::Start => now.after(settings.start_timeout),
            Act::Stop => now.after(settings.stop_timeout),
            // One deadline for the whole fence (R13), and a fresh one for each try after it.
            Act::Kill => self.entered.after(self.times.fence).max(now.after(KILL_AGAIN)),
        };
        self.last_step += 1;
        let id = StepId(self.last_step);
        self.calls.retain(|_, call| call.resource != index);
        self.calls.insert(id, Call { resource: index, act, deadline });
        self.power(index, Power::Busy(id), now);
        self.steps.push_back(Step::Effect { id, resource: ResourceIndex(index), act, deadline });
        if act == Act::Start {
            self.fence_confirmed = false;
        }
    }

    pub(super) fn power(&mut self, index: usize, power: Power, now: Tick) {
        let resource = &mut self.resources[index];
        if resource.power != power {
            resource.power = power;
            resource.since = now;
        }
    }

    /// Effects that did not report: nobody knows what they did.
    pub(super) fn expire(&mut self, around: &Around, now: Tick) {
        let due = |call: &Call| call.lost_at() <= now;
        let late: Vec<StepId> =
            self.calls.iter().filter(|(_, call)| due(call)).map(|(id, _)| *id).collect();
        for id in late {
            let why = "no result within its time-out".to_owned();
            self.done(id, Outcome::Failed(why), around, now);
        }
    }

    /// An effect has ended.
    pub(super) fn done(&mut self, id: StepId, outcome: Outcome, around: &Around, now: Tick) {
        let Some(call) = self.calls.remove(&id) else { return };
        let index = call.resource;
        match (call.act, outcome) {
            (Act::Check | Act::Start, Outcome::On) => {
                self.power(index, Power::On, now);
                let resource = &mut self.resources[index];
                resource.failed_starts = 0;
                resource.given_up = false;
                if call.act == Act::Start {
                    resource.failure = None;
                }
            }
            (Act::Check | Act::Stop | Act::Kill, Outcome::Off) => {
                self.power(index, Power::Off, now);
                let resource = &mut self.resources[index];
                resource.bounce = false;
                resource.failed_starts = 0;
            }
            (Act::Check, Outcome::Failed(why)) => {
                self.power(index, Power::HalfOn, now);
                self.resources[index].failure = Some(why);
            }
            (Act::Start, Outcome::Off) => {
                self.start_failed(index, "off after its start".to_owned(), around, now);
            }
            (Act::Start, Outcome::Failed(why)) => self.start_failed(index, why, around, now),
            (Act::Stop, Outcome::On) => {
                self.stop_failed(index, "on after its stop".to_owned(), now);
            }
            (Act::Stop, Outcome::Failed(why)) => self.stop_failed(index, why, now),
            (Act::Kill, Outcome::On) => self.kill_failed(index, "survived".to_owned(), now),
            (Act::Kill, Outcome::Failed(why)) => self.kill_failed(index, why, now),
        }
    }

    fn start_failed(&mut self, index: usize, cause: String, around: &Around, now: Tick) {
        let retries = self.settings.resources[index].start_retries;
        let resource = &mut self.resources[index];
        resource.failure = Some(cause.clone());
        resource.failed_starts = resource.failed_starts.saturating_add(1);
        let attempt = resource.failed_starts;
        let left = attempt <= retries;
        resource.given_up = !left;
        self.power(index, Power::HalfOn, now);
        let resource = ResourceIndex(index);
        if left {
            return self.note(Note::Retry { resource, cause, attempt });
        }
        self.note(Note::StartFailed { resource, cause: cause.clone() });
        self.activation_failed(index, cause, around, now);
    }

    fn stop_failed(&mut self, index: usize, cause: String, now: Tick) {
        self.power(index, Power::Unstoppable, now);
        let resource = &mut self.resources[index];
        resource.failure = Some(cause.clone());
        resource.retry_at = now.after(CLEAN_AGAIN);
        self.note(Note::StopFailed { resource: ResourceIndex(index), cause });
    }

    fn kill_failed(&mut self, index: usize, cause: String, now: Tick) {
        self.power(index, Power::Unstoppable, now);
        let resource = &mut self.resources[index];
        resource.failure = Some(cause);
        resource.retry_at = now.after(KILL_AGAIN);
    }

    /// Whether a resource is on; a mirror is, while its engine serves or may come back to serve.
    pub(super) fn is_on(&self, index: usize, around: &Around) -> bool {
        if self.is_mirror(index) {
            let serves = around.engines == Engines::Serving && self.may_run(around);
            return serves || Mutant::StartBeforePromotion.on();
        }
        self.resources[index].power == Power::On
    }

    /// Whether nothing of a resource is left. A mirror goes down with ownership, after all others.
    pub(super) fn is_off(&self, index: usize) -> bool {
        self.is_mirror(index) || self.resources[index].power == Power::Off
    }

    /// Whether nothing of the group but its mirrors is left.
    pub(super) fn all_off(&self) -> bool {
        (0..self.resources.len()).all(|index| self.is_off(index))
    }

    /// Whether something is being done to it.
    pub(super) fn is_busy(&self, index: usize) -> bool {
        matches!(self.resources[index].power, Power::Busy(_))
    }

    /// Resources that need this one, at any distance, and itself.
    pub(in crate::decide) fn with_dependents(&self, index: usize) -> Vec<usize> {
        let mut set = vec![index];
        // Whoever comes later in the order can only need earlier ones.
        for (other, settings) in self.settings.resources.iter().enumerate().skip(index + 1) {
            if settings.after.iter().any(|needed| set.contains(&needed.0)) {
                set.push(other);
            }
        }
        set
    }

    /// Resources that need this one directly.
    pub(super) fn needed_by(&self, index: usize) -> impl Iterator<Item = usize> + '_ {
        let needs = move |(_, settings): &(usize, &crate::decide::settings::ResourceSettings)| {
            settings.after.contains(&ResourceIndex(index))
        };
        self.settings.resources.iter().enumerate().filter(needs).map(|(other, _)| other)
    }

    /// Whether the fast fence takes this resource down.
    pub(super) fn is_killed_by_fence(&self, index: usize) -> bool {
        let kind = self.settings.resources[index].kind;
        matches!(kind, ResourceKind::Address | ResourceKind::Programs)
    }

    /// Stops what is due among `set`, dependents first. Says whether everything in it is off.
    pub(super) fn take_down(&mut self, set: &[usize], now: Tick) -> bool {
        for &index in set {
            if self.is_off(index) || self.is_busy(index) {
                continue;
            }
            let free = self.needed_by(index).all(|other| self.is_off(other));
            if !free && !Mutant::StopOutOfOrder.on() {
                continue;
            }
            let resource = &self.resources[index];
            if resource.power == Power::Unstoppable && now < resource.retry_at {
                let at = resource.retry_at;
                self.wake_at(at);
                continue;
            }
            self.act(index, Act::Stop, now);
        }
        set.iter().all(|index| self.is_off(*index))
    }

    /// Right after the start of the daemon: what is on?
    pub(super) fn ask(&mut self, around: &Around, now: Tick) {
        for index in self.ours() {
            if self.resources[index].power == Power::Unknown {
                self.act(index, Act::Check, now);
            }
        }
        let checked = self.calls.is_empty();
        let known = around.version.is_some() && around.engines != Engines::Away;
        if checked && self.all_off() {
            return self.enter(State::Down, now);
        }
        if self.may_run(around) && checked && known {
            let on = self.ours().filter(|i| self.is_on(*i, around)).map(ResourceIndex).collect();
            self.note(Note::Adopted(on));
            return self.adopt(around, now);
        }
        let lost = self.loss(around);
        let sure = known || around.fenced || around.owner == Some(self.node.peer());
        // What is found on must go at once; what nobody has told of yet, and what a lease that
        // nobody knows of may have kept, within FENCE: the predecessor of this daemon would have
        // fenced at the end of the lease, so half of it is left if it was away for the other half.
        let found = self
            .ours()
            .any(|index| matches!(self.resources[index].power, Power::On | Power::HalfOn));
        let over_at = self.entered.after(Span(self.times.fence.0 / 2));
        if let (Some(why), true) = (lost, (sure && (checked || found)) || now >= over_at) {
            // After a boot a look may just be slow, and there was nothing to lose.
            return if found { self.lose(why, now) } else { self.begin_fence(now) };
        }
        if now < over_at {
            self.wake_at(over_at);
        } else if lost.is_none() && checked {
            // The engine is away, the record names this node: it may come back.
            self.adopt(around, now);
        }
    }

    /// What is on goes on, but for a group that was being brought down for good when the last
    /// daemon ended: that goes on, too.
    fn adopt(&mut self, around: &Around, now: Tick) {
        self.enter(State::Rising, now);
        if (self.stopped || self.barred) && !Mutant::AdoptWhatStops.on() {
            self.fall(self.ending_by_leave(around), now);
        }
    }
}
