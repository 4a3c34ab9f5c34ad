//! Where a group's keys are in etcd, and what one range of them told.
//! Always: record, both proofs and the pair's id are read from one range of one revision.

use super::api::Range;
use crate::act::arbiter::view::{View, decode};
use lockstep_engine::units::{ClusterId, GroupId, NodeId, Nonce};

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

    /// Reads the keys of a range.
    pub fn view(&self, range: Range) -> View {
        let mut view = View {
            store: range.header.cluster_id,
            revision: 0,
            record: Ok(None),
            own: None,
            peer: None,
            pair: None,
        };
        let of = (self.cluster, self.group);
        let (record, pair) = (self.record(), self.pair());
        let (own, peer) = (self.proof(self.node), self.proof(self.node.peer()));
        for found in range.kvs {
            if found.key == record.as_bytes() {
                view.revision = found.mod_revision;
                view.record = decode(&found.value, found.mod_revision, of).map(Some);
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
}

fn nonce(value: &[u8]) -> Option<Nonce> {
    std::str::from_utf8(value).ok()?.parse().ok()
}
