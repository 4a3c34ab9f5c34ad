//! The engines of a group, all or nothing: the owner is one node for the whole group (DESIGN §7),
//! so it promotes when every engine may, passes on when every engine is secondary, and fences all.
//! Always: one engine for each volume, in the order of the configuration; a group without volumes
//! has its keeper in the place of an engine. A question that allows something is asked of all of
//! them, and one that is away allows nothing; a question that forbids something is asked of any.

use super::state::{Call, EngineSide, Purpose};
use crate::decide::event::StepId;
use lockstep_engine::units::{Role, Status, Tick, Version, VolumeId};

/// The engines of the group.
#[derive(Clone, Debug)]
pub(super) struct Engines(Vec<EngineSide>);

impl Engines {
    pub fn new(volumes: &[VolumeId], now: Tick) -> Engines {
        Engines(volumes.iter().map(|volume| EngineSide::new(*volume, now)).collect())
    }

    pub fn iter(&self) -> impl Iterator<Item = &EngineSide> {
        self.0.iter()
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut EngineSide> {
        self.0.iter_mut()
    }

    pub fn count(&self) -> usize {
        self.0.len()
    }

    pub fn of(&self, volume: VolumeId) -> Option<&EngineSide> {
        self.0.iter().find(|engine| engine.volume == volume)
    }

    pub fn of_mut(&mut self, volume: VolumeId) -> Option<&mut EngineSide> {
        self.0.iter_mut().find(|engine| engine.volume == volume)
    }

    /// Statuses of the engines that are there.
    pub fn statuses(&self) -> impl Iterator<Item = &Status> {
        self.0.iter().filter_map(|engine| engine.status.as_ref())
    }

    /// Whether all are there and this holds for each of them.
    pub fn all(&self, holds: impl Fn(&Status) -> bool) -> bool {
        self.0.iter().all(|engine| engine.status.as_ref().is_some_and(&holds))
    }

    /// Whether this holds for one that is there.
    pub fn any(&self, holds: impl Fn(&Status) -> bool) -> bool {
        self.statuses().any(holds)
    }

    /// Whether every engine is there.
    pub fn are_there(&self) -> bool {
        self.all(|_| true)
    }

    /// Whether no engine is there.
    pub fn are_away(&self) -> bool {
        !self.any(|_| true)
    }

    /// Whether every engine is there, answers no client, and was not told to.
    pub fn are_quiet(&self) -> bool {
        self.0.iter().all(EngineSide::is_at_rest)
    }

    /// The same of those that are there.
    pub fn rest(&self) -> bool {
        self.0.iter().all(|engine| engine.status.is_none() || engine.is_at_rest())
    }

    /// Whether every engine is there and serves.
    pub fn are_primary(&self) -> bool {
        self.all(|status| status.role == Role::Primary)
    }

    /// Whether the link of every engine has a session with both hellos.
    pub fn are_connected(&self) -> bool {
        self.all(super::state::is_connected)
    }

    /// Whether every engine is there and answers no pings.
    pub fn are_silent(&self) -> bool {
        self.all(|status| status.silent)
    }

    /// Whether a copy here can't serve: its engine refuses every promotion but a forced one.
    pub fn any_spoiled(&self) -> bool {
        self.any(super::state::is_spoiled)
    }

    /// Whether every engine is there and has accepted the record of that version.
    pub fn are_told(&self, version: Version) -> bool {
        self.all(|status| status.record.is_some_and(|seen| seen.version == version))
    }

    /// Whether a command of this kind is under way.
    pub fn calling(&self, kind: fn(&Purpose) -> bool) -> bool {
        self.0.iter().any(|engine| engine.calling(kind))
    }

    /// Ends a command under way.
    pub fn take_call(&mut self, id: StepId) -> Option<(VolumeId, Call)> {
        self.0.iter_mut().find_map(|engine| {
            let call = engine.calls.remove(&id)?;
            Some((engine.volume, call))
        })
    }

    /// Volumes of the engines for which this holds.
    pub fn which(&self, holds: impl Fn(&EngineSide) -> bool) -> Vec<VolumeId> {
        self.0.iter().filter(|engine| holds(engine)).map(|engine| engine.volume).collect()
    }
}
