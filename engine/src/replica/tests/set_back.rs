//! A copy that was set back finds out from the first hello of its peer, which has then read a hello
//! that looks sound (R21).

use super::pair::{Pair, settings};
use crate::units::{BLOCK_BYTES, Mirror, Span};

const SIZE: u64 = 1 << 30;

#[test]
fn a_copy_that_was_set_back_is_filled_whole_although_both_have_the_same_record() {
    let mut pair = Pair::set_back(SIZE, &settings());
    pair.connect();
    pair.run(Span::millis(200));
    assert_eq!(pair.status(0).need, None, "a session that took the copy for a sound one ends");
    pair.connect();
    pair.run(Span::millis(200));
    assert_eq!(pair.status(0).mirror, Mirror::SyncSource);
    assert_eq!(pair.status(0).sync_total_blocks, SIZE / BLOCK_BYTES);
    pair.run(Span::millis(10_000));
    assert_eq!(pair.status(0).need, Some(crate::units::Need::Grow));
    assert!(!pair.status(1).needs_full);
}
