//! What one consistent look into a store that is a server says about a group, and whether it may be
//! believed. Pure.
//! Always: record, both proofs and the pair's id come from one look, so a proof is never of one
//! store and the record of another.
//!
//! Both nodes must see one store. What a store says of itself does not prove that: two etcd servers
//! started apart with the same settings, one per node on loopback, have the same cluster id. While
//! the peer is heard each node therefore finds the fresh nonce of the other, as in a directory.
//! While it is away the pair's id and the store's must be those that were kept at the last proof;
//! the latter tells a restored or another store apart.

use super::{PairView, Trouble};
use crate::decide::event::SwapResult;
use crate::decide::record::{RECORD_BYTES_MAX, Record};
use lockstep_engine::units::{ClusterId, GroupId, Nonce, Version};
use serde::{Deserialize, Serialize};

/// The store that this node has proved, as kept on its own disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Kept {
    /// Id that the pair has left in the store.
    pub pair: Nonce,
    /// Id of the store.
    pub store: u64,
}

/// What one look told.
#[derive(Debug)]
pub(super) struct View {
    /// Id of the store.
    pub store: u64,
    /// The store's own number of the last change of the record; 0 when there is none.
    pub revision: u64,
    /// The record.
    pub record: Result<Option<Record>, Trouble>,
    /// Own proof.
    pub own: Option<Nonce>,
    /// The peer's proof.
    pub peer: Option<Nonce>,
    /// The pair's id.
    pub pair: Option<Nonce>,
}

/// What `judge` asks for when it believes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Proved {
    /// The pair has no id in this store yet.
    Unnamed,
    /// The pair's store.
    Pair(Nonce),
}

impl View {
    /// Version of the record.
    pub fn version(&self) -> Option<Version> {
        self.record.as_ref().ok()?.as_ref().map(|record| record.version)
    }

    /// Whether the store may be believed now.
    pub fn judge(&self, pair: PairView, kept: Option<Kept>) -> Result<Proved, Trouble> {
        if pair.peer_heard {
            let expected = pair.peer_nonce.ok_or(Trouble::PeerUnproved)?;
            if self.peer != Some(expected) {
                return Err(Trouble::Different { found: self.peer });
            }
            return Ok(self.pair.map_or(Proved::Unnamed, Proved::Pair));
        }
        let kept = kept.ok_or(Trouble::NeverProved)?;
        if self.store != kept.store {
            return Err(Trouble::OtherStore { found: self.store, proved: kept.store });
        }
        let found = self.record.as_ref().map_err(Clone::clone)?.as_ref().map(|r| r.version);
        // With the record the pair's id is gone too: deleted, rather than of another pair.
        let emptied = self.pair.is_none() && found.is_none() && pair.floor > Some(Version(0));
        if self.pair != Some(kept.pair) && !emptied {
            return Err(Trouble::OtherPair);
        }
        let floor = pair.floor.ok_or(Trouble::FloorUnknown)?;
        if floor > Version(0) && found.is_none_or(|found| found < floor) {
            return Err(Trouble::RolledBack { found, persisted: floor });
        }
        Ok(Proved::Pair(kept.pair))
    }

    /// What is known of an attempt to install `next`: `None` while it may still land (R4).
    pub fn outcome(&self, next: &Record) -> Result<Option<SwapResult>, Trouble> {
        match self.record.as_ref().map_err(Clone::clone)? {
            Some(now) if now.version == next.version && now.nonce == next.nonce => {
                Ok(Some(SwapResult::Won))
            }
            Some(now) if now.version >= next.version => Ok(Some(SwapResult::Lost(now.clone()))),
            _ => Ok(None),
        }
    }
}

/// The record of these bytes, which the store's change `revision` put there.
pub(super) fn decode(
    value: &[u8],
    revision: u64,
    (cluster, group): (ClusterId, GroupId),
) -> Result<Record, Trouble> {
    if value.len() > RECORD_BYTES_MAX {
        return Err(Trouble::Unreadable { revision });
    }
    let record = Record::decode(value).map_err(|_| Trouble::Unreadable { revision })?;
    if record.cluster != cluster || record.group != group {
        return Err(Trouble::ForeignRecord);
    }
    Ok(record)
}
