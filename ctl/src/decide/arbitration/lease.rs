//! The lease of a primary whose peer could win (R13): renewed by the peer's answers to pings of the
//! link and to heartbeats, never by the arbiter. At its end without a decision: the fast fence.

use super::Decider;
use super::attempt::serves;
use super::state::Purpose;
use crate::decide::mutant::Mutant;
use crate::decide::step::{EngineCommand, Note};
use crate::decide::transition::Transition;
use lockstep_engine::units::{LinkState, Tick};

impl Decider {
    /// Fences the engine when the lease has ended and it is not decided that this node goes on.
    pub(super) fn guard_lease(&mut self, now: Tick) {
        let serving = match self.engine.role() {
            Some(role) => serves(role),
            None => self.engine.served,
        };
        if !serving || Mutant::NoFastFence.on() {
            return;
        }
        if self.fenced {
            return self.fence_engine(now);
        }
        let Some(until) = self.lease_until() else { return };
        if now < until {
            return self.wake_at(until);
        }
        self.fenced = true;
        self.engine.served = false;
        self.note(Note::FastFence);
        self.doubt();
        self.fence_engine(now);
    }

    fn fence_engine(&mut self, now: Tick) {
        if self.engine.status.is_none() || self.engine.calling(|p| *p == Purpose::Fence) {
            return;
        }
        if now < self.engine.other.at {
            return self.wake_at(self.engine.other.at);
        }
        self.command(Purpose::Fence, EngineCommand::Fence, now);
    }

    /// Whether nobody but this node can win: a lease is not needed (R13).
    fn is_alone(&self) -> bool {
        let growing = self.open.as_ref().is_some_and(|o| o.transition == Transition::Grow);
        let base = self.base();
        !growing && base.is_some_and(|record| self.owns(&record) && record.is_alone(self.me()))
    }

    /// End of the lease. `None`: not needed, or the link is up and renews it. The engine tells of
    /// no single answer, so while the link is up its status may be older than the lease; when the
    /// link goes down, a status comes with the lease as it ends.
    pub(super) fn lease_until(&self) -> Option<Tick> {
        if self.is_alone() {
            return None;
        }
        // A promotion is only given while the peer is heard: it has this long to answer a ping.
        let patience = self.times().link_dead;
        let link = match &self.engine.status {
            Some(status) => {
                let received = self.engine.received;
                let fresh = self.engine.promoted_at.is_some_and(|at| received < at.after(patience));
                let valid = |until: Tick| until > received || fresh;
                if status.link == LinkState::Up && status.lease_until.is_none_or(valid) {
                    return None;
                }
                status.lease_until.unwrap_or(Tick(0))
            }
            None => self.engine.lease_until,
        };
        let heartbeat = self.heartbeat_lease();
        let promoted = self.engine.promoted_at.map(|at| at.after(patience));
        Some(link.max(heartbeat).max(promoted.unwrap_or(Tick(0))))
    }

    /// Until when the peer's answers to heartbeats are good.
    pub(super) fn heartbeat_lease(&self) -> Tick {
        self.peer.lease_from.map_or(Tick(0), |sent| sent.after(self.times().lease))
    }
}
