//! A group without volumes: its record has one entry all the same, the seat, whose members are the
//! nodes that may have the group. It has no data, so that its copies are always equal and no mark
//! has to prove it; and no link, so that heartbeats are everything that is heard of the peer.
//! Filled in here, the keeper's status reads like that of an engine, and every rule beside holds
//! for both: the lease is that of the answers to heartbeats; an owner whose peer stops answering
//! shrinks the seat to itself in time, and so goes on without a lease (R13); it grows again when
//! the peer has answered for a while; a takeover needs the seat, evidence, and the end of the
//! lease.

use super::Decider;
use super::state::serves;
use crate::decide::event::PeerBeat;
use crate::decide::keeper;
use crate::decide::transition::{self, Inputs, Transition};
use lockstep_engine::limits::Times;
use lockstep_engine::units::{
    DiskState, InSyncMark, LinkState, Members, Mirror, Need, Role, Span, Tick,
};

impl Decider {
    /// Whether the group has no volumes.
    pub fn is_seat(&self) -> bool {
        self.settings.volumes.is_empty()
    }

    /// The peer's promise to the last daemon of this boot, which is as good for this one (R13). An
    /// engine tells that of its link itself.
    pub fn was_promised(&mut self, until: Tick) {
        let sent = Tick(until.0.saturating_sub(self.times().lease.0));
        self.peer.lease_from = self.peer.lease_from.max(Some(sent));
    }

    /// Brings what the keeper can't know to what heartbeats say.
    pub(super) fn fill_seat(&mut self, now: Tick) {
        if !self.is_seat() {
            return;
        }
        let (me, boot, times) = (self.me(), self.settings.boot, *self.times());
        let base = self.base();
        let seat = keeper::seat_of(self.settings.group);
        let entry = base.as_ref().and_then(|base| base.for_volume(seat));
        let silent_at = self.peer.heard.after(times.heartbeat_timeout);
        let heard = self.peer.beat.is_some() && now < silent_at;
        let shrink_at = self.shrink_at();
        let answers = heard && now < shrink_at;
        self.answered_since = answers.then(|| self.answered_since.unwrap_or(now));
        let grow_at = self.answered_since.map(|since| since.after(times.heartbeat_timeout));
        let given_up = |beat: &PeerBeat| {
            beat.released.is_some() && beat.released == entry.map(|entry| entry.version)
        };
        let quiet = self.peer.beat.as_ref().is_some_and(given_up);
        let heard_at = self.peer.heard;
        let Some(engine) = self.engines.of_mut(seat) else { return };
        let Some(status) = &mut engine.status else { return };
        let serving = serves(status.role);
        let both = entry.is_some_and(|entry| entry.members == Members::BOTH);
        let alone = entry.is_some_and(|entry| entry.members == Members::only(me));
        status.disk = DiskState::UpToDate;
        status.generation = entry.map(|entry| entry.generation).unwrap_or_default();
        status.mark = entry.map(|entry| InSyncMark { generation: entry.generation, boot });
        status.link = if heard { LinkState::Up } else { LinkState::Down };
        status.peer_heard = Some(heard_at);
        status.peer_disk = heard.then_some(DiskState::UpToDate);
        // What serves there is the daemon that says so itself.
        status.peer_role = heard.then_some(if quiet { Role::Secondary } else { Role::Primary });
        // Never one of a link: that of heartbeats is all there is.
        status.lease_until = Some(Tick(0));
        status.mirror = match (both, alone) {
            (true, _) if answers || heard && !serving => Mirror::InSync,
            (_, true) if serving => Mirror::Solo,
            _ => Mirror::Idle,
        };
        status.need = match (serving, both, alone) {
            (true, true, _) if now >= shrink_at => Some(Need::Shrink),
            (true, _, true) if grow_at.is_some_and(|at| now >= at) => Some(Need::Grow),
            _ => None,
        };
        for at in [Some(silent_at), Some(shrink_at), grow_at].into_iter().flatten() {
            if at > now {
                self.wake_at(at);
            }
        }
    }

    /// When an owner whose peer does not answer asks for the seat alone: so that both attempts end
    /// before the lease does.
    fn shrink_at(&self) -> Tick {
        let times = self.times();
        let attempts = times.arbiter_attempt.0.saturating_mul(Times::ARBITER_ATTEMPTS);
        let patience = Span(times.lease.0.saturating_sub(attempts));
        self.peer.lease_from.map_or(Tick(0), |sent| sent.after(patience))
    }

    /// The first record, without an operator: no data could be lost. Both nodes have to say that
    /// they have never seen one, so that a store that was emptied is not taken for a new one.
    pub(super) fn create_seat(&mut self, now: Tick) {
        let neither = self.peer.beat.as_ref().is_some_and(|beat| beat.version.is_none());
        let connected = self.engines.are_connected();
        if self.op.is_none() && neither && connected && now >= self.needs_at {
            self.try_create_seat(true, now);
        }
    }

    /// Writes the first record, if the store has none and none was ever seen here.
    pub(super) fn try_create_seat(&mut self, both: bool, now: Tick) -> bool {
        let arbiter = &self.arbiter;
        let absent = arbiter.fresh && arbiter.absent && !arbiter.rolled_back;
        let new = absent && arbiter.known.is_none() && self.highest().0 == 0;
        if !self.is_seat() || !new || self.open.is_some() || !self.engines.are_there() {
            return false;
        }
        let id = (self.settings.cluster, self.settings.group);
        let inputs: Inputs = self.inputs();
        let author = self.author();
        match transition::create(None, id, both, author, &inputs) {
            Ok(first) => {
                self.begin(Transition::Create, None, first);
                self.drive_open(now);
                true
            }
            Err(_) => false,
        }
    }
}
