//! `--dry-run`: what a verb would do, as data, from the same checks that the verb itself runs.

use super::Node;
use super::event::{ClusterVerb, Refused, Verb};
use super::route::group_verb;
use crate::decide::event;
use crate::decide::group::{self, Act, Ending, GroupVerb, Power};
use crate::decide::settings::{GroupIndex, ResourceIndex};
use crate::decide::step;
use lockstep_engine::units::{NodeId, Tick};
use serde::Serialize;

/// What a verb would do now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// It would be refused at once.
    pub refused: Option<Refused>,
    /// In order; independent resources go together.
    pub steps: Vec<PlanStep>,
}

/// One step of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlanStep {
    /// A resource goes up or down on that node; `undo` takes it back.
    Resource { node: NodeId, group: GroupIndex, resource: ResourceIndex, act: Act },
    /// The record changes: this node asks for that transition.
    Record { group: GroupIndex, transition: &'static str },
    /// This node takes part in the cluster, or not.
    TakesPart(bool),
    /// Nothing is decided here without an operator.
    Suspends(bool),
    /// A monitor changes its ways; nothing else does.
    Monitor,
}

impl Node {
    /// What `verb` would do now, or why it would be refused.
    pub fn would(&self, verb: Verb, now: Tick) -> Plan {
        let mut steps = Vec::new();
        let refused = match verb {
            Verb::Cluster(verb) => self.would_cluster(verb, now, &mut steps),
            Verb::Group(group, verb) => self.would_group(group, verb, now, &mut steps),
            Verb::Mirror(group, event::Verb::Takeover) if self.runs_here(group) => {
                Err(Refused::Group(group::Refused::AlreadyUp))
            }
            Verb::Mirror(group, verb) => match group_verb(verb) {
                Some(verb) => self.would_group(group, verb, now, &mut steps),
                None => self.would_mirror(group, verb, &mut steps),
            },
            Verb::Monitor(monitor, _) if monitor.0 >= self.monitors.len() => {
                Err(Refused::NoMonitor)
            }
            Verb::Monitor(..) => {
                steps.push(PlanStep::Monitor);
                Ok(())
            }
        };
        if refused.is_err() {
            steps.clear();
        }
        Plan { refused: refused.err(), steps }
    }

    fn would_cluster(
        &self,
        verb: ClusterVerb,
        now: Tick,
        steps: &mut Vec<PlanStep>,
    ) -> Result<(), Refused> {
        self.check_cluster(verb)?;
        match verb {
            ClusterVerb::Start => steps.push(PlanStep::TakesPart(true)),
            ClusterVerb::Suspend => steps.push(PlanStep::Suspends(true)),
            ClusterVerb::Resume => steps.push(PlanStep::Suspends(false)),
            ClusterVerb::Stop { hand_over } => {
                steps.push(PlanStep::TakesPart(false));
                for index in 0..self.parts.len() {
                    let part = &self.parts[index];
                    if !part.group.state().is_online() {
                        continue;
                    }
                    let around = self.around(index, now);
                    let ending = part.group.ending_by_leave(&around);
                    let moves = hand_over && ending == Ending::FailOver;
                    self.falls(index, if moves { "move" } else { "stop" }, moves, steps);
                }
            }
        }
        Ok(())
    }

    fn would_mirror(
        &self,
        group: GroupIndex,
        verb: event::Verb,
        steps: &mut Vec<PlanStep>,
    ) -> Result<(), Refused> {
        let part = self.parts.get(group.0).ok_or(Refused::NoGroup)?;
        let transition = match verb {
            event::Verb::Create { .. } => "create",
            event::Verb::ForcePromote => "force",
            _ => "release",
        };
        let online = part.group.state().is_online();
        let known = part.decider.view().record;
        let refused = match verb {
            event::Verb::ForcePromote if part.statuses().any(super::around::serves) => {
                Some(step::Refused::AlreadyPrimary)
            }
            event::Verb::ForcePromote if known.is_none() => Some(step::Refused::NoRecord),
            event::Verb::ForcePromote => None,
            _ if online => return Err(Refused::GroupRuns),
            event::Verb::Create { .. } if known.is_some() => Some(step::Refused::RecordExists),
            _ => None,
        };
        let refused = refused.or((!part.is_complete()).then_some(step::Refused::EngineAway));
        if let Some(why) = refused {
            return Err(Refused::Group(group::Refused::Arbitration(why)));
        }
        steps.push(PlanStep::Record { group, transition });
        Ok(())
    }

    fn would_group(
        &self,
        group: GroupIndex,
        verb: GroupVerb,
        now: Tick,
        steps: &mut Vec<PlanStep>,
    ) -> Result<(), Refused> {
        let part = self.parts.get(group.0).ok_or(Refused::NoGroup)?;
        let around = self.around(group.0, now);
        part.group.check(verb, &around).map_err(Refused::Group)?;
        let online = part.group.state().is_online();
        let (me, index) = (self.node, group.0);
        let beside = around.owner == Some(me.peer());
        match verb {
            GroupVerb::Move => self.falls(index, "move", true, steps),
            GroupVerb::Failover if online => self.falls(index, "move", true, steps),
            GroupVerb::Stop => self.falls(index, "stop", false, steps),
            GroupVerb::Start { .. } | GroupVerb::Failover => {
                let owner = around.owner == Some(me) && part.group.may_run(&around);
                if !owner {
                    let transition = if beside { "takeover" } else { "start" };
                    steps.push(PlanStep::Record { group, transition });
                }
                self.rises(index, me, steps);
            }
            GroupVerb::ResourceStart(resource) => {
                steps.push(PlanStep::Resource { node: me, group, resource, act: Act::Start });
            }
            GroupVerb::ResourceStop(resource) => {
                for other in part.group.with_dependents(resource.0).into_iter().rev() {
                    self.stops(index, other, steps);
                }
            }
        }
        Ok(())
    }

    fn stops(&self, index: usize, resource: usize, steps: &mut Vec<PlanStep>) {
        let part = &self.parts[index];
        let resource = ResourceIndex(resource);
        let mirror = part.group.is_mirror(resource.0);
        if !mirror && part.group.power_of(resource) != Some(Power::Off) {
            let (node, group) = (self.node, GroupIndex(index));
            steps.push(PlanStep::Resource { node, group, resource, act: Act::Stop });
        }
    }

    /// Everything down here in reverse order, then the record, then up on the other node.
    fn falls(
        &self,
        index: usize,
        transition: &'static str,
        passes: bool,
        steps: &mut Vec<PlanStep>,
    ) {
        let count = self.parts[index].group.settings().resources.len();
        for resource in (0..count).rev() {
            self.stops(index, resource, steps);
        }
        steps.push(PlanStep::Record { group: GroupIndex(index), transition });
        if passes {
            self.rises(index, self.node.peer(), steps);
        }
    }

    /// Everything that is off comes up on that node, in order.
    fn rises(&self, index: usize, node: NodeId, steps: &mut Vec<PlanStep>) {
        let part = &self.parts[index];
        for resource in (0..part.group.settings().resources.len()).map(ResourceIndex) {
            let on = node == self.node && part.group.power_of(resource) == Some(Power::On);
            if !on && !part.group.is_mirror(resource.0) {
                let group = GroupIndex(index);
                steps.push(PlanStep::Resource { node, group, resource, act: Act::Start });
            }
        }
    }
}
