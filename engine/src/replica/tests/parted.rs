//! Two that went on alone and meet: neither takes the record of the other, both go on and say so,
//! until an operator gives one up.

use super::pair::{Pair, settings};
use crate::units::{BLOCK_BYTES, Generation, Members, Mirror, NodeId, Role, Span, Version};

const SIZE: u64 = 1 << 30;

/// Both were in sync, and node a went on alone at version 4, node b at `version`.
fn parted(version: u64, forced: bool) -> Pair {
    let mut pair = Pair::mirrored(SIZE, &settings());
    pair.cut();
    let alone = pair.alone();
    pair.tell(0, alone);
    pair.take_over(version, forced);
    pair.run(Span::millis(100));
    for side in [0, 1] {
        assert_eq!(pair.status(side).role, Role::Primary, "side {side}");
    }
    pair
}

fn meet(pair: &mut Pair) {
    pair.connect();
    pair.run(Span::millis(200));
}

#[test]
fn neither_takes_the_record_of_the_other_whichever_is_newer() {
    for version in [4, 5, 9] {
        let mut pair = parted(version, false);
        for _ in 0..3 {
            meet(&mut pair);
            // Here the words of a session end with it, so that one side may not be told.
            let told = [0, 1].map(|side| pair.status(side).split_brain);
            assert!(told.contains(&true), "version {version}");
            for (side, node, own) in [(0, NodeId::A, 4), (1, NodeId::B, version)] {
                let status = pair.status(side);
                assert_eq!(status.role, Role::Primary, "it serves on");
                let record = status.record.unwrap();
                assert_eq!((record.members, record.version), (Members::only(node), Version(own)));
            }
        }
    }
}

#[test]
fn a_newer_record_that_an_operator_forced_is_learned() {
    let mut pair = parted(5, true);
    meet(&mut pair);
    let status = pair.status(0);
    assert_eq!(status.role, Role::Secondary, "R14");
    assert_eq!(status.record.unwrap().version, Version(5));
}

#[test]
fn a_copy_that_was_given_up_is_like_a_new_one_and_is_filled_whole() {
    for side in [0, 1] {
        let mut pair = parted(6, false);
        meet(&mut pair);
        pair.discard(side);
        pair.run(Span::millis(50));
        let gone = pair.status(side);
        assert_eq!(
            (gone.role, gone.record, gone.generation),
            (Role::Secondary, None, Generation::NONE)
        );
        assert!(gone.needs_full && !gone.split_brain);
        assert_eq!(pair.status(1 - side).role, Role::Primary, "the other one serves on");
        meet(&mut pair);
        let source = pair.status(1 - side);
        assert_eq!(source.mirror, Mirror::SyncSource, "side {side} was given up");
        assert_eq!(source.sync_total_blocks, SIZE / BLOCK_BYTES);
        pair.run(Span::millis(10_000));
        assert_eq!(pair.status(1 - side).need, Some(crate::units::Need::Grow));
        assert!(!pair.status(side).needs_full);
        let learned = pair.status(side).record.unwrap();
        assert_eq!(learned.members, Members::only([NodeId::B, NodeId::A][side]));
    }
}
