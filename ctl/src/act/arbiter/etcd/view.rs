//! What one consistent look into etcd says about a group, and whether it may be believed. Pure.
//! Always: record, both proofs and the pair's id come from one range of one revision, so a proof is
//! never of one store and the record of another.
//!
//! Both nodes must see one etcd. Its cluster id does not prove that: it is made from the first
//! members' names and addresses, so that two servers started apart with the same settings, one per
//! node on loopback, have the same. While the peer is heard each node therefore finds the fresh
//! nonce of the other, as in a directory. While it is away the pair's id and the cluster id must be
//! those that were kept at the last proof; the cluster id tells a restored or another etcd apart.

use super::api::Range;
use crate::act::arbiter::{PairView, Trouble};
use crate::decide::event::SwapResult;
use crate::decide::record::{RECORD_BYTES_MAX, Record};
use lockstep_engine::units::{ClusterId, GroupId, NodeId, Nonce, Version};
use serde::{Deserialize, Serialize};

/// Where a group's keys are.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    pub root: String,
    pub cluster: ClusterId,
    pub group: GroupId,
    pub node: NodeId,
}

impl Keys {
    /// All keys of the group.
    pub fn prefix(&self) -> String {
        format!("{}/{}/{}/", self.root, self.cluster, self.group)
    }

    /// The record.
    pub fn record(&self) -> String {
        self.prefix() + "record"
    }

    /// The pair's id.
    pub fn pair(&self) -> String {
        self.prefix() + "pair"
    }

    /// What `node` has left for the other to find.
    pub fn proof(&self, node: NodeId) -> String {
        format!("{}nonce-{node}", self.prefix())
    }
}

/// The store that this node has proved, as kept on its own disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Kept {
    /// Id that the pair has left in the store.
    pub pair: Nonce,
    /// Id of the etcd cluster.
    pub store: u64,
}

/// What one range told.
#[derive(Debug)]
pub(super) struct View {
    /// Id of the etcd cluster.
    pub store: u64,
    /// Last change of the record; 0 when there is none.
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
    /// Reads the keys of a range.
    pub fn of(range: Range, keys: &Keys) -> View {
        let mut view = View {
            store: range.header.cluster_id,
            revision: 0,
            record: Ok(None),
            own: None,
            peer: None,
            pair: None,
        };
        let (record, pair) = (keys.record(), keys.pair());
        let (own, peer) = (keys.proof(keys.node), keys.proof(keys.node.peer()));
        for found in range.kvs {
            if found.key == record.as_bytes() {
                view.revision = found.mod_revision;
                view.record = decode(&found.value, found.mod_revision, keys).map(Some);
            } else if found.key == pair.as_bytes() {
                view.pair = nonce(&found.value);
            } else if found.key == own.as_bytes() {
                view.own = nonce(&found.value);
            } else if found.key == peer.as_bytes() {
                view.peer = nonce(&found.value);
            }
        }
        view
    }

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
        if self.pair != Some(kept.pair) {
            return Err(Trouble::OtherPair);
        }
        let found = self.record.as_ref().map_err(Clone::clone)?.as_ref().map(|r| r.version);
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

fn nonce(value: &[u8]) -> Option<Nonce> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

fn decode(value: &[u8], revision: u64, keys: &Keys) -> Result<Record, Trouble> {
    if value.len() > RECORD_BYTES_MAX {
        return Err(Trouble::Unreadable { revision });
    }
    let record = Record::decode(value).map_err(|_| Trouble::Unreadable { revision })?;
    if record.cluster != keys.cluster || record.group != keys.group {
        return Err(Trouble::ForeignRecord);
    }
    Ok(record)
}
