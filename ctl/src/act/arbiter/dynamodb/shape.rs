//! What an item of the table means, for one group. Pure.
//! Always: record, both proofs and the pair's id are read from one item, which DynamoDB changes
//! whole; a version beside the record that is not the record's own makes it no record.

use crate::act::arbiter::Trouble;
use crate::act::arbiter::view::{View, decode};
use crate::decide::record::Record;
use lockstep_aws::Item;
use lockstep_engine::units::{ClusterId, GroupId, NodeId, Nonce};
use sha2::{Digest, Sha256};

/// The note with the pair's id.
pub(super) const PAIR: &str = "pair";

/// Where a group's record is.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    pub cluster: ClusterId,
    pub group: GroupId,
    pub node: NodeId,
}

impl Shape {
    /// The item.
    pub fn id(&self) -> String {
        format!("{}/{}", self.cluster, self.group)
    }

    /// The note that `node` leaves for the other to find.
    pub fn proof(node: NodeId) -> String {
        format!("nonce-{node}")
    }

    /// What an item says; none is one that says nothing.
    pub fn view(&self, item: Option<&Item>, store: u64) -> View {
        let note = |name: &str| -> Option<Nonce> { item?.notes.get(name)?.parse().ok() };
        let revision = item.and_then(|item| item.version).unwrap_or(0);
        View {
            store,
            revision,
            record: item.map_or(Ok(None), |item| self.record(item, revision)),
            own: note(&Shape::proof(self.node)),
            peer: note(&Shape::proof(self.node.peer())),
            pair: note(PAIR),
        }
    }

    fn record(&self, item: &Item, revision: u64) -> Result<Option<Record>, Trouble> {
        let Some(bytes) = &item.record else {
            // A version without its record: somebody took a part away.
            return match item.version {
                None => Ok(None),
                Some(_) => Err(Trouble::Unreadable { revision }),
            };
        };
        let record = decode(bytes, revision, (self.cluster, self.group))?;
        let nonce = record.nonce.to_string();
        if item.version != Some(record.version.0) || item.nonce != Some(nonce) {
            return Err(Trouble::Unreadable { revision });
        }
        Ok(Some(record))
    }
}

/// Tells one table from another.
pub(super) fn store_id(region: &str, table: &str) -> u64 {
    let digest = Sha256::digest(format!("dynamodb {region} {table}"));
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    u64::from_be_bytes(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::record::VolumeEntry;
    use lockstep_engine::units::{Epoch, Generation, Members, Version, VolumeId};

    fn shape() -> Shape {
        Shape { cluster: ClusterId(1), group: GroupId(2), node: NodeId::A }
    }

    fn stored() -> Item {
        let record = Record {
            cluster: ClusterId(1),
            group: GroupId(2),
            version: Version(3),
            epoch: Epoch(1),
            owner: Some(NodeId::A),
            nonce: Nonce(7),
            writer: NodeId::A,
            since: 0,
            forced: false,
            volumes: vec![VolumeEntry {
                volume: VolumeId(5),
                members: Members::BOTH,
                generation: Generation(1),
                parent: Generation::NONE,
            }],
        };
        let mut item = Item {
            version: Some(3),
            nonce: Some(Nonce(7).to_string()),
            record: Some(record.encode().expect("a record")),
            ..Item::default()
        };
        item.notes.insert(PAIR.to_owned(), Nonce(9).to_string());
        item.notes.insert("nonce-b".to_owned(), Nonce(8).to_string());
        item
    }

    #[test]
    fn an_item_is_read_whole() {
        let view = shape().view(Some(&stored()), 4);
        assert_eq!(view.version(), Some(Version(3)));
        assert_eq!((view.own, view.peer, view.pair), (None, Some(Nonce(8)), Some(Nonce(9))));
        assert_eq!(view.store, 4);
    }

    #[test]
    fn parts_that_do_not_belong_together_are_no_record() {
        let unreadable = |item: Item, revision| {
            let view = shape().view(Some(&item), 4);
            assert_eq!(view.record, Err(Trouble::Unreadable { revision }));
        };
        unreadable(Item { version: Some(4), ..stored() }, 4);
        unreadable(Item { version: None, ..stored() }, 0);
        unreadable(Item { nonce: None, ..stored() }, 3);
        unreadable(Item { record: None, ..stored() }, 3);
        unreadable(Item { record: Some(Vec::new()), ..stored() }, 3);
    }

    #[test]
    fn no_item_is_no_record() {
        let view = shape().view(None, 4);
        assert_eq!(view.record, Ok(None));
        assert_eq!((view.own, view.peer, view.pair), (None, None, None));
    }

    #[test]
    fn tables_are_told_apart() {
        assert_ne!(store_id("eu-west-1", "a"), store_id("eu-west-2", "a"));
        assert_ne!(store_id("eu-west-1", "a"), store_id("eu-west-1", "b"));
    }
}
