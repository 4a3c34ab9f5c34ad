//! What a node is told, what it asks for, and how it refuses.

use crate::decide::event::{self, PeerBeat, RequestId, StepId};
use crate::decide::group::{self, Act, GroupVerb, Outcome, Part, PeerGroup};
use crate::decide::monitor::{self, Found};
use crate::decide::settings::{FinalAction, GroupIndex, MonitorIndex, ResourceIndex};
use crate::decide::step::{self, Waiting};
use lockstep_engine::units::{BootId, Tick};
use serde::{Deserialize, Serialize};

/// One thing that happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// For the arbitration of one group: engine, arbiter, answers to heartbeats. Heartbeats and
    /// operators have words of their own here.
    Arbitration { group: GroupIndex, event: event::Event },
    /// An authentic, new heartbeat of the peer: what it says of itself, and of each group.
    Peer { state: PeerState, beats: Vec<PeerBeat> },
    /// An effect on a resource ended.
    Resource { group: GroupIndex, id: StepId, outcome: Outcome },
    /// A probe ended.
    Probed { monitor: MonitorIndex, id: StepId, found: Found },
    /// The script of a monitor's chain ended.
    Scripted { monitor: MonitorIndex, id: StepId },
    /// The configuration of these resources changes: they go down and stay down until a node with
    /// the new one is opened, or they are let go.
    Rest { resources: Vec<(GroupIndex, ResourceIndex)> },
    /// The configuration stays as it is: what rests comes up again.
    LetGo,
    /// The host did not do as it was told; object and cause.
    HostFailed { cause: String },
    /// How the last `Remember` ended: object and cause when it could not be stored.
    Remembered { failed: Option<String> },
    /// An operator wants something.
    Operator { request: RequestId, verb: Verb },
    /// The deadline has come, or nothing.
    Wake,
}

/// What a node says of itself in its heartbeats, beside the beats of the groups.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerState {
    /// Whether it takes part.
    pub part: Part,
    /// No monitor reports an error that would end in stopping the node, none was acted on.
    pub healthy: bool,
    /// Its view of each group, in the order of the configuration.
    pub groups: Vec<PeerGroup>,
}

/// What an operator may want of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// The cluster service here.
    Cluster(ClusterVerb),
    /// A group here.
    Group(GroupIndex, GroupVerb),
    /// The record and the mirror of a group. Those that a group has words for go through it.
    Mirror(GroupIndex, event::Verb),
    /// A monitor here.
    Monitor(MonitorIndex, MonitorVerb),
}

impl Verb {
    /// Whether it changes what the next daemon has to know.
    pub fn is_remembered(&self) -> bool {
        match self {
            Verb::Cluster(_) => true,
            Verb::Group(_, verb) => *verb != GroupVerb::Move,
            Verb::Mirror(_, verb) => {
                use event::Verb::{ForcePromote, Start, Stop, Takeover};
                matches!(verb, Start { .. } | Stop | Takeover | ForcePromote)
            }
            Verb::Monitor(..) => false,
        }
    }
}

/// What the last daemon of this boot knew of a group's lease (R13), and whether anybody can know
/// better. The default: nothing is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeptLease {
    /// The peer's promise ended no earlier than this; `None`: none was needed, or nobody knows.
    pub until: Option<Tick>,
    /// The engine takes connections: it may still say that the link has renewed the lease.
    pub engine_listens: bool,
}

/// What may be wanted of the cluster service on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClusterVerb {
    /// Take part again.
    Start,
    /// Bring every group down here and take no part. With `hand_over` the other node gets what it
    /// can have; without, groups stay down until somebody starts the cluster.
    Stop { hand_over: bool },
    /// Decide nothing without an operator but what safety asks for.
    Suspend,
    /// Decide again.
    Resume,
}

/// What may be wanted of a monitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MonitorVerb {
    /// No probes until `Resume`.
    Suspend,
    /// Probes again.
    Resume,
    /// Fail on purpose (true), or no longer.
    Fail(bool),
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// What the arbitration of a group asks for; never `Reply`, never `Progress`. Read, swap and
    /// engine commands have the deadlines of SAFETY §1.2 and of `arbitration::GIVE_UP`.
    Arbitration { group: GroupIndex, step: step::Step },
    /// Do something to a resource; report `Resource` by the deadline.
    Resource { group: GroupIndex, id: StepId, resource: ResourceIndex, act: Act, deadline: Tick },
    /// Look at something; report `Probed` by the deadline.
    Probe { monitor: MonitorIndex, id: StepId, deadline: Tick },
    /// Run the monitor's script; report `Scripted` by the deadline.
    Script { monitor: MonitorIndex, id: StepId, deadline: Tick },
    /// Do this to the host. Nothing undoes it.
    Host { action: HostAction, deadline: Tick },
    /// Store this, durably, before any later step; report `Remembered` at once. Hand it back at
    /// the next start.
    Remember(Memory),
    /// Answer an operator, once.
    Reply { request: RequestId, result: Result<(), Refused> },
    /// An operator's request is waiting; show this.
    Progress { request: RequestId, waiting: Waiting },
    /// Worth a line.
    Note(Note),
}

impl Step {
    /// By when it must have reported, if it is an effect of this node's own.
    pub fn deadline(&self) -> Option<Tick> {
        match self {
            Step::Resource { deadline, .. }
            | Step::Probe { deadline, .. }
            | Step::Script { deadline, .. }
            | Step::Host { deadline, .. } => Some(*deadline),
            _ => None,
        }
    }

    /// What takes it back: the act on the same resource.
    pub fn undo(&self) -> Option<Act> {
        match self {
            Step::Resource { act, .. } => act.undo(),
            _ => None,
        }
    }
}

/// What is done to the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostAction {
    /// Shut down.
    Shutdown,
    /// Reboot.
    Reboot,
    /// Start again at once: nothing is stopped first, nothing is waited for.
    Reset,
    /// Halt at once, without syncing anything.
    Panic,
}

/// What outlives a restart of the daemon, within a boot of the host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Boot that it is about; of no use in another.
    pub boot: BootId,
    /// Whether the node takes part.
    pub part: Part,
    /// Per group, in the order of the configuration, by name.
    pub groups: Vec<(String, group::Memory)>,
}

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refused {
    /// The group refuses.
    Group(group::Refused),
    /// No such group.
    NoGroup,
    /// No such monitor.
    NoMonitor,
    /// Resources of the group are up: use the group's own verbs.
    GroupRuns,
    /// Already so.
    Already,
    /// The cluster service is stopping.
    Busy,
    /// These groups could not be brought down.
    Stuck(Vec<GroupIndex>),
    /// It is carried out, but can't be stored: the next daemon will not know. Object and cause.
    NotStored { cause: String },
}

/// Worth a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// Of the arbitration of a group.
    Arbitration(GroupIndex, step::Note),
    /// Of a group.
    Group(GroupIndex, group::Note),
    /// Of a monitor.
    Monitor(MonitorIndex, monitor::Note),
    /// The node takes part, or not.
    Part(Part),
    /// A final action begins: groups come down first, but for a panic.
    Final(FinalAction),
    /// Groups are down, or have had their time: the host is told.
    Host(HostAction),
    /// The host did not do as it was told.
    HostFailed(String),
}
