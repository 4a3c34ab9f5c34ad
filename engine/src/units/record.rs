//! The arbiter record as one volume sees it, and an attempt to change it.
//! Always: `version` orders commands, `epoch` fences frames, `nonce` tells two authors apart.

use super::{Epoch, Generation, NodeId, Nonce, Version};
use serde::{Deserialize, Serialize};

/// The set of nodes that hold every acknowledged write.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash, Serialize, Deserialize)]
#[serde(from = "Vec<NodeId>", into = "Vec<NodeId>")]
pub struct Members(u8);

impl Members {
    /// Nobody.
    pub const NONE: Members = Members(0);
    /// Both nodes.
    pub const BOTH: Members = Members(0b11);

    /// One node alone.
    pub const fn only(node: NodeId) -> Members {
        Members(node.to_byte())
    }
    /// Whether `node` is in the set.
    pub const fn contains(self, node: NodeId) -> bool {
        self.0 & node.to_byte() != 0
    }
    /// The union of two sets.
    pub const fn union(self, other: Members) -> Members {
        Members(self.0 | other.0)
    }
    /// Byte on disk and wire: bit 0 is node a, bit 1 node b.
    pub const fn to_byte(self) -> u8 {
        self.0
    }
    /// Set of that byte.
    pub const fn from_byte(byte: u8) -> Option<Members> {
        if byte <= 0b11 { Some(Members(byte)) } else { None }
    }
}

impl From<Vec<NodeId>> for Members {
    fn from(nodes: Vec<NodeId>) -> Members {
        nodes.into_iter().fold(Members::NONE, |set, node| set.union(Members::only(node)))
    }
}

impl From<Members> for Vec<NodeId> {
    fn from(set: Members) -> Vec<NodeId> {
        [NodeId::A, NodeId::B].into_iter().filter(|node| set.contains(*node)).collect()
    }
}

/// The record of the arbiter, cut down to one volume (SAFETY §1).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VolumeRecord {
    /// Raised by one with every change.
    pub version: Version,
    /// Raised when the right to write passes on.
    pub epoch: Epoch,
    /// Nodes that hold every acknowledged write.
    pub members: Members,
    /// Node that may serve the volume.
    pub primary: Option<NodeId>,
    /// Data history that members hold, or adopt at their first solo write.
    pub generation: Generation,
    /// Data history that `generation` grew out of.
    pub parent: Generation,
    /// Distinguishes two writes of the same version.
    pub nonce: Nonce,
    /// Author of this version.
    pub writer: NodeId,
    /// Wall-clock milliseconds when the author wrote it; for people only.
    pub since: u64,
    /// Written by an operator against the rules; loss was shown and accepted.
    pub forced: bool,
}

/// A conditional write that may still take effect (R4): sent or about to be sent, not closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenAttempt {
    /// Version that the write is conditional on.
    pub expected: Version,
    /// The record it would install.
    pub wanted: VolumeRecord,
}
