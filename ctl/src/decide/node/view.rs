//! What a node tells of itself to people. Never an input to a decision.

use super::{Node, PeerState};
use crate::decide::arbitration;
use crate::decide::group::{Around, GroupView, Part};
use crate::decide::monitor::MonitorView;
use lockstep_engine::units::{NodeId, Tick};
use serde::Serialize;

/// A snapshot of everything that a node decides.
#[derive(Clone, Debug, Serialize)]
pub struct NodeView {
    /// This node.
    pub node: NodeId,
    /// Whether it takes part.
    pub part: Part,
    /// The cluster service is being stopped.
    pub leaving: bool,
    /// A final action was carried out: nothing is handed to this node.
    pub doomed: bool,
    /// Monitors report and never act.
    pub observe_only: bool,
    /// What the peer says of itself; `None`: not heard within the time-out.
    pub peer: Option<PeerState>,
    /// Its groups.
    pub groups: Vec<GroupStatus>,
    /// Its monitors.
    pub monitors: Vec<MonitorView>,
}

/// A snapshot of one group.
#[derive(Clone, Debug, Serialize)]
pub struct GroupStatus {
    /// Where it runs, as far as this node knows.
    pub runs_on: Option<NodeId>,
    /// Who owns the newest record known here.
    pub owner: Option<NodeId>,
    /// Both nodes hold every acknowledged write.
    pub both_members: bool,
    /// The copies are in sync over a link that is up.
    pub in_sync: bool,
    /// The other node could have it in order now.
    pub may_move: bool,
    /// Of the group's own state and resources.
    pub group: GroupView,
    /// Of its record, its evidence and its lease.
    pub arbitration: arbitration::View,
}

impl Node {
    /// What is known, for `status`.
    pub fn view(&self, now: Tick) -> NodeView {
        let groups = (0..self.parts.len()).map(|index| self.group_status(index, now));
        NodeView {
            node: self.node,
            part: self.part,
            leaving: self.leaving.is_some(),
            doomed: self.doomed,
            observe_only: self.observe_only,
            peer: self.heard_peer(now).cloned(),
            groups: groups.collect(),
            monitors: self.monitors.iter().map(|monitor| monitor.view()).collect(),
        }
    }

    fn group_status(&self, index: usize, now: Tick) -> GroupStatus {
        let part = &self.parts[index];
        let around = self.around(index, now);
        GroupStatus {
            runs_on: self.runs_on(index, &around),
            owner: around.owner,
            both_members: around.both,
            in_sync: around.in_sync,
            may_move: part.group.can_fail_over(&around),
            group: part.group.view(),
            arbitration: part.decider.view(),
        }
    }

    pub(super) fn runs_on(&self, index: usize, around: &Around) -> Option<NodeId> {
        if self.parts[index].group.state().is_online() {
            return Some(self.node);
        }
        let there = around.peer.is_some_and(|peer| peer.state.is_online());
        there.then(|| self.node.peer())
    }
}
