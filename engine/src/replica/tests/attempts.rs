//! What the daemon is told of open attempts: whoever takes one for stored sends its request (R4).

use super::pair::{Pair, settings};
use crate::units::Span;

#[test]
fn an_attempt_is_told_of_once_it_is_on_the_disk() {
    let mut pair = Pair::mirrored(1 << 30, &settings());
    pair.attempt_alone();
    assert_eq!(pair.status(0).attempts, [], "it is on its way to the disk");
    pair.run(Span::millis(100));
    assert_eq!(pair.status(0).attempts.len(), 1);
}

#[test]
fn an_attempt_that_could_not_be_stored_is_not_open() {
    let mut pair = Pair::mirrored(1 << 30, &settings());
    pair.metadata_fails = true;
    pair.attempt_alone();
    pair.run(Span::millis(100));
    assert_eq!(pair.status(0).attempts, [], "nobody may send what a restart would forget");
}
