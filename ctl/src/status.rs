//! What an operator is told: the whole report for machines, and a summary that answers four
//! questions: where does it run, is it safe to lose a node now, what would be lost, what to do.
//! Pure: computed from what the daemon knows; nothing here decides anything.

pub mod cluster;
pub mod cluster_render;
pub mod render;
mod summary;
pub mod words;

pub use summary::{Facts, summarise};

use crate::act::arbiter::Health;
use crate::act::heartbeat::Dropped;
use crate::config::Named;
use lockstep_engine::units::{
    BootId, ClusterId, Generation, GroupId, NodeId, Status, Tick, VolumeId, VolumeRecord,
};
use serde::{Deserialize, Serialize};
use std::fmt;

/// State of a mirror at a glance.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Colour {
    /// In sync.
    Green,
    /// On its way to be in sync.
    Yellow,
    /// Stale or broken.
    Red,
    /// Unknown.
    Grey,
}

impl fmt::Display for Colour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Colour::Green => "green",
            Colour::Yellow => "yellow",
            Colour::Red => "red",
            Colour::Grey => "grey",
        })
    }
}

/// The four answers, and what needs attention.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Summary {
    /// At a glance.
    pub colour: Colour,
    /// The mirror in a few words.
    pub mirror: String,
    /// Where it runs.
    pub runs_on: Option<NodeId>,
    /// Any one node may be lost now without losing an acknowledged write, and the other can go on.
    pub safe: bool,
    /// Why, or why not.
    pub safe_why: String,
    /// What would be lost, in one line.
    pub rpo: String,
    /// What to do next.
    pub next: String,
    /// What needs attention besides.
    pub alarms: Vec<String>,
    /// Both copies went on alone.
    pub split_brain: bool,
}

/// Both copies went on alone: neither is an ancestor of the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Parted {
    /// History of the copy here.
    pub here: Generation,
    /// History of the other copy, where a record has named it.
    pub there: Option<Generation>,
}

/// The heartbeats as seen from this node.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HeartbeatReport {
    /// Milliseconds since the peer was heard.
    pub heard_ms_ago: Option<u64>,
    /// Milliseconds since the newest heartbeat that the peer answered was sent.
    pub answered_ms_ago: Option<u64>,
    /// This node answers the peer's heartbeats.
    pub answering: bool,
    /// Boot of the peer's host.
    pub peer_boot: Option<BootId>,
    /// Packets that did not count.
    pub dropped: Dropped,
}

/// The engine as the daemon sees it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct EngineReport {
    /// Build id.
    pub build: String,
    /// Digest of its configuration.
    pub config_digest: String,
    /// Its own status; absent for an instant after it connected.
    pub status: Option<Status>,
}

/// Everything, for machines.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Report {
    /// Version of this report.
    pub v: u32,
    /// The cluster.
    pub cluster: Named<ClusterId>,
    /// The group.
    pub group: Named<GroupId>,
    /// The volume.
    pub volume: Named<VolumeId>,
    /// This node.
    pub node: NodeId,
    /// Tick at which this was written; the ticks inside compare with it.
    pub now: Tick,
    /// The four answers.
    pub summary: Summary,
    /// The engine; absent while it is not connected.
    pub engine: Option<EngineReport>,
    /// Newest record known here, of the arbiter or of the engine.
    #[serde(default)]
    pub record: Option<VolumeRecord>,
    /// The heartbeats.
    pub heartbeat: HeartbeatReport,
    /// The arbiter's store.
    pub arbiter: Health,
    /// What the decider knows and waits for.
    pub decision: serde_json::Value,
}

#[cfg(test)]
#[path = "status/tests.rs"]
mod tests;
