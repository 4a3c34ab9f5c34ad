//! The arbiter record of a failover group: who owns it and which nodes hold every acknowledged
//! write of each of its volumes (DESIGN §7). At most 4 KiB as JSON.

use lockstep_engine::units::{
    ClusterId, Epoch, Generation, GroupId, Members, NodeId, Nonce, Version, VolumeId, VolumeRecord,
};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Most bytes of an encoded record: what every store takes in one piece.
pub const RECORD_BYTES_MAX: usize = 4096;
/// Most volumes of a group. An entry is at most 168 bytes of JSON, all the rest below 400:
/// 20 × 168 + 400 < 4096.
pub const VOLUMES_MAX: usize = 20;
const _: () = assert!(VOLUMES_MAX * 168 + 400 < RECORD_BYTES_MAX);

/// Why bytes are no record, or a record may not be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordError {
    /// More bytes than a record may have.
    TooLong { bytes: usize },
    /// Not JSON of this shape.
    Malformed { line: usize, column: usize },
    /// Version or epoch is zero.
    NoVersion,
    /// No volume, or too many.
    VolumeCount { count: usize },
    /// The same volume twice.
    TwiceVolume { volume: VolumeId },
    /// Nobody holds the volume.
    NoMembers { volume: VolumeId },
    /// The owner does not hold the volume.
    OwnerNotMember { volume: VolumeId, owner: NodeId },
    /// A volume without a history, or one that grew out of itself.
    BadGeneration { volume: VolumeId },
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("arbiter record: ")?;
        match self {
            RecordError::TooLong { bytes } => {
                write!(f, "{bytes} bytes, at most {RECORD_BYTES_MAX} allowed")?;
            }
            RecordError::Malformed { line, column } => {
                write!(f, "not understood at line {line}, column {column}")?;
            }
            RecordError::NoVersion => f.write_str("version or epoch is 0")?,
            RecordError::VolumeCount { count } => {
                write!(f, "{count} volumes, 1 to {VOLUMES_MAX} allowed")?;
            }
            RecordError::TwiceVolume { volume } => write!(f, "volume {volume} appears twice")?,
            RecordError::NoMembers { volume } => write!(f, "volume {volume} has no members")?,
            RecordError::OwnerNotMember { volume, owner } => {
                write!(f, "owner {owner} is not a member of volume {volume}")?;
            }
            RecordError::BadGeneration { volume } => {
                write!(f, "volume {volume} has no generation of its own")?;
            }
        }
        f.write_str("; nothing was changed, check which store and key the configuration names")
    }
}

impl std::error::Error for RecordError {}

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
    /// The volumes of the group; of one without volumes, its seat (`keeper::seat_of`): which nodes
    /// may have it.
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

    /// A group of one volume, as that volume's engine has stored it.
    pub fn of_volume(
        cluster: ClusterId,
        group: GroupId,
        volume: VolumeId,
        seen: &VolumeRecord,
    ) -> Record {
        Record::of_parts(cluster, group, seen, &[(volume, *seen)])
    }

    /// The record of which each engine has stored its own part: what is the same in all parts is
    /// that of `head`. Parts of another version or nonce than `head`'s are left out.
    pub fn of_parts(
        cluster: ClusterId,
        group: GroupId,
        head: &VolumeRecord,
        parts: &[(VolumeId, VolumeRecord)],
    ) -> Record {
        let same = |(_, part): &&(VolumeId, VolumeRecord)| {
            part.version == head.version && part.nonce == head.nonce
        };
        let entry = |(volume, part): &(VolumeId, VolumeRecord)| VolumeEntry {
            volume: *volume,
            members: part.members,
            generation: part.generation,
            parent: part.parent,
        };
        Record {
            cluster,
            group,
            version: head.version,
            epoch: head.epoch,
            owner: head.primary,
            nonce: head.nonce,
            writer: head.writer,
            since: head.since,
            forced: head.forced,
            volumes: parts.iter().filter(same).map(entry).collect(),
        }
    }

    /// Whether `node` holds every acknowledged write of every volume. Only such a node can win the
    /// group (R3): `start`, `takeover` and the promotion after them ask it of every volume.
    pub fn is_member(&self, node: NodeId) -> bool {
        self.volumes.iter().all(|entry| entry.members.contains(node))
    }

    /// Whether `node` is the only member of every volume.
    pub fn is_alone(&self, node: NodeId) -> bool {
        self.volumes.iter().all(|entry| entry.members == Members::only(node))
    }

    /// Whether every volume has both members.
    pub fn has_both(&self) -> bool {
        self.volumes.iter().all(|entry| entry.members == Members::BOTH)
    }

    /// Checks what is true of every record that a transition makes.
    pub fn validate(&self) -> Result<(), RecordError> {
        if self.version == Version(0) || self.epoch == Epoch(0) {
            return Err(RecordError::NoVersion);
        }
        let count = self.volumes.len();
        if count == 0 || count > VOLUMES_MAX {
            return Err(RecordError::VolumeCount { count });
        }
        for (index, entry) in self.volumes.iter().enumerate() {
            let volume = entry.volume;
            if self.volumes[..index].iter().any(|earlier| earlier.volume == volume) {
                return Err(RecordError::TwiceVolume { volume });
            }
            if entry.members == Members::NONE {
                return Err(RecordError::NoMembers { volume });
            }
            if let Some(owner) = self.owner.filter(|owner| !entry.members.contains(*owner)) {
                return Err(RecordError::OwnerNotMember { volume, owner });
            }
            if !entry.generation.is_some() || entry.generation == entry.parent {
                return Err(RecordError::BadGeneration { volume });
            }
        }
        Ok(())
    }

    /// The record as JSON, valid and within bounds.
    pub fn encode(&self) -> Result<Vec<u8>, RecordError> {
        self.validate()?;
        let bytes = serde_json::to_vec(self).map_err(malformed)?;
        if bytes.len() > RECORD_BYTES_MAX {
            return Err(RecordError::TooLong { bytes: bytes.len() });
        }
        Ok(bytes)
    }

    /// The record of these bytes, checked.
    pub fn decode(bytes: &[u8]) -> Result<Record, RecordError> {
        if bytes.len() > RECORD_BYTES_MAX {
            return Err(RecordError::TooLong { bytes: bytes.len() });
        }
        let record: Record = serde_json::from_slice(bytes).map_err(malformed)?;
        record.validate()?;
        Ok(record)
    }
}

fn malformed(error: serde_json::Error) -> RecordError {
    RecordError::Malformed { line: error.line(), column: error.column() }
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
