//! What outlives the resync that it belongs to: a flush of the target covers nothing of the next
//! one (R16), and a piece is nothing that it has prepared for (R26).

use super::pair::{Pair, settings};
use crate::units::{BlockIndex, DiskState, Mirror, Need, Span, Tick};
use crate::wire::Kind;

#[test]
fn a_flush_of_an_earlier_resync_makes_no_block_of_the_next_one_equal() {
    let mut pair = Pair::restarted(1 << 30, 0..64, &settings());
    pair.speeds.flush_delay = Span::millis(300);
    pair.connect();
    while pair.flushed.is_empty() {
        pair.run(Span::millis(1));
        assert!(pair.now.since(Tick(0)) < Span::millis(1_000), "it is reconciled");
    }
    // A shrink that was under way when the link came back lands now.
    let alone = pair.alone();
    pair.tell(0, alone);
    pair.run(Span::millis(20));
    assert_eq!(pair.status(0).mirror, Mirror::SyncSource);
    let (sent, _) = *pair.synced.last().expect("the next resync sends the blocks");
    assert!(pair.now < pair.flushed[0].1, "the first flush is still under way");
    while pair.status(0).dirty_blocks > 0 {
        pair.run(Span::millis(1));
    }
    let covers = |(began, ended): &(_, _)| *began >= sent && *ended <= pair.now;
    assert!(pair.flushed.iter().any(covers), "{:?} {sent:?} {:?}", pair.flushed, pair.now);
}

/// Flows have no order among each other: what was sent before the next resync was announced may
/// arrive after that, while the copy there still counts for more than it will be worth (R26, seed
/// 722889).
#[test]
fn a_piece_on_its_way_does_not_arrive_in_the_session_of_the_next_resync() {
    let mut pair = Pair::restarted(1 << 30, 0..64, &settings());
    pair.speeds.link = 1 << 20;
    pair.unreadable.push((1, BlockIndex(3))); // Sent whole, since it can't be compared.
    pair.connect();
    while pair.on_the_way(Kind::SyncWrite) == 0 {
        pair.run(Span::millis(1));
        assert!(pair.now.since(Tick(0)) < Span::millis(1_000), "nothing is reconciled");
    }
    let alone = pair.alone();
    pair.tell(0, alone);
    pair.run(Span::millis(100));
    assert_eq!((pair.on_the_way(Kind::SyncBegin), pair.status(0).mirror), (0, Mirror::Solo));
    assert_eq!(pair.synced, [], "the piece went with its session");
    pair.connect();
    pair.run(Span::millis(50));
    assert_eq!(pair.status(0).mirror, Mirror::SyncSource);
    assert_eq!(pair.status(1).disk, DiskState::Inconsistent);
    pair.run(Span::millis(5_000));
    assert_eq!((pair.status(0).need, pair.status(0).dirty_blocks), (Some(Need::Grow), 0));
}
