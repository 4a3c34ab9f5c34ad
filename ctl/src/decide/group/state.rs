//! The states of a group and of its resources, and the only changes between them.

use super::Group;
use super::event::{GroupVerb, Note, Step};
use crate::decide::event::{RequestId, StepId};
use lockstep_engine::units::Tick;
use serde::{Deserialize, Serialize};

/// What a group does on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// The daemon has started: waits for a status of every resource and for the record. Leaves to
    /// `Rising` as owner (what is on stays on), to `Down` with everything off, else to `Fencing`.
    Asking,
    /// Nothing of it is on here. Leaves to `Rising` as owner with engines that serve, to `Claiming`
    /// when it may start or take over, to `Passing` as an owner that is not to run it.
    Down,
    /// Waits for arbitration to make this node the owner. Leaves to `Down` with its answer.
    Claiming,
    /// Resources come up, in order, or go through a reactivation. Leaves to `Up` when all that are
    /// wanted are on, to `Degraded` when one failed and nothing is to be done about it.
    Rising,
    /// Everything that is wanted is on. Leaves by order, request or loss.
    Up,
    /// A resource failed and stays off, the others stay on. Leaves as `Up` does.
    Degraded,
    /// Resources go down in reverse order. Leaves to `Passing` with all off, to `Stuck` when one
    /// can't be stopped.
    Falling,
    /// All is off: waits for arbitration to pass ownership on, or end it. Leaves to `Down`.
    Passing,
    /// A resource can't be stopped: this node stays owner, so that nothing runs twice. Leaves by
    /// an operator who stops again, or by loss.
    Stuck,
    /// Must not run here: waits for engines to be silent, addresses dropped and programs killed.
    /// Leaves to `Cleaning` when all is confirmed; late, it asks for the final action and goes on.
    Fencing,
    /// Nothing answers any more; the rest (mounts) goes down in order. Leaves to `Down`.
    Cleaning,
}

use State::{
    Asking, Claiming, Cleaning, Degraded, Down, Falling, Fencing, Passing, Rising, Stuck, Up,
};

/// Every state with those that may follow it.
pub const TABLE: [(State, &[State]); 11] = [
    (Asking, &[Rising, Down, Fencing]),
    (Down, &[Rising, Claiming, Passing]),
    (Claiming, &[Down]),
    (Rising, &[Up, Degraded, Falling, Fencing]),
    (Up, &[Rising, Falling, Fencing]),
    (Degraded, &[Rising, Falling, Fencing]),
    (Falling, &[Passing, Stuck, Fencing]),
    (Passing, &[Down]),
    (Stuck, &[Falling, Fencing]),
    (Fencing, &[Cleaning]),
    (Cleaning, &[Down]),
];

impl State {
    /// Whether `next` may follow.
    pub fn may_become(self, next: State) -> bool {
        TABLE.iter().any(|(from, to)| *from == self && to.contains(&next))
    }

    /// Whether anything of the group may be on by right. Only an owner with a lease may be here.
    pub const fn is_online(self) -> bool {
        matches!(self, Rising | Up | Degraded | Falling | Stuck)
    }

    /// Whether nothing is on its way.
    pub const fn is_settled(self) -> bool {
        matches!(self, Down | Up | Degraded | Stuck)
    }
}

/// Why a group goes down, and so what comes after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Nobody shall own it: stop.
    Stop,
    /// The peer shall have it, in order.
    Move,
    /// The peer shall have it: move, or release when that is refused.
    FailOver,
    /// The peer shall have it: release.
    Release,
}

/// What a resource is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Power {
    /// Nobody has looked yet, or nobody could tell: as good as on.
    Unknown,
    /// Off, and nothing of it is left.
    Off,
    /// On.
    On,
    /// A start failed: half of it may be on.
    HalfOn,
    /// A stop or a kill failed: it may be on.
    Unstoppable,
    /// Something is being done to it.
    Busy(StepId),
}

/// One resource as the group knows it.
#[derive(Clone, Debug)]
pub(super) struct Resource {
    pub power: Power,
    /// An operator has not stopped it.
    pub wanted: bool,
    /// To be stopped and started again.
    pub bounce: bool,
    /// Held down for a change of the configuration, which the next daemon does not remember.
    pub resting: bool,
    /// Starts that failed in a row.
    pub failed_starts: u32,
    /// No start is left until somebody asks.
    pub given_up: bool,
    /// Failovers that its failed activation has caused.
    pub failovers: u32,
    /// Nothing is tried before.
    pub retry_at: Tick,
    /// Since when it is what it is.
    pub since: Tick,
    /// Last failure.
    pub failure: Option<String>,
}

impl Resource {
    pub fn new(now: Tick, wanted: bool) -> Resource {
        Resource {
            power: Power::Unknown,
            wanted,
            bounce: false,
            resting: false,
            failed_starts: 0,
            given_up: false,
            failovers: 0,
            retry_at: now,
            since: now,
            failure: None,
        }
    }
}

/// An operator's request under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub request: RequestId,
    pub verb: GroupVerb,
}

impl Group {
    /// Changes the state, by the table alone.
    pub(super) fn enter(&mut self, next: State, now: Tick) {
        if self.state == next {
            return;
        }
        assert!(self.state.may_become(next), "{:?} can't become {next:?}", self.state);
        self.state = next;
        self.entered = now;
        self.steps.push_back(Step::Note(Note::State(next)));
    }
}
