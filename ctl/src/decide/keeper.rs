//! The keeper of a group without volumes: what an engine's superblock is to the other groups. It
//! keeps the record last seen (the floor against a rollback), the attempts (R4) and whether this
//! node serves, in a file that whoever drives it makes durable before it reports.
//! Always: a keeper takes no record older than its own; it serves nobody by itself, so that a fence
//! is done when it is decided; what it says of the peer is filled in from heartbeats by `seat`.
//! Survives: a restart of the daemon, which finds it serving; a reboot, after which it does not.

use super::step::EngineCommand;
use lockstep_engine::units::{
    BootId, DiskState, GroupId, NodeId, OpenAttempt, Role, StartId, Status, VolumeId, VolumeRecord,
};
use serde::{Deserialize, Serialize};

/// Attempts that are kept at once, as an engine does.
const ATTEMPTS_MAX: usize = 2;

/// The entry that the record of a group without volumes has in the place of one: its members are
/// the nodes that may have the group.
pub const fn seat_of(group: GroupId) -> VolumeId {
    VolumeId(group.0)
}

/// What is in the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// Last accepted record.
    pub record: Option<VolumeRecord>,
    /// Attempts not yet closed.
    pub attempts: Vec<OpenAttempt>,
    /// Boot in which this node last served the group, `NONE` after an orderly end.
    pub primary_boot: BootId,
    /// It serves, if the boot is still that one.
    pub serves: bool,
}

/// The keeper of one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keeper {
    node: NodeId,
    seat: VolumeId,
    boot: BootId,
    start: StartId,
    silent: bool,
    kept: Kept,
}

impl Keeper {
    /// Takes up what an earlier life has left; `start` names this one.
    pub fn open(
        node: NodeId,
        group: GroupId,
        (boot, start): (BootId, StartId),
        kept: Kept,
    ) -> Keeper {
        let serves = kept.serves && kept.primary_boot == boot;
        let kept = Kept { serves, ..kept };
        Keeper { node, seat: seat_of(group), boot, start, silent: false, kept }
    }

    /// What has to be in the file.
    pub fn kept(&self) -> &Kept {
        &self.kept
    }

    /// What it says of itself.
    pub fn status(&self) -> Status {
        let record = self.kept.record;
        Status {
            boot: self.boot,
            start: self.start,
            primary_boot: self.kept.primary_boot,
            role: if self.kept.serves { Role::Primary } else { Role::Secondary },
            disk: DiskState::UpToDate,
            record,
            epoch: record.map(|record| record.epoch).unwrap_or_default(),
            attempts: self.kept.attempts.clone(),
            silent: self.silent,
            ..Status::at_rest(self.seat, self.node)
        }
    }

    /// The keeper after this command. Its file comes first: what it says counts once that is
    /// durable, but for a fence, which counts at once.
    ///
    /// # Errors
    /// The stable word of a refusal; nothing has changed.
    pub fn after(&self, command: &EngineCommand) -> Result<Keeper, &'static str> {
        let mut next = self.clone();
        match command {
            EngineCommand::Learn(record) => next.learn(*record)?,
            EngineCommand::Promote(record) => {
                if record.primary != Some(self.node) {
                    return Err("not-primary-in-record");
                }
                if !record.members.contains(self.node) {
                    return Err("not-member"); // R3
                }
                next.learn(*record)?;
                next.kept.serves = true;
                next.kept.primary_boot = self.boot;
            }
            EngineCommand::Demote => {
                next.kept.serves = false;
                next.kept.primary_boot = BootId::NONE;
            }
            EngineCommand::Fence => next.kept.serves = false,
            EngineCommand::Attempt(attempt) if self.kept.attempts.contains(attempt) => {}
            EngineCommand::Attempt(_) if self.kept.attempts.len() >= ATTEMPTS_MAX => {
                return Err("too-many-attempts");
            }
            EngineCommand::Attempt(attempt) => next.kept.attempts.push(*attempt),
            EngineCommand::PrepareTakeover => next.silent = true,
            EngineCommand::CancelTakeover => next.silent = false,
            EngineCommand::Mark(_) => {}
        }
        Ok(next)
    }

    fn learn(&mut self, record: VolumeRecord) -> Result<(), &'static str> {
        if let Some(seen) = &self.kept.record {
            if seen.version > record.version {
                return Err("older-record");
            }
            if seen.version == record.version && seen.nonce != record.nonce {
                return Err("other-nonce");
            }
        }
        self.kept.record = Some(record);
        self.kept.attempts.retain(|attempt| attempt.expected >= record.version);
        if record.primary == Some(self.node.peer()) {
            self.kept.serves = false;
            self.kept.primary_boot = BootId::NONE;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "keeper_tests.rs"]
mod tests;
