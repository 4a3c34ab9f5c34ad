//! What a group is told, what it asks for, and what it says about both.

use crate::decide::event::{RequestId, StepId, Verb};
use crate::decide::settings::{FinalAction, ResourceIndex};
use crate::decide::step;
use lockstep_engine::units::{NodeId, Tick, Version};
use serde::{Deserialize, Serialize};

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// An effect on a resource ended: start, stop, kill or status check.
    Done { id: StepId, outcome: Outcome },
    /// Arbitration has answered the verb that this group asked for.
    Arbitrated { result: Result<(), step::Refused> },
    /// An operator wants something of this group here.
    Operator { request: RequestId, verb: GroupVerb },
    /// A monitor, or the node, wants something of it.
    Order(Order),
    /// The deadline has come, or the surroundings may have changed.
    Wake,
}

/// How an effect ended: what the resource is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is on.
    On,
    /// It is off, and nothing of it is left.
    Off,
    /// Neither is sure; object and cause.
    Failed(String),
}

/// What an operator may want of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GroupVerb {
    /// Bring it up here. `without_peer`: the operator says that the other node is dead.
    Start { without_peer: bool },
    /// Bring it down; it stays down until somebody starts it.
    Stop,
    /// Bring it down here and up on the other node, in order.
    Move,
    /// The same, by release if not in order; on the other node: take over when there is evidence.
    Failover,
    /// Bring one resource up, with what it needs being up.
    ResourceStart(ResourceIndex),
    /// Bring one resource down, with everything that depends on it.
    ResourceStop(ResourceIndex),
}

/// What the node itself wants of a group. Orders that do not fit its state are forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Stop and start a resource with those that depend on it; `None`: every one.
    Reactivate(Option<ResourceIndex>),
    /// Pass it to the other node.
    FailOver,
    /// Bring it down here for good; the other node may have it.
    StopHere,
    /// The cluster service stops: bring it down, and pass it on when asked to and possible.
    Leave { hand_over: bool },
    /// The cluster service starts again: what was given up may be tried again.
    Join,
    /// An operator makes this node the owner by force: the group is wanted here.
    Want,
    /// The configuration of a resource changes: it goes down with those that depend on it, and
    /// stays down until it is let go.
    Rest(ResourceIndex),
    /// Resources that rest are let go.
    LetGo,
}

/// What the engines of the group's volumes are doing here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Engines {
    /// At least one is not there.
    #[default]
    Away,
    /// At least one serves nobody.
    Quiet,
    /// Each serves; the keeper of a group without volumes serves while this node may run it.
    Serving,
}

/// Whether this node takes part in the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// It does.
    #[default]
    Takes,
    /// What runs goes on; nothing is decided without an operator but what safety asks for.
    Suspended,
    /// The cluster service is stopped here.
    Stopped,
}

/// What the group has to know of everything else, as it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Around {
    /// Owner by the newest record known here.
    pub owner: Option<NodeId>,
    /// Its version; `None` while no record is known.
    pub version: Option<Version>,
    /// Both nodes are members of every volume.
    pub both: bool,
    /// The other node can't win the group: it is not a member of every volume.
    pub alone: bool,
    /// The engines here.
    pub engines: Engines,
    /// No engine that is there answers clients.
    pub silent: bool,
    /// The lease ended without a decision and nothing was promoted since (R13).
    pub fenced: bool,
    /// And arbitration promotes it again by itself once it may.
    pub resumes: bool,
    /// Every volume is in sync with the peer over a link that is up.
    pub in_sync: bool,
    /// Silence or release of the owner amounts to evidence (§1.2).
    pub evidence: bool,
    /// This node has released the group at the current version.
    pub released: bool,
    /// What this node does.
    pub part: Part,
    /// The peer's daemon was heard within the timeout.
    pub peer_heard: bool,
    /// What it does, as last heard.
    pub peer_part: Part,
    /// It is heard, takes part and is healthy.
    pub peer_takes: bool,
    /// What it says of this group.
    pub peer: Option<PeerGroup>,
    /// The peer was heard, or long enough not (boot grace).
    pub listened: bool,
    /// The last heartbeat of the peer has named `version` or a later one, so that what it says of
    /// the group is not older; or the peer is dead: no link, nothing heard for the boot grace.
    pub peer_told: bool,
}

/// What a node says of a group in its heartbeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerGroup {
    /// Its state there.
    pub state: super::State,
    /// An operator has stopped it.
    pub stopped: bool,
    /// The cluster service was stopped there for all, without passing it on.
    pub held_down: bool,
    /// It would not come up there: it failed, or arbitration refuses.
    pub barred: bool,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Do something to a resource; report `Done` by the deadline.
    Effect { id: StepId, resource: ResourceIndex, act: Act, deadline: Tick },
    /// Ask arbitration; report `Arbitrated`.
    Arbitrate { verb: Verb },
    /// Carry out a final action; `StopGroup` and `None` never come here.
    Final(FinalAction),
    /// The fast fence was not confirmed in time: reboot this host now, nothing is stopped first.
    Condemn,
    /// Answer an operator, once.
    Reply { request: RequestId, result: Result<(), Refused> },
    /// Worth a line.
    Note(Note),
}

/// What is done to a resource. Each is idempotent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Act {
    /// Find out whether it is on.
    Check,
    /// Bring it up.
    Start,
    /// Bring it down, in order.
    Stop,
    /// The fast fence: drop the address, kill the programs.
    Kill,
}

impl Act {
    /// What takes it back, should the plan be given up.
    pub const fn undo(self) -> Option<Act> {
        match self {
            Act::Start => Some(Act::Stop),
            Act::Stop => Some(Act::Start),
            Act::Check | Act::Kill => None,
        }
    }
}

/// Why a request is refused, or how it failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refused {
    /// Arbitration refuses.
    Arbitration(#[serde(serialize_with = "as_debug")] step::Refused),
    /// Another request is under way.
    Busy,
    /// It does not run here.
    NotHere { owner: Option<NodeId> },
    /// It runs here already.
    AlreadyUp,
    /// The other node is away, suspended, stopped or not healthy.
    PeerNotReady,
    /// The other node has given it up.
    PeerBarred,
    /// The copies are not in sync.
    NotInSync,
    /// The cluster service is stopped here.
    ClusterStopped,
    /// No such resource.
    NoResource,
    /// A mirror is started and stopped with its group.
    IsMirror,
    /// A resource that it needs is off.
    NeedsOther(ResourceIndex),
    /// A resource did not come up.
    StartFailed { resource: ResourceIndex, cause: String },
    /// A resource did not go down: it is not passed on, since it must not run twice.
    StopFailed { resource: ResourceIndex, cause: String },
    /// Ownership was lost meanwhile.
    Lost,
}

fn as_debug<S: serde::Serializer>(why: &step::Refused, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&format!("{why:?}"))
}

/// Worth a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Note {
    /// The group is in another state.
    State(super::State),
    /// These were on when the daemon started and go on.
    Adopted(Vec<ResourceIndex>),
    /// An attempt to start failed; more follow.
    Retry { resource: ResourceIndex, cause: String, attempt: u32 },
    /// No attempt to start is left.
    StartFailed { resource: ResourceIndex, cause: String },
    /// It could not be stopped.
    StopFailed { resource: ResourceIndex, cause: String },
    /// The group is passed to the other node because of this.
    FailsOver { because: Option<ResourceIndex> },
    /// It goes back to its preferred node.
    FailsBack,
    /// This node must not run it any more: everything is killed at once.
    Lost(Loss),
    /// The fast fence is confirmed: nothing of the group answers any client.
    FenceConfirmed,
    /// It was not confirmed in time.
    FenceLate,
    /// A final action is due.
    Final { resource: Option<ResourceIndex>, action: FinalAction },
    /// Arbitration refused what the group asked for on its own.
    NotOwner(#[serde(serialize_with = "as_debug")] step::Refused),
}

/// Why a node must not run a group any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Loss {
    /// The record names another owner, or nobody.
    Record,
    /// The lease ended (R13).
    Lease,
    /// An engine serves nobody.
    Engine,
    /// An engine stays away while the peer could take over.
    EngineAway,
    /// Nothing is known of the record.
    Unknown,
}
