//! The arbiter record of a failover group: who owns it and which nodes hold every acknowledged
//! write of each of its volumes (DESIGN §7). At most 4 KiB as JSON.

use lockstep_engine::units::{
    ClusterId, Epoch, Generation, GroupId, Members, NodeId, Nonce, Version, VolumeId, VolumeRecord,
};
use serde::{Deserialize, Serialize};

/// The record of one group.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Cluster that the group belongs to.
    pub cluster: ClusterId,
    /// The group.
    pub group: GroupId,
    /// Raised by one with every change.
    pub version: Version,
    /// Raised when ownership passes on.
    pub epoch: Epoch,
    /// Owner; primary of every volume of the group.
    pub owner: Option<NodeId>,
    /// Lets an author recognise its own write.
    pub nonce: Nonce,
    /// Author of this version.
    pub writer: NodeId,
    /// Wall-clock milliseconds of the author; for people only.
    pub since: u64,
    /// Written by an operator against the rules.
    pub forced: bool,
    /// The volumes of the group.
    pub volumes: Vec<VolumeEntry>,
}

/// One volume in a group's record.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VolumeEntry {
    /// The volume.
    pub volume: VolumeId,
    /// Nodes that hold every acknowledged write.
    pub members: Members,
    /// Data history of the members.
    pub generation: Generation,
    /// History that it grew out of.
    pub parent: Generation,
}

impl Record {
    /// The record as one volume sees it; `None` when the volume is not in it.
    pub fn for_volume(&self, volume: VolumeId) -> Option<VolumeRecord> {
        let entry = self.volumes.iter().find(|entry| entry.volume == volume)?;
        Some(VolumeRecord {
            version: self.version,
            epoch: self.epoch,
            members: entry.members,
            primary: self.owner,
            generation: entry.generation,
            parent: entry.parent,
            nonce: self.nonce,
            writer: self.writer,
            since: self.since,
            forced: self.forced,
        })
    }
}
