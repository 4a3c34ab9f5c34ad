//! The small language of operators: JSON lines over the daemon's unix socket, versioned.
//! The daemon answers one `Ask` with any number of `Progress` lines and one last line;
//! only `Watch` never ends by itself. Types only.

use crate::act::events::Entry;
use crate::config::cluster::Change;
use crate::decide::node::{ClusterVerb, MonitorVerb};
use crate::status::Report;
use crate::status::cluster::ClusterReport;
use lockstep_engine::units::NodeId;
use serde::{Deserialize, Serialize};

/// Version of this language.
pub const VERSION: u32 = 1;
/// Longest line that either side accepts: a configuration of 256 KiB as text in JSON fits.
pub const LINE_BYTES_MAX: usize = 640 << 10;

/// One line to the daemon.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    /// Language version.
    pub v: u32,
    /// The volume that is meant, where the verb is about one; may be left out when there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<String>,
    /// Say what would be done instead of doing it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// What is wanted.
    pub verb: Verb,
}

/// What an operator may want.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Verb {
    /// Everything that is known.
    Status,
    /// A `Status` line at every heartbeat interval until the operator goes away.
    Watch,
    /// Histograms and counters of the engine.
    Stats,
    /// Write the first record.
    Create {
        /// Both copies are blank and so equal.
        both_blank: bool,
    },
    /// Serve here.
    Start {
        /// The operator says that the peer is dead.
        without_peer: bool,
    },
    /// Take over here.
    Takeover,
    /// Hand over to the peer.
    Move,
    /// Stop serving.
    Stop,
    /// Make this copy the truth, against the rules.
    ForcePromote {
        /// The volume's name, as typed.
        volume: String,
    },
    /// Hold resync back, or let it go on.
    PauseSync {
        /// Whether to hold it back.
        paused: bool,
    },
    /// Start or stop a comparison of both copies.
    Verify {
        /// Whether to start.
        start: bool,
    },
    /// Everything about the cluster.
    Cluster,
    /// A `Cluster` line at every heartbeat interval until the operator goes away.
    WatchCluster,
    /// Events of this node.
    Events {
        /// Only those with higher numbers.
        after: u64,
        /// At most so many, the newest.
        most: usize,
    },
    /// The cluster service on this node.
    Service(ClusterVerb),
    /// A group.
    Group {
        /// Its name.
        name: String,
        /// What is wanted of it.
        want: GroupWant,
    },
    /// A monitor.
    Monitor {
        /// Its name.
        name: String,
        /// What is wanted of it.
        want: MonitorVerb,
    },
    /// Make this text the `cluster.toml` of both nodes; a dry run answers with `Config`.
    Apply {
        /// The file.
        text: String,
    },
    /// What would happen if that node were lost now.
    WhatIf {
        /// The node that is lost.
        node: NodeId,
    },
}

/// What may be wanted of a group.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum GroupWant {
    /// Bring it up here.
    Start {
        /// The operator says that the peer is dead.
        without_peer: bool,
    },
    /// Bring it down.
    Stop,
    /// Bring it down here and up on the other node, in order.
    Move,
    /// To the other node, by release if not in order; here, when the other node is dead.
    Failover,
    /// Bring one resource up.
    ResourceStart {
        /// Its name.
        resource: String,
    },
    /// Bring one resource down.
    ResourceStop {
        /// Its name.
        resource: String,
    },
}

/// One line from the daemon.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tell {
    /// The request waits for this.
    Progress {
        /// Stable word.
        waiting: String,
        /// For people.
        message: String,
    },
    /// Last line: done.
    Done,
    /// Last line of `Status`, each line of `Watch`.
    Status(Box<Report>),
    /// Last line of `Stats`.
    Stats(serde_json::Value),
    /// Last line of `Cluster`, each line of `WatchCluster`.
    Cluster(Box<ClusterReport>),
    /// Last line of `Events`.
    Events(Vec<Entry>),
    /// Last line of a dry run: steps in order, or why it would be refused.
    Plan {
        /// It would be refused at once, because of this.
        refused: Option<String>,
        /// For people, in order.
        steps: Vec<String>,
    },
    /// Last line of the dry run of `Apply`.
    Config(Box<ConfigPlan>),
    /// Last line of `Apply`.
    Applied(Applied),
    /// Last line of `WhatIf`.
    WhatIf(Vec<WhatIf>),
    /// Last line: not done.
    Refused(Refusal),
}

/// What a configuration would change.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ConfigPlan {
    /// Each change with what it costs.
    pub changes: Vec<Change>,
    /// Resources (`GROUP/NAME`) that stop and start where they run; with them those that need them.
    pub restarts: Vec<String>,
    /// What must be stopped first.
    pub stops: Vec<String>,
    /// What the hosts lack for it.
    pub lacks: Vec<String>,
    /// When the other node gets it.
    pub other: String,
}

/// A configuration that is in force.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Applied {
    /// Its version.
    pub version: u64,
    /// Digest of the file.
    pub digest: String,
    /// Both nodes run it.
    pub both: bool,
    /// Each node and what it does with it.
    pub nodes: Vec<(NodeId, String)>,
    /// Volumes whose engine here must be restarted for it.
    pub engines: Vec<String>,
}

/// What would become of one group.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WhatIf {
    /// Name of the group.
    pub group: String,
    /// The service goes on, by itself.
    pub survives: bool,
    /// Why, and how long it takes.
    pub because: Vec<String>,
}

/// Why something was not done.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Refusal {
    /// Stable word, such as `not-member`.
    pub code: String,
    /// Object, cause and next move.
    pub message: String,
}
