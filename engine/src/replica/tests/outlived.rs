//! A flush of the target that outlives the resync which asked for it covers nothing of the next one
//! (R16).

use super::pair::{Pair, settings};
use crate::units::{Mirror, Span};

#[test]
fn a_flush_of_an_earlier_resync_makes_no_block_of_the_next_one_equal() {
    let mut pair = Pair::restarted(1 << 30, 0..64, &settings());
    pair.speeds.flush_delay = Span::millis(300);
    pair.connect();
    while pair.flushed.is_empty() {
        pair.run(Span::millis(1));
        assert!(pair.now.since(crate::units::Tick(0)) < Span::millis(1_000), "it is reconciled");
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
