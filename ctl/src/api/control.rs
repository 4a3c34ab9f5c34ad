//! What the HTTP side asks of the daemon's loop, and what the loop tells back. Types only; the
//! bytes that travel are those of `answer` and of the reports.
//! Always: the loop answers one `Request` with any number of `Progress` and one last `Tell`; only
//! `Watch` and `WatchCluster` never end by themselves.

use crate::act::events::Entry;
use crate::config::cluster::Change;
use crate::decide::node::{ClusterVerb, MonitorVerb};
use crate::status::Report;
use crate::status::cluster::ClusterReport;
use lockstep_engine::units::NodeId;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

/// One request, and where its answers go.
#[derive(Debug)]
pub struct Request {
    /// Number of it, unique in the life of this daemon and after it.
    pub id: u64,
    /// What is wanted.
    pub ask: Ask,
    /// Where the answers go; closed when nobody waits for them any more.
    pub tell: mpsc::Sender<Tell>,
}

/// What is asked of the loop.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ask {
    /// The volume that is meant, where the verb is about one; may be left out when there is one.
    pub volume: Option<String>,
    /// Say what would be done instead of doing it.
    pub dry_run: bool,
    /// What is wanted.
    pub verb: Verb,
}

/// What an operator may want.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verb {
    /// Everything that is known.
    Status,
    /// A `Status` at every heartbeat interval until the operator goes away.
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
    /// Give up this copy for that of the peer, after both went on alone.
    DiscardLocal {
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
    /// A `Cluster` at every heartbeat interval until the operator goes away.
    WatchCluster,
    /// Events of this node; the diary is read without the loop.
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
#[derive(Clone, PartialEq, Eq, Debug)]
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

/// What the loop tells.
#[derive(Clone, PartialEq, Debug)]
pub enum Tell {
    /// The request waits for this.
    Progress {
        /// Stable word.
        waiting: String,
        /// For people.
        message: String,
    },
    /// Last: done.
    Done,
    /// Last of `Status`, each of `Watch`.
    Status(Box<Report>),
    /// Last of `Stats`.
    Stats(serde_json::Value),
    /// Last of `Cluster`, each of `WatchCluster`.
    Cluster(Box<ClusterReport>),
    /// Last of `Events`.
    Events(Vec<Entry>),
    /// Last of a dry run: steps in order, or why it would be refused.
    Plan {
        /// It would be refused at once, because of this.
        refused: Option<Refusal>,
        /// For people, in order.
        steps: Vec<String>,
    },
    /// Last of the dry run of `Apply`.
    Config(Box<ConfigPlan>),
    /// Last of `Apply`.
    Applied(Applied),
    /// Last of `WhatIf`.
    WhatIf(Vec<WhatIf>),
    /// Last: not done.
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
