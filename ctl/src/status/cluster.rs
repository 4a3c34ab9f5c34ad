//! The cluster as one node sees it: what `lockstep status` shows. Types for machines; `render`
//! makes one screen of them.

use super::Summary;
use crate::act::arbiter::Health;
use crate::act::peer::Counts;
use crate::config::Named;
use lockstep_engine::units::{ClusterId, NodeId};
use serde::{Deserialize, Serialize};

/// Everything, for machines.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ClusterReport {
    /// Version of this report.
    pub v: u32,
    /// The cluster.
    pub cluster: Named<ClusterId>,
    /// This node.
    pub node: NodeId,
    /// Names of the hosts: a, b.
    pub hosts: [String; 2],
    /// What this node does: takes, suspended, stopped.
    pub part: String,
    /// The cluster service is being stopped.
    pub leaving: bool,
    /// Monitors report and never act.
    pub observe_only: bool,
    /// The other node, as last heard.
    pub peer: PeerReport,
    /// Interconnects, best first.
    pub interconnects: Vec<PathReport>,
    /// Groups.
    pub groups: Vec<GroupReport>,
    /// Monitors.
    pub monitors: Vec<MonitorReport>,
    /// Both nodes may be lost for the service only together: no single loss stops a group.
    pub safe: bool,
    /// Why not, with the next move: object, which node's loss would hurt, cause.
    #[serde(default)]
    pub unsafe_why: Vec<String>,
    /// What needs attention, worst first.
    pub alarms: Vec<String>,
    /// Events that are in memory only, because the disk did not take them.
    pub events_lost: u64,
    /// The file that both nodes share; absent in a lab without one.
    #[serde(default)]
    pub config: Option<ConfigReport>,
    /// What the deciders know and wait for.
    pub decision: serde_json::Value,
}

/// The file that both nodes share, on this node.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ConfigReport {
    /// Version that was applied last.
    pub version: u64,
    /// Digest of it.
    pub digest: String,
    /// This daemon runs it.
    pub taken_over: bool,
    /// Why it is not the same on both nodes, or does not run.
    pub trouble: Option<String>,
    /// Calls of the other daemon.
    pub calls: Counts,
}

/// The other node.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PeerReport {
    /// Heard within the time-out.
    pub heard: bool,
    /// Milliseconds since it was heard.
    pub heard_ms_ago: Option<u64>,
    /// What it does, when it is heard.
    pub part: Option<String>,
    /// None of its monitors reports an error that would stop it.
    pub healthy: Option<bool>,
    /// It runs with another configuration.
    pub config_differs: bool,
}

/// One interconnect.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PathReport {
    /// Its name.
    pub name: String,
    /// Milliseconds since the peer was heard over it.
    pub heard_ms_ago: Option<u64>,
    /// Heard within the time-out.
    pub up: bool,
}

/// One group.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct GroupReport {
    /// Its name.
    pub name: String,
    /// Where it runs, as far as this node knows.
    pub runs_on: Option<NodeId>,
    /// Owner by the newest record known here.
    pub owner: Option<NodeId>,
    /// What it does here, for people.
    pub state: String,
    /// An operator has stopped it.
    pub stopped: bool,
    /// It failed here for good; nobody but an operator tries again.
    pub barred: bool,
    /// The other node could have it in order now.
    pub may_move: bool,
    /// Its resources here, in order.
    pub resources: Vec<ResourceReport>,
    /// Its mirrors.
    pub mirrors: Vec<MirrorReport>,
    /// Store of its record.
    pub arbiter: Health,
}

/// One resource here.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ResourceReport {
    /// Its name.
    pub name: String,
    /// on, off, unknown, starting, stopping, half-on, unstoppable.
    pub power: String,
    /// An operator has stopped it.
    pub stopped: bool,
    /// Its last failure.
    pub failure: Option<String>,
}

/// One mirror.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MirrorReport {
    /// Name of the volume.
    pub volume: String,
    /// The four answers.
    pub summary: Summary,
}

/// One monitor.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MonitorReport {
    /// Its name.
    pub name: String,
    /// unknown, fine, warning, doubtful, error.
    pub health: String,
    /// Why, when it is not fine.
    pub cause: Option<String>,
    /// An operator wants no probes.
    pub suspended: bool,
    /// Fails on purpose.
    pub dummy: bool,
    /// Bad probes in a row.
    pub bad: u32,
    /// Bad probes that are forgiven.
    pub retries: u32,
}

impl ClusterReport {
    /// A name that people know a node by.
    pub fn host(&self, node: NodeId) -> String {
        let name = &self.hosts[usize::from(node.to_byte() - 1)];
        if name.is_empty() { format!("node {node}") } else { format!("node {node} ({name})") }
    }
}
