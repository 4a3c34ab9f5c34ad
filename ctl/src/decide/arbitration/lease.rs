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
        if self.fenced || self.released.is_some_and(|version| self.serves_at(version)) {
            // What is released is not served: an engine that was given up as dead is not.
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
        if now < self.engine.fence.at {
            return self.wake_at(self.engine.fence.at);
        }
        self.command(Purpose::Fence, EngineCommand::Fence, now);
    }

    /// Whether nobody but this node can win: a lease is not needed (R13).
    fn is_alone(&self) -> bool {
        let growing = self.open.as_ref().is_some_and(|o| o.transition == Transition::Grow);
        let base = self.base();
        !growing && base.is_some_and(|record| self.owns(&record) && record.is_alone(self.me()))
    }

    /// End of the lease. `None`: not needed, or the link renews it.
    pub(super) fn lease_until(&self) -> Option<Tick> {
        // Right after growing, the last status is from before a lease was needed.
        let grown = self
            .engine
            .status
            .as_ref()
            .is_some_and(|status| status.link == LinkState::Up && status.lease_until.is_none());
        if self.is_alone() || grown || self.link_renews() {
            return None;
        }
        Some(self.promised_until())
    }

    /// Until when the peer has promised to take nothing over, by all that was heard here. The link
    /// may have renewed it since.
    fn promised_until(&self) -> Tick {
        let link = match &self.engine.status {
            Some(status) => status.lease_until.unwrap_or(Tick(0)),
            None => self.engine.lease_until,
        };
        link.max(self.heartbeat_lease())
    }

    /// What the next daemon of this boot has to know of it; `kept` is what the last one has left.
    /// `None`: this node serves alone, or is not the owner.
    pub fn lease_to_keep(&self, kept: Option<Tick>) -> Option<Tick> {
        let Some(base) = self.base() else { return kept };
        let needed = self.owns(&base) && !self.is_alone();
        needed.then(|| self.promised_until().max(kept.unwrap_or(Tick(0))))
    }

    /// Whether the peer answers pings. The engine tells when its lease ends and when it has one
    /// again, not of every answer: what it said last holds as long as the link is up.
    fn link_renews(&self) -> bool {
        self.engine.status.as_ref().is_some_and(|status| {
            let valid = |until: Tick| until > self.engine.received;
            status.link == LinkState::Up && status.lease_until.is_some_and(valid)
        })
    }

    /// Whether a primary with two members would have a lease now.
    pub(super) fn has_lease(&self, now: Tick) -> bool {
        self.link_renews() || now < self.heartbeat_lease()
    }

    /// Until when the peer's answers to heartbeats are good.
    pub(super) fn heartbeat_lease(&self) -> Tick {
        self.peer.lease_from.map_or(Tick(0), |sent| sent.after(self.times().lease))
    }
}
