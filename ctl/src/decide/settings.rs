//! What the decisions about groups and monitors are opened with: the part of the configuration
//! that they need, in their own words. Never changed while a decider lives; a new configuration
//! that changes it makes a new decider. Durations are spans, names are for people and logs.

use lockstep_engine::units::{GroupId, NodeId, Span, VolumeId};
use serde::{Deserialize, Serialize};

/// Place of a resource in its group, in activation order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash, Serialize, Deserialize)]
pub struct ResourceIndex(pub usize);

/// Place of a group in the cluster.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash, Serialize, Deserialize)]
pub struct GroupIndex(pub usize);

/// Place of a monitor in the cluster.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash, Serialize, Deserialize)]
pub struct MonitorIndex(pub usize);

/// What is done when everything else has failed (REFERENCE §4).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinalAction {
    /// Nothing but the alarm.
    None,
    /// Stop the group here; it may start on the other node.
    StopGroup,
    /// Stop every group here and take no part until an operator says so.
    StopCluster,
    /// Stop the cluster service, then shut the host down.
    Shutdown,
    /// Stop the cluster service, then reboot the host.
    Reboot,
    /// Halt the host at once, without syncing anything.
    Panic,
}

/// A failover group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupSettings {
    /// What machines compare.
    pub id: GroupId,
    /// What people read.
    pub name: String,
    /// Comes up by itself when the cluster does.
    pub startup_auto: bool,
    /// Moves by itself when its node is lost or its resources fail.
    pub failover_auto: bool,
    /// Moves back by itself to the preferred node once that is in sync again.
    pub failback_auto: bool,
    /// Where it should run, best first.
    pub nodes: [NodeId; 2],
    /// Volumes of the group: those of its mirror resources.
    pub volumes: Vec<VolumeId>,
    /// In an order that respects every `after`; stopped in reverse.
    pub resources: Vec<ResourceSettings>,
}

/// A resource of a group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ResourceSettings {
    /// What people read; unique in the group.
    pub name: String,
    /// What kind of thing.
    pub kind: ResourceKind,
    /// Resources that must be on first. Always earlier ones.
    pub after: Vec<ResourceIndex>,
    /// One attempt to start.
    pub start_timeout: Span,
    /// One attempt to stop.
    pub stop_timeout: Span,
    /// Attempts to start after the first.
    pub start_retries: u32,
    /// Failovers after a failed activation, before the final action.
    pub failovers_max: u32,
    /// What is done when it can't be started here and no failover is left.
    pub start_failed: FinalAction,
    /// What is done when it can't be stopped: it must not run twice.
    pub stop_failed: FinalAction,
}

/// What kind of thing a resource is, as far as decisions differ.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ResourceKind {
    /// A mirrored volume: on while this node is its primary. Arbitration starts and stops it.
    Mirror(VolumeId),
    /// An address. Dropped by the fast fence.
    Address,
    /// Programs. Killed by the fast fence.
    Programs,
    /// Anything else, such as a mount.
    Other,
}

/// A monitor.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MonitorSettings {
    /// What people read; unique in the cluster.
    pub name: String,
    /// From the start of one probe to the start of the next.
    pub interval: Span,
    /// For one probe.
    pub timeout: Span,
    /// Bad probes in a row that are forgiven.
    pub retries: u32,
    /// Quiet time after the monitored thing came on.
    pub wait_before_start: Span,
    /// When it runs.
    pub timing: Timing,
    /// What a probe without an answer counts as.
    pub on_no_response: OnNoResponse,
    /// What is done about an error.
    pub recovery: Recovery,
}

/// When a monitor runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Timing {
    /// As long as the cluster service runs on this node.
    Always,
    /// While that resource is on here.
    WhileActive(GroupIndex, ResourceIndex),
}

/// What no answer means.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnNoResponse {
    /// As if it had not been asked.
    Ignore,
    /// A warning, which never acts.
    Warn,
    /// An error.
    Recover,
}

/// The chain that an error runs through: script, reactivation, failover, final action.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Recovery {
    /// What is recovered; `None` only reports.
    pub target: Option<Target>,
    /// Runs of the monitor's script.
    pub scripts_max: u32,
    /// Reactivations of the target.
    pub reactivations_max: u32,
    /// Failovers of the target's group.
    pub failovers_max: u32,
    /// What is done then.
    pub final_action: FinalAction,
    /// The final action is carried out even when the other node is not healthy: it fences.
    pub fences: bool,
}

/// What a recovery is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// One resource, with those that depend on it.
    Resource(GroupIndex, ResourceIndex),
    /// A whole group.
    Group(GroupIndex),
    /// Everything on this node.
    Node,
}
