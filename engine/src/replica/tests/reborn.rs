//! A member that comes back with dirty blocks of its own while the primary knows of no difference
//! (R42): no report counts before it holds the mark.

use super::pair::{Pair, settings};
use crate::replica::event::{BufId, Request};
use crate::units::{Extent, Mirror, Need, Span};

const WRITE: Request = Request::Write { at: Extent::new(0, 4096), buf: BufId(1), fua: false };

#[test]
fn no_report_of_a_member_that_rebooted_counts_before_it_holds_the_mark() {
    let mut pair = Pair::reborn(1 << 30, 0..512, true, &settings());
    pair.speeds.flush_delay = Span::millis(300);
    pair.connect();
    pair.request(1, WRITE);
    pair.run(Span::millis(200));
    assert!(pair.took.is_empty(), "whoever loses power now would take the answered write along");
    assert_eq!(pair.status(0).need, Some(Need::Shrink));
    let alone = pair.alone();
    pair.tell(0, alone);
    pair.run(Span::millis(2_000));
    assert_eq!(pair.took.len(), 1);
    assert_eq!(pair.status(0).need, Some(Need::Grow));
}

#[test]
fn a_member_that_kept_the_mark_is_made_equal_while_it_counts() {
    let mut pair = Pair::reborn(1 << 30, 0..512, false, &settings());
    pair.speeds.flush_delay = Span::millis(300);
    pair.connect();
    pair.request(1, WRITE);
    pair.run(Span::millis(200));
    assert_eq!(pair.status(0).mirror, Mirror::Reconciling);
    assert_eq!(pair.took.len(), 1);
    pair.run(Span::millis(2_000));
    assert_eq!(pair.status(0).mirror, Mirror::InSync);
}
