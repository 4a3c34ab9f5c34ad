//! The dirty bits of a target: however large the volume is, few of them are on their way.

use super::pair::{Pair, settings};
use crate::limits::BITS_IN_FLIGHT_MAX;
use crate::units::{BLOCK_BYTES, Mirror, Span};
use crate::wire::Kind;

const TIB: u64 = 1 << 40;

#[test]
fn a_target_that_is_all_dirty_keeps_few_bits_on_their_way() {
    let blocks = 4 * TIB / BLOCK_BYTES;
    let mut pair = Pair::apart(4 * TIB, 0..blocks, true, &settings());
    assert_eq!((pair.status(0).dirty_blocks, pair.status(1).dirty_blocks), (0, blocks));
    pair.connect();
    pair.run(Span::millis(20));
    assert!(pair.status(0).dirty_blocks < blocks, "they do not all come at once");
    pair.run(Span::millis(5_000));
    assert_eq!(pair.status(0).mirror, Mirror::SyncSource);
    assert_eq!(pair.status(0).sync_total_blocks, blocks, "every bit has arrived");
    assert_eq!(pair.most(Kind::Bits), BITS_IN_FLIGHT_MAX);
}

#[test]
fn bits_that_were_on_their_way_when_the_session_was_lost_come_again() {
    let blocks = TIB / BLOCK_BYTES;
    let mut pair = Pair::apart(TIB, 0..blocks, true, &settings());
    for _ in 0..3 {
        pair.connect();
        pair.run(Span::millis(30));
        let so_far = pair.status(0).dirty_blocks;
        assert!(so_far > 0 && so_far < blocks, "{so_far} of {blocks}");
        pair.cut();
        pair.run(Span::millis(100));
    }
    pair.connect();
    pair.run(Span::millis(5_000));
    assert_eq!(pair.status(0).sync_total_blocks, blocks);
    assert!(pair.most(Kind::Bits) <= BITS_IN_FLIGHT_MAX);
}

#[test]
fn clean_parts_of_a_bitmap_do_not_travel() {
    let blocks = 2 * TIB / BLOCK_BYTES;
    let mut pair = Pair::apart(2 * TIB, blocks - 5..blocks, true, &settings());
    pair.connect();
    pair.run(Span::millis(20));
    assert_eq!(pair.status(0).sync_total_blocks, 5);
    assert_eq!(pair.most(Kind::Bits), 1);
}

#[test]
fn a_link_so_slow_that_bits_take_long_is_not_given_up_while_they_come() {
    let blocks = TIB / BLOCK_BYTES;
    let mut pair = Pair::apart(TIB, 0..blocks, true, &settings());
    pair.speeds.link = 1 << 20;
    pair.connect();
    pair.run(Span::millis(40_000));
    assert_eq!(pair.status(0).sync_total_blocks, blocks);
    assert_eq!(pair.status(0).counters.sessions, 1);
}
