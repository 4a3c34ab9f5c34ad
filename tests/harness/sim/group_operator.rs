//! What the simulated operator does with a group: nothing, where it is to come up by itself; else
//! what the state on each node calls for. What somebody has stopped is left down for a while, to
//! see that it stays so.

use super::group::G;
use super::judge::index;
use super::necessity::Way;
use super::world::World;
use lockstep_ctl::decide::group::{GroupVerb, Part, State};
use lockstep_ctl::decide::node::{ClusterVerb, Verb};
use lockstep_ctl::decide::settings::ResourceIndex;
use lockstep_engine::units::{NodeId, Span};

/// How long a group that is to come up by itself is left alone after healing: longer than the
/// longest pause between two tries.
pub const ALONE: Span = Span::millis(90_000);
/// How long what a person has stopped, or what has failed for good, is left alone.
const STOPPED: Span = Span::millis(20_000);

impl World {
    /// What the operator sees of a group that is not up for that long. Says whether it is time to
    /// act as if there were no group.
    pub fn group_operator(&mut self, down: Span) -> bool {
        if down < STOPPED {
            return false;
        }
        for node in [NodeId::A, NodeId::B] {
            self.mend(node);
        }
        let moves = |state: State| !state.is_settled() && state != State::Claiming;
        let states = [NodeId::A, NodeId::B].map(|node| self.state_of(node));
        if self.group_is_up() || states.into_iter().flatten().any(moves) {
            return false;
        }
        if self.why_by_hand().is_some() {
            return true;
        }
        if down < ALONE {
            return false;
        }
        let owner = self.arbiter.record.as_ref().and_then(|record| record.owner);
        let able = |node: &NodeId| {
            owner.is_none_or(|owner| owner == *node) && self.way(*node) == Ok(Way::Start)
        };
        if let Some(node) = [NodeId::A, NodeId::B].into_iter().find(able) {
            let text = format!("(c): nobody starts the group by itself, though {node} could");
            self.judge.violate(format!("{text}: {}", self.describe()));
        }
        true
    }

    /// Why a group does not come up without a person.
    fn why_by_hand(&self) -> Option<&'static str> {
        let plan = self.plan.group.as_ref()?;
        if !plan.settings.startup_auto || !plan.settings.failover_auto {
            return Some("it is set up so");
        }
        let given_up = self.hosts.iter().any(|host| {
            let known = &host.notes.memory.groups;
            known.iter().any(|(_, memory)| memory.stopped || memory.barred || memory.held_down)
        });
        given_up.then_some("somebody has stopped it, or it failed for good")
    }

    /// One look at the status of one node.
    fn mend(&mut self, node: NodeId) {
        let Some(daemon) = self.hosts[index(node)].daemon.as_ref() else { return };
        let Some(whole) = daemon.brain.node() else { return };
        let said = whole.announce();
        let off = whole.group(G).and_then(|group| {
            let off = group.memory().off;
            group.settings().resources.iter().position(|one| off.contains(&one.name))
        });
        let state = self.state_of(node);
        match said.part {
            Part::Suspended => return self.wish(node, Verb::Cluster(ClusterVerb::Resume)),
            Part::Stopped => return self.wish(node, Verb::Cluster(ClusterVerb::Start)),
            Part::Takes if !said.healthy => self.wish(node, Verb::Cluster(ClusterVerb::Start)),
            Part::Takes => {}
        }
        match state {
            Some(State::Stuck) => self.wish(node, Verb::Group(G, GroupVerb::Stop)),
            Some(State::Degraded) => {
                self.wish(node, Verb::Group(G, GroupVerb::Start { without_peer: false }));
            }
            Some(State::Up) => {
                if let Some(first) = off {
                    let verb = GroupVerb::ResourceStart(ResourceIndex(first));
                    self.wish(node, Verb::Group(G, verb));
                }
            }
            _ => {}
        }
    }

    /// Down for this much longer before the operator despairs of it.
    pub fn group_patience(&self) -> Span {
        if self.plan.group.is_some() { ALONE } else { Span(0) }
    }
}
