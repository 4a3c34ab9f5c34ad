//! The forced stop of the other node's instance in a takeover (REFERENCE §5).
//! Always: with a store it comes after the record was won, which fences the other node already, so
//! that its failure is an alarm and no more; without one it comes before the record is written, and
//! its failure keeps the takeover from happening. A node that is heard is never stopped.

use super::{Daemon, End};
use crate::act::clock;
use crate::act::events::Weight;
use crate::config::cluster::ArbiterSpec;
use crate::decide::event::{StepId, SwapResult};
use crate::decide::node::Note;
use crate::decide::record::Record;
use crate::decide::settings::GroupIndex;
use crate::decide::step::{EngineCommand, Note as OfArbitration};
use crate::decide::transition::Transition;
use lockstep_engine::units::{Version, VolumeId};
use std::collections::{BTreeMap, BTreeSet};

/// Forced stops that are due or under way.
#[derive(Default)]
pub(super) struct Stops {
    /// Groups that were taken over: their first promotion waits for a stop.
    due: BTreeSet<GroupIndex>,
    /// Promotions that wait, by volume.
    waiting: BTreeMap<GroupIndex, BTreeMap<VolumeId, (StepId, EngineCommand)>>,
}

impl Daemon {
    /// Whether the other node is to be stopped, because it is silent.
    fn would_stop(&self) -> bool {
        let stops = self.view.forced_stop.is_some() && self.effects.mover.is_some();
        stops && self.node.view(clock::now()).peer.is_none()
    }

    fn has_store(&self) -> bool {
        !matches!(self.view.arbiter, ArbiterSpec::None { .. })
    }

    /// A record was won by a takeover: what is promoted under it waits for the stop.
    pub(super) fn note_for_stops(&mut self, note: &Note) {
        let Note::Arbitration(group, OfArbitration::Won { transition, .. }) = note else { return };
        let takeover = *transition == Transition::Takeover.name();
        if takeover && self.has_store() && self.would_stop() {
            self.effects.stops.due.insert(*group);
        }
    }

    /// Holds a promotion back while the other instance is being stopped; says whether it did.
    pub(super) fn waits_for_stop(
        &mut self,
        group: GroupIndex,
        id: StepId,
        volume: VolumeId,
        command: &EngineCommand,
    ) -> bool {
        if !matches!(command, EngineCommand::Promote(_)) {
            if matches!(command, EngineCommand::Fence | EngineCommand::Demote) {
                // Nothing is promoted any more; whoever wants it again says so.
                self.effects.stops.due.remove(&group);
                self.effects.stops.waiting.remove(&group);
            }
            return false;
        }
        let begins = self.effects.stops.due.remove(&group);
        if !begins && !self.effects.stops.waiting.contains_key(&group) {
            return false;
        }
        // One that was given up meanwhile is asked for again.
        let waiting = self.effects.stops.waiting.entry(group).or_default();
        waiting.insert(volume, (id, command.clone()));
        if begins {
            let ends = self.ends.clone();
            let stopping = self.stop_other();
            tokio::spawn(async move {
                let failed = stopping.await.err();
                // The receiver lives as long as the daemon.
                let _ = ends.send(End::ForcedStop { group, failed }).await;
            });
        }
        true
    }

    /// The stop has ended, well or not: what waited goes on.
    pub(super) fn stop_ended(&mut self, group: GroupIndex, failed: Option<String>) {
        self.tell_stop(group, failed);
        for (volume, (id, command)) in self.effects.stops.waiting.remove(&group).unwrap_or_default()
        {
            if self.may_command(group, &command) {
                self.command(group, id, volume, command);
            }
        }
    }

    fn tell_stop(&self, group: GroupIndex, failed: Option<String>) {
        let name = self.group_name(group);
        let peer = self.view.node.peer();
        let (weight, code, what) = match failed {
            None => (Weight::Warning, "forced-stop", "its instance was stopped".to_owned()),
            Some(cause) => (Weight::Alarm, "forced-stop-failed", cause),
        };
        self.tell(weight, code, Some(&name), format!("group {name}: node {peer}: {what}"));
    }

    /// Without a store: stops the other instance, then writes the record; says whether it does.
    pub(super) fn stops_before(
        &mut self,
        group: GroupIndex,
        id: StepId,
        expected: Option<Version>,
        next: &Record,
    ) -> bool {
        let takes_over = || {
            let view = self.node.view(clock::now());
            let attempt = view.groups.get(group.0).and_then(|one| one.arbitration.attempt.as_ref());
            attempt.is_some_and(|one| one.transition == Transition::Takeover.name())
        };
        if self.has_store() || !self.would_stop() || !takes_over() {
            return false;
        }
        let Some(store) = self.stores.get(group.0) else { return false };
        let (arbiter, next) = (std::sync::Arc::clone(&store.arbiter), next.clone());
        let (stopping, ends) = (self.stop_other(), self.ends.clone());
        tokio::spawn(async move {
            let failed = stopping.await.err();
            let result = match &failed {
                None => arbiter.swap(expected, next).await,
                // Nothing was written: it is asked for again, and with it the stop.
                Some(_) => SwapResult::Unknown,
            };
            let _ = ends.send(End::ForcedStop { group, failed }).await;
            let _ = ends.send(End::Swapped { group, id, result }).await;
        });
        true
    }

    /// Stops the other node's instance, within the configured time.
    fn stop_other(&self) -> impl Future<Output = Result<(), String>> + Send + 'static {
        let (mover, stop) = (self.effects.mover.clone(), self.view.forced_stop.clone());
        async move {
            let (Some(mover), Some(stop)) = (mover, stop) else { return Ok(()) };
            mover.stop_instance(&stop.peer, clock::now().after(stop.timeout)).await
        }
    }
}
