//! The lease of a primary whose peer could win (R13): renewed by the peer's answers to pings of any
//! link and to heartbeats, never by the arbiter. At its end without a decision: the fast fence.
//! Any answer is a promise for the whole group: a takeover makes every engine and the daemon of the
//! peer silent and waits from the last answer that any of them gave (`answers_over_at`). So the
//! lease of the group is the newest of all; each engine guards its own reads by its own link.
//! Always: whether a lease is needed is asked as "could the peer win?", which it can while it is a
//! member of every volume (R3), and not as "is this node alone?": one volume without the peer
//! keeps it from the whole group. What is not known counts as if it could.

use super::Decider;
use super::state::{EngineSide, Purpose};
use crate::decide::mutant::Mutant;
use crate::decide::step::{EngineCommand, Note};
use lockstep_engine::units::{LinkState, NodeId, Status, Tick};

impl Decider {
    /// Fences the engines when the lease has ended and it is not decided that this node goes on.
    pub(super) fn guard_lease(&mut self, now: Tick) {
        if !self.engines.iter().any(EngineSide::may_serve) || Mutant::NoFastFence.on() {
            return;
        }
        if self.fenced || self.released.is_some_and(|version| self.any_serves_at(version)) {
            // What is released is not served: an engine that was given up as dead is not.
            return self.fence_engines(now);
        }
        let Some(until) = self.lease_until() else { return };
        if now < until {
            return self.wake_at(until);
        }
        self.fenced = true;
        self.engines.iter_mut().for_each(|engine| engine.served = false);
        self.note(Note::FastFence);
        self.doubt();
        self.fence_engines(now);
    }

    /// All that serve, all at once.
    pub(super) fn fence_engines(&mut self, now: Tick) {
        for volume in self.engines.which(EngineSide::is_serving) {
            let Some(engine) = self.engines.of(volume) else { continue };
            let at = engine.fence.at;
            if engine.calling(|purpose| *purpose == Purpose::Fence) {
                continue;
            }
            if now < at {
                self.wake_at(at);
                continue;
            }
            self.command(volume, Purpose::Fence, EngineCommand::Fence, now);
        }
    }

    /// Whether nobody but this node can win: a lease is not needed (R13). Of a record that is known
    /// in part, one part without the peer is enough.
    fn is_unrivalled(&self) -> bool {
        let peer: NodeId = self.me().peer();
        // A write under way may land at any moment, and make the peer a member everywhere.
        let opens = self.open.as_ref().is_some_and(|open| {
            open.wanted.owner == Some(self.me()) && open.wanted.is_member(peer)
        });
        let newest = self.newest().map(|newest| newest.record);
        !opens && newest.is_some_and(|record| self.owns(&record) && !record.is_member(peer))
    }

    /// End of the lease. `None`: not needed, or a link renews it.
    pub(super) fn lease_until(&self) -> Option<Tick> {
        // Right after growing, the last status is from before a lease was needed.
        let grown = |status: &Status| status.link == LinkState::Up && status.lease_until.is_none();
        if self.is_unrivalled() || self.engines.any(grown) || self.link_renews() {
            return None;
        }
        Some(self.promised_until())
    }

    /// Until when the peer has promised to take nothing over, by all that was heard here. A link
    /// may have renewed it since.
    fn promised_until(&self) -> Tick {
        let links = self.engines.iter().map(|engine| match &engine.status {
            Some(status) => status.lease_until.unwrap_or(Tick(0)),
            None => engine.lease_until,
        });
        links.max().unwrap_or(Tick(0)).max(self.heartbeat_lease())
    }

    /// What the next daemon of this boot has to know of it; `kept` is what the last one has left.
    /// `None`: nobody else can win, or this node is not the owner.
    pub fn lease_to_keep(&self, kept: Option<Tick>) -> Option<Tick> {
        let Some(newest) = self.newest() else { return kept };
        let needed = self.owns(&newest.record) && !self.is_unrivalled();
        needed.then(|| self.promised_until().max(kept.unwrap_or(Tick(0))))
    }

    /// Whether the peer answers pings of a link. An engine tells when its lease ends and when it
    /// has one again, not of every answer: what it said last holds as long as the link is up.
    fn link_renews(&self) -> bool {
        self.engines.iter().any(|engine| {
            let valid = |until: Tick| until > engine.received;
            let renews = |status: &Status| {
                status.link == LinkState::Up && status.lease_until.is_some_and(valid)
            };
            engine.status.as_ref().is_some_and(renews)
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
